//! The verb `check`: every thing that can be wrong with this machine, really tried, each with its fix. The host also
//! asks it when a sandbox failed to start.

use workmux_plugin_api::{Context, Error, ErrorKind, Finding, Result, Tool};

use crate::machine::Machine;
use crate::settings::{Reach, Table};
use crate::{Tools, network};

pub(crate) const INSTALL_BWRAP: &str =
    "install it: apt-get install bubblewrap (Debian, Ubuntu), dnf install bubblewrap (Fedora)";

/// The first version with `--disable-userns`.
const OLDEST: (u32, u32) = (0, 8);
/// A question to a local tool takes milliseconds; one that hangs must not hold the others up.
const DEADLINE_MS: u64 = 4000;

/// Ways in which bwrap refuses to start: part of its message, and the fix.
const FAILURES: &[(&str, &str)] = &[
    (
        "setting up uid map: Permission denied",
        "this system's AppArmor forbids user namespaces: allow them for bwrap with a profile (package apparmor-profiles, \
         'bwrap-userns-restrict'), or: sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    ("No permissions to create", "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1"),
    (
        "Creating new namespace failed: Operation not permitted",
        "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1",
    ),
    (
        "Creating new namespace failed: No space left on device",
        "allow more user namespaces: sysctl user.max_user_namespaces=15000",
    ),
    (
        "loopback: Failed",
        "this system forbids network namespaces to ordinary users: see its AppArmor or container settings",
    ),
    (
        "Can't mount proc",
        "bwrap runs inside a container that hides parts of '/proc': run workmux outside, or choose a container backend",
    ),
    ("Unknown option", "bubblewrap is too old: install 0.8 or newer"),
];

/// Looks at everything.
pub(crate) async fn findings(cx: &Context, table: &Table) -> Vec<Finding> {
    let machine = Machine::default();
    let tools = Tools::of(cx);
    let bwrap = bwrap_version(cx).await;
    let works = if bwrap.is_ok() { Some(namespaces(cx, &machine).await) } else { None };
    let mut all = vec![("bwrap", bwrap)];
    all.extend(works.map(|w| ("user namespaces", w)));
    all.push(("network", network_state(cx, table, &tools, &machine).await));
    all.push((
        "further commands ('shell --exec')",
        need(tools.unshare.is_some(), "'unshare' is not installed", "install it: apt-get install util-linux"),
    ));
    all.push((
        "process limits",
        need(tools.prlimit.is_some(), "'prlimit' is not installed", "install it: apt-get install util-linux"),
    ));
    all.into_iter().map(|(subject, state)| Finding { subject: subject.into(), state }).collect()
}

fn need(there: bool, problem: &str, fix: &str) -> Result<String> {
    if there { Ok("installed".into()) } else { Err(Error::new(ErrorKind::MissingTool, problem).hint(fix)) }
}

async fn bwrap_version(cx: &Context) -> Result<String> {
    cx.require_tool("bwrap", INSTALL_BWRAP)?;
    let output = cx.run(tool("bwrap", &["--version"])).await?;
    let version = output.stdout.split_ascii_whitespace().next_back().unwrap_or_default().to_owned();
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found >= OLDEST {
        return Ok(version);
    }
    let problem = format!("bubblewrap is '{version}'; this backend needs {}.{} or newer", OLDEST.0, OLDEST.1);
    Err(Error::new(ErrorKind::TooOld, problem).hint("install a newer package of bubblewrap"))
}

/// A sandbox with nothing in it, made as all are.
async fn namespaces(cx: &Context, machine: &Machine) -> Result<String> {
    let mut args = vec!["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"];
    args.extend(["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--", "true"]);
    let output = cx.run(tool("bwrap", &args)).await?;
    if output.code == Some(0) {
        return Ok("work".into());
    }
    Err(explain(&output.stderr, machine))
}

/// What bwrap said, with the fix where one is known, also from the machine's switches.
fn explain(stderr: &str, machine: &Machine) -> Error {
    let said = stderr.lines().next_back().unwrap_or("it said nothing").trim();
    let error = Error::new(ErrorKind::ToolFailed, "bwrap cannot make a sandbox here").cause(said);
    let switch = |path: &str| machine.text(path).trim().to_owned();
    let fix = if switch("/proc/sys/user/max_user_namespaces") == "0" {
        Some("allow user namespaces: sysctl user.max_user_namespaces=15000")
    } else if switch("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        Some("allow user namespaces: sysctl kernel.unprivileged_userns_clone=1")
    } else if switch("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        Some(FAILURES[0].1)
    } else {
        FAILURES.iter().find(|(part, _)| stderr.contains(part)).map(|(_, fix)| *fix)
    };
    match fix {
        Some(fix) => error.hint(fix),
        None => error.hint("try it by hand: bwrap --unshare-user --ro-bind / / true"),
    }
}

async fn network_state(cx: &Context, table: &Table, tools: &Tools, machine: &Machine) -> Result<String> {
    if table.network == Reach::Host {
        return Ok("this machine's own ('network: host')".into());
    }
    network::ready(tools, machine)?;
    if !machine.has_default_route() {
        return Ok("none: this machine has no default route".into());
    }
    if network::needs_newer_pasta(machine) {
        let version = cx.run(tool("pasta", &["--version"])).await?.stdout;
        if pasta_year(&version) < PASTA_WITH_LOOPBACK_RESOLVERS {
            let problem = "this machine's resolver is on its loopback, and its pasta is too old to pass queries to it";
            return Err(Error::new(ErrorKind::TooOld, problem)
                .hint("install a passt of 2024 or newer, or name another resolver in '/etc/resolv.conf'"));
        }
    }
    Ok("private, through pasta".into())
}

const PASTA_WITH_LOOPBACK_RESOLVERS: u32 = 2024;

/// Versions are dates: `2024_08_21.1d6142f` or `0.0~git20240906.6b38f07-1`. The oldest do not know theirs.
fn pasta_year(version: &str) -> u32 {
    let numbers = version.lines().next().unwrap_or_default().split(|c: char| !c.is_ascii_digit());
    numbers.filter_map(|n| n.get(..4)?.parse().ok()).find(|year| (2020..2100).contains(year)).unwrap_or(0)
}

fn tool(program: &str, args: &[&str]) -> Tool {
    Tool {
        program: program.into(),
        args: args.iter().map(|a| (*a).into()).collect(),
        deadline_ms: DEADLINE_MS,
        ..Tool::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_pasta_are_dates() {
        for (text, year) in [
            ("pasta 2024_08_21.1d6142f\nCopyright 2020", 2024),
            ("pasta 0.0~git20240906.6b38f07-1", 2024),
            ("pasta unknown version\nCopyright 2020", 0),
            ("", 0),
        ] {
            assert_eq!(pasta_year(text), year, "{text}");
        }
    }

    #[test]
    fn a_bwrap_that_fails_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::at(dir.path());
        let hint = |said: &str| explain(said, &machine).hint.unwrap();
        assert!(hint("bwrap: setting up uid map: Permission denied\n").contains("AppArmor"));
        assert!(hint("bwrap: No permissions to create new namespace").contains("unprivileged_userns_clone=1"));
        assert!(hint("").contains("by hand"));
        std::fs::create_dir_all(dir.path().join("proc/sys/user")).unwrap();
        std::fs::write(dir.path().join("proc/sys/user/max_user_namespaces"), "0\n").unwrap();
        assert!(hint("bwrap: anything").contains("max_user_namespaces=15000"));
    }
}
