//! What it means when `ssh` ended before the sandbox's first process reported, or a sandbox without a word.

use std::path::{Component, Path};

use workmux_plugin_api::{Context, Error, ErrorKind, Result};

use crate::limactl::{self, Status};
use crate::{layout, ssh};

/// Asks Lima about the machine only where `ssh` itself failed; what our own program said in the machine stands for itself.
pub(crate) async fn explain(cx: &Context, machine: &str, home: &Path, stderr: &str) -> Result<Option<Error>> {
    let last: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said = last.last().map(|line| (*line).to_owned());
    let has = |word: &str| stderr.contains(word);
    if has("cannot execute") || has("Exec format") {
        return Ok(Some(
            Error::new(ErrorKind::Unsupported, format!("the guest program does not run in the machine '{machine}'"))
                .cause(said.unwrap_or_default())
                .hint("it must have the processor that this workmux was built for"),
        ));
    }
    if has("/programs/") && (has("not found") || has("No such file")) {
        return Ok(Some(
            Error::new(
                ErrorKind::ToolFailed,
                format!("the machine '{machine}' does not see what the host exports to it"),
            )
            .cause(said.unwrap_or_default())
            .hint(format!("start it again: workmux sandbox stop {machine}")),
        ));
    }
    let of_ssh = ["ssh:", "Connection", "kex_exchange", "mux_client", "channel"].iter().any(|word| has(word));
    if !last.is_empty() && !of_ssh {
        let mut error = Error::new(ErrorKind::ToolFailed, format!("the machine '{machine}' could not lay it out"))
            .hint(format!(
                "look at the machine: limactl shell {machine}; or start it again: workmux sandbox stop {machine}"
            ));
        if let Some(command) = in_the_way(machine, home, stderr) {
            error.hint = Some(format!("a sandbox has put something else in its place; move that aside: {command}"));
        }
        error.causes = last.iter().rev().take(3).rev().map(|line| (*line).to_owned()).collect();
        return Ok(Some(error));
    }
    let found = limactl::find(cx, machine).await?;
    let (kind, message) = match found.map(|found| found.status) {
        None => (ErrorKind::NotFound, format!("the machine '{machine}' was deleted meanwhile")),
        Some(Status::Running) if last.is_empty() => {
            (ErrorKind::ToolFailed, format!("the machine '{machine}' goes on, or is about to stop"))
        }
        Some(Status::Running) => {
            (ErrorKind::ToolFailed, format!("the machine '{machine}' runs but refused the command"))
        }
        Some(status) => {
            (ErrorKind::ToolFailed, format!("the machine '{machine}' stopped meanwhile: it is {}", status.word()))
        }
    };
    let mut error = Error::new(kind, message).hint("type the same again: the next start brings it up");
    error.causes.extend(said);
    Ok(Some(error))
}

/// What brings the home of a machine's sandboxes back to where something can be mounted in it.
fn in_the_way(machine: &str, home: &Path, stderr: &str) -> Option<String> {
    let (_, rest) = stderr.split_once("could not bind at '")?;
    let below = Path::new(rest.split_once('\'')?.0).strip_prefix(home).ok()?;
    // The first part of the way: whatever lies further down may be behind a link.
    let Component::Normal(first) = below.components().next()? else { return None };
    let place = home.join(layout::STORE).join(first).to_str()?.to_owned();
    let words = ["limactl", "shell", "--workdir", "/", machine, "mv", &place, &format!("{place}.aside")];
    Some(ssh::quoted(&words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_moved_by_its_first_part() {
        let of = |said: &str| in_the_way("wm-x", Path::new("/home/a.guest"), said);
        assert_eq!(
            of("Error: could not bind at '/home/a.guest/.claude/x y': it is a link\n").unwrap(),
            "limactl shell --workdir / wm-x mv /home/a.guest/.workmux/home/.claude /home/a.guest/.workmux/home/.claude.aside"
        );
        for said in
            ["", "could not bind at '/p/main': x", "could not bind at '/home/a.guest': x", "could not bind at 'x"]
        {
            assert_eq!(of(said), None, "{said}");
        }
    }
}
