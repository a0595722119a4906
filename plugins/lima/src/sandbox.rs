//! One sandbox, decided: the verb `prepare`. What is decided here is all that the later verbs know.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use workmux_plugin_api::{
    Context, Error, ErrorKind, GuestCommand, Instance, PrepareRequest, ReleaseRequest, Remedy, Result, SandboxSpec,
    Word,
};

use crate::exports;
use crate::files::Copied;
use crate::layout::{self, Layout};
use crate::machine::{self, Wanted};
use crate::record::{self, Kept, Record};
use crate::settings::{self, Isolation, Table};
use crate::{name, ssh};

/// Where a sandbox has the guest program.
const PROGRAM: &str = "/run/workmux/bin/workmux";

/// What a command line is made of; recorded by the host as the instance's state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sandbox {
    pub(crate) machine: String,
    pub(crate) dir: PathBuf,
    pub(crate) ssh_config: PathBuf,
    /// The guest program, where the machine has it outside of sandboxes.
    program: String,
    /// For `workmux unshare`.
    options: Vec<String>,
    /// The directory of a development build of the guest program.
    develop: Option<String>,
}

impl Sandbox {
    pub(crate) fn from_state(state: &Value) -> Result<Self> {
        Self::deserialize(state)
            .map_err(|e| Error::internal("the recorded state of the sandbox cannot be read").cause(e.to_string()))
    }

    /// Text for the shell of the machine's user: our program lays the sandbox out and becomes its first process.
    pub(crate) fn command(&self, first: &GuestCommand) -> Result<String> {
        let mut words: Vec<String> = ["exec", &self.program, "unshare"].map(str::to_owned).to_vec();
        let mut variable = |text: String| words.extend(["--env".to_owned(), text]);
        if let Some(dir) = &self.develop {
            variable(format!("WORKMUX_DEV={dir}"));
        }
        for (name, value) in &first.env {
            variable(format!("{name}={}", text(value)?));
        }
        words.extend(self.options.iter().cloned());
        words.push("--".into());
        for word in &first.argv {
            words.push(text(word)?);
        }
        Ok(ssh::quoted(&words))
    }
}

fn text(word: &Word) -> Result<String> {
    let text = word.as_os_str().to_str();
    text.map(str::to_owned).ok_or_else(|| Error::refused("a word of the first process is not UTF-8"))
}

pub(crate) async fn prepare(cx: &Context, request: &PrepareRequest) -> Result<Instance> {
    let (spec, table) = (&request.spec, settings::read(&request.settings)?);
    if spec.user.uid == 0 && !request.dry_run {
        return Err(Error::refused("root owns this worktree, and Lima does not work for root").hint(
            "give it to an ordinary user (chown -R USER PATH) and run workmux as that user, or choose another backend with \
             --backend",
        ));
    }
    let kept = Kept::of(cx.state_dir(), &name::of(&spec.repository, table.isolation));
    let files = kept.files();
    let needed = exports::needed(spec, &table, files.root());
    if let Some(dir) = table.projects_dir(&spec.home)
        && let Some(why) = exports::not_of_projects(&dir, spec, &machine::lima_home())
    {
        return Err(Error::refused(format!("'{}' is no directory of projects: {why}", dir.display()))
            .hint("keep projects in a directory of their own, such as ~/src: 'sandbox.lima.projects_dir'"));
    }
    if let Some(wide) = exports::too_wide(&needed, &spec.home, &[files.root(), &machine::lima_home()]) {
        return Err(Error::refused(format!(
            "the machine '{}' would be able to write '{}', with what only you may write in it",
            kept.name,
            wide.location.display()
        ))
        .hint("keep projects in a directory of their own, such as ~/src; 'sandbox.lima.projects_dir' is one"));
    }
    if request.dry_run {
        let record = kept.load().unwrap_or_else(|| guessed(&kept));
        let layout = layout::layout(spec, record.machine(&needed), files.root())?;
        return instance(&kept.name, &record, layout, Vec::new());
    }
    consented(&kept, &needed, spec, &table, request.consented)?;
    files.make(&kept.name)?;
    let known = kept.load().unwrap_or_else(|| guessed(&kept));
    if machine::serves(&known, &needed) {
        let layout = layout::layout(spec, known.machine(&known.exports), files.root())?;
        if known.has(&layout.places) {
            return made(&kept, &known, spec, &table, layout, None);
        }
    }

    // The places are the same wherever the machine's home is.
    let layout = layout::layout(spec, known.machine(&needed), files.root())?;
    // What the run itself is given comes last: nobody releases what was never prepared, or was interrupted before.
    for copied in &layout.seeds {
        files.put(copied)?;
    }
    let wanted = Wanted { spec, table: &table, exports: &needed, places: &layout.places };
    let record = machine::ensure(cx, &kept, &wanted).await?;
    let new = machine::introduction(&known, &record, &kept.name);
    // Now with the home and the exports that the machine really has.
    let layout = layout::layout(spec, record.machine(&record.exports), files.root())?;
    made(&kept, &record, spec, &table, layout, new)
}

/// The answer, with everything in the host's export that it names.
fn made(
    kept: &Kept,
    record: &Record,
    spec: &SandboxSpec,
    table: &Table,
    layout: Layout,
    new: Option<String>,
) -> Result<Instance> {
    let files = kept.files();
    if let Some(known) = layout.copies.iter().find_map(Copied::runs) {
        files.sweep(known);
    }
    for copied in &layout.copies {
        if let Err(e) = files.put(copied) {
            files.end(&spec.run)?;
            return Err(e);
        }
    }
    let mut notes: Vec<String> = new.into_iter().collect();
    notes.extend(machine::remarks(record, spec, table, &kept.name));
    instance(&kept.name, record, layout, notes)
}

/// A machine that is not there yet, or was never looked at.
fn guessed(kept: &Kept) -> Record {
    let user = std::env::var("USER").unwrap_or_else(|_| "lima".into());
    let dir = machine::lima_home().join(&kept.name);
    Record { ssh_config: dir.join("ssh.config"), dir, home: format!("/home/{user}.guest").into(), ..Record::default() }
}

/// A machine that can write git's own files takes the user's word (P25). Sandboxes do not see them; whoever becomes root
/// in the machine does.
fn consented(kept: &Kept, needed: &[exports::Export], spec: &SandboxSpec, table: &Table, now: bool) -> Result<()> {
    let Some(export) = exports::exposing(needed, &spec.repository) else { return Ok(()) };
    if table.accept_reduced_git_metadata_isolation || kept.has_consent()? {
        return Ok(());
    }
    if now {
        return kept.consent();
    }
    Err(Error::refused(format!(
        "the machine '{}' would be able to write '{}', with git's own files in it",
        kept.name,
        export.location.display()
    ))
    .cause(
        "sandboxes do not see those files; but whoever becomes root in the machine could change what your git runs"
            .to_owned(),
    )
    .hint(format!(
        "{}, or agree in your own file: 'sandbox.lima.accept_reduced_git_metadata_isolation: true'",
        match table.isolation {
            Isolation::Project => "work in a worktree instead (workmux add)",
            Isolation::Shared => "have a machine for each project instead ('isolation: project')",
        }
    ))
    .remedy(Remedy::Consent))
}

fn instance(name: &str, record: &Record, layout: Layout, notes: Vec<String>) -> Result<Instance> {
    let bin = Path::new(PROGRAM);
    let at = layout.options.iter().position(|word| Path::new(word) == bin);
    let program = at.and_then(|at| layout.options.get(at.checked_sub(1)?)).cloned();
    let program = program.ok_or_else(|| Error::internal(format!("the host mounts no program at '{PROGRAM}'")))?;
    let home = record.home.clone();
    let local = home.join(".local/bin");
    let local = local.to_string_lossy();
    let sandbox = Sandbox {
        machine: name.to_owned(),
        dir: record.dir.clone(),
        ssh_config: record.ssh_config.clone(),
        program,
        options: layout.options,
        develop: record.developed.then(|| local.clone().into_owned()),
    };
    let variable = |name: &str, value: &str| (name.to_owned(), Word::from(value));
    let path = format!(
        "{local}:/nix/var/nix/profiles/default/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    );
    let user = if record.user.is_empty() { "lima" } else { &record.user };
    Ok(Instance {
        name: name.to_owned(),
        env: vec![
            variable("HOME", &home.to_string_lossy()),
            variable("PATH", &path),
            variable("USER", user),
            variable("LOGNAME", user),
            variable("SHELL", "/bin/bash"),
        ],
        home,
        inherit_env: true,
        state: serde_json::to_value(&sandbox).map_err(|e| Error::internal("sandbox state").cause(e.to_string()))?,
        notes,
        image: None,
    })
}

/// Takes away what a run was given. Its machine stays. What may still run of it is ended first, and gone when this answers.
pub(crate) async fn release(cx: &Context, request: &ReleaseRequest) -> Result<()> {
    let sandbox = Sandbox::from_state(&request.instance.state)?;
    let files = Kept::of(cx.state_dir(), &sandbox.machine).files();
    if !request.ended && !record::start(&sandbox.dir).is_empty() {
        end(cx, &sandbox, &request.run).await?;
    }
    files.end(&request.run)
}

/// How long a machine may take to be gone that is being stopped.
const STOPPING: Duration = Duration::from_secs(15);

/// The first process of a sandbox ends everything in it, and then what laid it out ends. That names the run's directory
/// on its command line; this script does not, so that it does not find itself.
const END: &str = r#"
for attempt in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    found=
    for file in $(grep -la "[r]uns/$run/" /proc/[0-9]*/cmdline 2>/dev/null); do
        pid=${file#/proc/} pid=${pid%/cmdline} found=yes
        first=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null)
        kill -KILL ${first:-$pid} 2>/dev/null
    done
    [ -n "$found" ] || exit 0
    sleep 0.1
done
exit 1
"#;

async fn end(cx: &Context, sandbox: &Sandbox, run: &str) -> Result<()> {
    let input = format!("run={}\n{END}", ssh::quoted(&[run]));
    let since = Instant::now();
    let output = loop {
        let (config, words) = (&sandbox.ssh_config, ["sh", "-s"]);
        let output = ssh::script(cx, config, &sandbox.dir, &sandbox.machine, &words, input.clone()).await?;
        // Where the machine has stopped meanwhile, nothing runs in it. One that is about to does not answer any more.
        if output.code == Some(0) || record::start(&sandbox.dir).is_empty() {
            return Ok(());
        }
        if since.elapsed() > STOPPING {
            break output;
        }
        cx.sleep(Duration::from_millis(500)).await?;
    };
    let mut error =
        Error::new(ErrorKind::ToolFailed, format!("what runs in the machine '{}' could not be ended", sandbox.machine))
            .hint(format!("stop it: workmux sandbox stop {}", sandbox.machine));
    error.causes.extend(output.stderr.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned));
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_what_the_machine_shall_run_and_nothing_is_lost_in_its_shell() {
        let sandbox = Sandbox {
            program: "/mnt/workmux/0/programs/1/workmux".into(),
            options: vec!["--ro-bind".into(), "/mnt/workmux/1/it's".into(), "/run/workmux/sock".into()],
            develop: Some("/home/a b/.local/bin".into()),
            ..Sandbox::default()
        };
        let first = GuestCommand {
            argv: vec![PROGRAM.into(), "init".into(), "tcp:host.lima.internal:1:/run/workmux/sock/control.keys".into()],
            env: vec![("A".into(), "b c".into())],
            cwd: "/".into(),
        };
        insta::assert_snapshot!(sandbox.command(&first).unwrap());
    }
}
