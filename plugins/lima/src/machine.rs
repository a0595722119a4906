//! Brings a machine to where sandboxes can start in it: made, configured as it must be, running, through its boot.
//!
//! Each step looks at the machine again instead of trusting the exit code of the last one. All of it happens under the
//! machine's lock, because `limactl` has none; and `limactl start` is never called for a name that is not there, because it
//! would make a machine of its own choice under that name.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use workmux_plugin_api::{Context, Error, ErrorKind, Purpose, Result, SandboxSpec, ToolOutput};

use crate::exports::{self, Export};
use crate::layout::Place;
use crate::limactl::{self, Listed, Status};
use crate::ready::{self, Told};
use crate::record::{self, Held, Kept, Record};
use crate::settings::Table;
use crate::template::{self, Machine, Template};
use crate::{provision, ssh};

/// Making a machine fetches its image first.
const CREATE: Duration = Duration::from_secs(3600);
/// A slow machine that installs what it needs.
const START: Duration = Duration::from_secs(1800);
/// `limactl` gives up by itself, and says why, before we do.
const START_FLAG: &str = "--timeout=29m";
const EDIT: Duration = Duration::from_secs(30);
/// Lima kills a machine that does not obey the power button after 3 minutes.
const STOP: Duration = Duration::from_secs(240);
/// How long a machine may look broken because somebody else starts or stops it.
const PASSING: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(250);
/// How long the boot scripts of a machine that was started elsewhere are waited for.
const BOOT: Duration = Duration::from_secs(900);

/// What is wanted of the machine.
pub(crate) struct Wanted<'a> {
    pub(crate) spec: &'a SandboxSpec,
    pub(crate) table: &'a Table,
    pub(crate) exports: &'a [Export],
    pub(crate) places: &'a [Place],
}

/// In whole steps, as Lima is told.
fn memory(table: &Table) -> u64 {
    table.memory() >> 20 << 20
}

/// Whether the machine of this record runs and has these exports; asks nobody.
pub(crate) fn serves(record: &Record, needed: &[Export]) -> bool {
    exports::missing(needed, &record.exports).is_empty()
        && record.is_current(&lima_home())
        && ssh::Way::of(&record.dir) == ssh::Way::Shared
}

/// A machine that is ready, and its record.
pub(crate) async fn ensure(cx: &Context, kept: &Kept, wanted: &Wanted<'_>) -> Result<Record> {
    let held = kept.hold(cx).await?;
    // Whoever held it may have done it all.
    if let Some(record) = kept.load().filter(|record| serves(record, wanted.exports) && record.has(wanted.places)) {
        return Ok(record);
    }
    let Some(found) = settled(cx, &kept.name).await? else {
        create(cx, kept, wanted).await?;
        return started(cx, kept, wanted, &held).await;
    };
    if !is_ours(&found, kept) {
        return Err(foreign(&kept.name));
    }
    match found.status {
        Status::Running => running(cx, kept, wanted, found, Boot::Theirs).await,
        Status::Broken if lives(&found, kept) => Err(Error::new(
            ErrorKind::Conflict,
            format!("the machine '{}' is broken, and sandboxes may still work in it", kept.name),
        )
        .hint(format!("end it and them, the next start brings it up: workmux sandbox stop {}", kept.name))),
        Status::Broken => {
            cx.progress(format!("machine '{}' is broken: ending what is left of it", kept.name), 0, 0);
            force_stop(cx, &kept.name).await?;
            configure(cx, wanted, &found).await?;
            started(cx, kept, wanted, &held).await
        }
        // One that never came up has nothing to lose, and what it cannot come up with may be its image.
        _ if kept.load().is_none() && found.image != image(wanted.spec) => {
            cx.progress(format!("machine '{}' never started, and is made anew", kept.name), 0, 0);
            let output = limactl::run(cx, &["delete", "--force", &kept.name], STOP).await?;
            if limactl::find(cx, &kept.name).await?.is_some() {
                return Err(limactl::failure("delete", &output));
            }
            create(cx, kept, wanted).await?;
            started(cx, kept, wanted, &held).await
        }
        _ => {
            configure(cx, wanted, &found).await?;
            started(cx, kept, wanted, &held).await
        }
    }
}

/// What a new machine is made from.
fn image(spec: &SandboxSpec) -> String {
    spec.image.clone().unwrap_or_else(|| template::default_image(Machine::HERE))
}

/// Whether sandboxes may be in it, if it is one that can have any. One that lost its host agent is broken for Lima, and
/// goes on.
pub(crate) fn lives(found: &Listed, kept: &Kept) -> bool {
    match found.status {
        Status::Running => true,
        Status::Broken => kept.files().has_runs() && record::driver_lives(&found.dir),
        _ => false,
    }
}

/// Whether it was made by this program for this user: it has our export.
pub(crate) fn is_ours(found: &Listed, kept: &Kept) -> bool {
    let files = kept.files();
    found.exports.iter().any(|export| export.location == files.root() && !export.writable)
}

fn foreign(name: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("there is a machine '{name}' already, which this workmux has not made"))
        .hint("delete it, with all that is on its disk: workmux sandbox prune")
}

/// The machine, once nobody else starts or stops it.
pub(crate) async fn settled(cx: &Context, name: &str) -> Result<Option<Listed>> {
    let since = Instant::now();
    loop {
        match limactl::find(cx, name).await? {
            Some(found) if found.status == Status::Broken && since.elapsed() < PASSING => cx.sleep(LOOK).await?,
            found => return Ok(found),
        }
    }
}

async fn create(cx: &Context, kept: &Kept, wanted: &Wanted<'_>) -> Result<()> {
    limactl::version(cx).await?;
    check_socket_path(&kept.name)?;
    let Wanted { spec, table, exports, .. } = wanted;
    // Lima would make what is missing, with its own idea of whose it is.
    if let Some(worktrees) = spec.worktrees.as_ref().filter(|dir| !dir.exists()) {
        std::fs::create_dir_all(worktrees)?;
    }
    check_exports(exports)?;
    let template = Template {
        image: spec.image.as_deref(),
        cpus: table.cpus(),
        memory: memory(table),
        disk: table.disk(),
        exports,
        provision: provision::scripts(table, &spec.agent),
        machine: Machine::HERE,
    };
    kept.write("lima.yaml", template.text().as_bytes())?;
    kept.set_provision(&provision::digest(table))?;
    let (name, file) = (format!("--name={}", kept.name), kept.template());
    let words = ["create", "--tty=false", &name, &file.to_string_lossy()];
    let what = format!("making machine '{}'", kept.name);
    let output = limactl::watch(cx, &what, &words, CREATE).await?;
    match limactl::find(cx, &kept.name).await? {
        Some(found) if is_ours(&found, kept) => Ok(()),
        _ => Err(limactl::failure("create", &output)),
    }
}

/// Lima's sockets have paths that the kernel keeps short.
fn check_socket_path(name: &str) -> Result<()> {
    let longest = if cfg!(target_os = "macos") { 104 } else { 108 };
    let path = lima_home().join(name).join("ssh.sock.1234567890123456");
    if path.as_os_str().len() < longest {
        return Ok(());
    }
    Err(Error::refused(format!("'{}' is too long for a socket of Lima's", path.display()))
        .hint("set LIMA_HOME to a shorter directory"))
}

/// Where Lima keeps its machines.
pub(crate) fn lima_home() -> PathBuf {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = of("LIMA_HOME").unwrap_or_else(|| of("HOME").unwrap_or_default().join(".lima"));
    // As Lima itself says it.
    home.canonicalize().unwrap_or(home)
}

/// Brings the configuration of a machine that does not run up to date.
async fn configure(cx: &Context, wanted: &Wanted<'_>, found: &Listed) -> Result<()> {
    check_exports(wanted.exports)?;
    let mut changes: Vec<(&str, Value)> = Vec::new();
    // Lima follows what lies there now: a link that somebody put there since is nothing that was agreed to.
    let honest: Vec<Export> = found.exports.iter().filter(|export| is_plain(&export.location)).cloned().collect();
    if honest.len() < found.exports.len() || !exports::missing(wanted.exports, &honest).is_empty() {
        let all = exports::pruned(honest.into_iter().chain(wanted.exports.iter().cloned()).collect());
        changes.push((".mounts", template::mounts(&all)));
    }
    if found.cpus != wanted.table.cpus() {
        changes.push((".cpus", json!(wanted.table.cpus())));
    }
    if found.memory != memory(wanted.table) {
        changes.push((".memory", json!(template::size(memory(wanted.table)))));
    }
    if changes.is_empty() {
        return Ok(());
    }
    let set: Vec<String> = changes.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    let words = ["edit", "--tty=false", "--set", &set.join(" | "), &found.name];
    let output = limactl::run(cx, &words, EDIT).await?;
    if output.code == Some(0) { Ok(()) } else { Err(limactl::failure("edit", &output)) }
}

/// Whether a directory is there, and is no link and behind none.
fn is_plain(path: &Path) -> bool {
    path.is_dir() && path.canonicalize().is_ok_and(|real| real == path)
}

/// Refuses to show a machine what a link leads to: links can be changed by others than the user.
fn check_exports(exports: &[Export]) -> Result<()> {
    match exports.iter().find(|export| !is_plain(&export.location)) {
        Some(export) if !export.location.exists() => Err(Error::refused(format!(
            "there is no directory '{}', which a machine is to see",
            export.location.display()
        ))
        .hint("make it, or name another one")),
        Some(export) => Err(Error::refused(format!(
            "'{}' is no directory, or is reached through a link, and would be shown to a machine",
            export.location.display()
        ))
        .hint("name the place that it leads to")),
        None => Ok(()),
    }
}

/// Starts it, and looks whether it is there: a start that fails may leave a machine that works, and the other way round.
async fn started(cx: &Context, kept: &Kept, wanted: &Wanted<'_>, _held: &Held) -> Result<Record> {
    let name = kept.name.as_str();
    // What runs that wait for this start were given, they are given again.
    kept.files().end_all();
    let what = format!("starting machine '{name}'");
    let output = limactl::watch(cx, &what, &["start", "--tty=false", START_FLAG, name], START).await?;
    match settled(cx, name).await? {
        Some(found) if found.status == Status::Running => running(cx, kept, wanted, found, Boot::Ours)
            .await
            .map_err(|e| if output.code == Some(0) { e } else { e.cause(last_words(&output)) }),
        found => Err(not_started(found, &output)),
    }
}

fn last_words(output: &ToolOutput) -> String {
    let failure = limactl::failure("start", output);
    failure.causes.last().cloned().unwrap_or(failure.message)
}

/// Why it does not run: what `limactl` said, and the last of what the machine and its host agent wrote.
fn not_started(found: Option<Listed>, output: &ToolOutput) -> Error {
    let mut error = limactl::failure("start", output);
    let Some(found) = found else { return error };
    if output.code == Some(0) {
        error.message = format!("the machine '{}' started, and is {} again", found.name, found.status.word());
        error.causes.clear();
    } else if error.causes.is_empty() {
        error.causes.push(format!("it is {} now", found.status.word()));
    }
    for log in ["ha.stderr.log", "serial.log"] {
        if let Some(line) = last_line(&found.dir.join(log)) {
            error.causes.push(format!("{log}: {line}"));
        }
    }
    if error.kind == ErrorKind::ToolFailed {
        error.hint = Some(format!(
            "see the logs in '{}', then try by hand: limactl start {}; or, where its image is wrong, name another one \
             ('sandbox.image')",
            found.dir.display(),
            found.name
        ));
    }
    error
}

fn last_line(path: &Path) -> Option<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(4096))).ok()?;
    let mut bytes = Vec::new();
    file.take(4096).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.chars().take(200).collect())
}

/// Who waited until the machine had booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boot {
    /// Our start.
    Ours,
    /// Perhaps nobody: Lima calls a machine running from its first moment on.
    Theirs,
}

/// Looks at a machine that runs from inside, and remembers it.
async fn running(cx: &Context, kept: &Kept, wanted: &Wanted<'_>, found: Listed, boot: Boot) -> Result<Record> {
    let missing = exports::missing(wanted.exports, &found.exports);
    if !missing.is_empty() {
        return Err(drifted(&found.name, &missing));
    }
    let start = record::start(&found.dir);
    let told = booted(cx, kept, wanted, &found, boot).await?;
    if let Some(failed) = &told.failed {
        return Err(Error::new(
            ErrorKind::ToolFailed,
            format!("the machine '{}' was not prepared: {failed}", found.name),
        )
        .cause("its log has more: /var/log/cloud-init-output.log in the machine".to_owned())
        .hint(format!(
            "look at it: limactl shell {0}; once the cause is gone, start it again: workmux sandbox stop {0}",
            found.name
        )));
    }
    if told.unmounted {
        return Err(Error::new(ErrorKind::ToolFailed, format!("the machine '{}' runs without its mounts", found.name))
            .hint(format!("start it again: workmux sandbox stop {}", found.name)));
    }
    let before = kept.load().unwrap_or_default();
    let same_start = before.start == start && !start.is_empty();
    let mut places = if same_start { before.places } else { Default::default() };
    places.extend(wanted.places.iter().map(Place::key));
    let record = Record {
        dir: found.dir,
        ssh_config: found.ssh_config,
        exports: found.exports,
        others: found.others,
        start,
        home: told.home,
        resolver: told.resolver,
        user: told.user,
        places,
        agent: told.agent,
        no_agent: told.no_agent,
        image: found.image,
        provision: kept.provision(),
        developed: told.developed,
        cpus: found.cpus,
        memory: found.memory,
        disk: found.disk,
    };
    kept.save(&record)?;
    Ok(record)
}

async fn booted(cx: &Context, kept: &Kept, wanted: &Wanted<'_>, found: &Listed, boot: Boot) -> Result<Told> {
    let host = Export { location: kept.files().root().to_owned(), writable: false }.mount_point();
    let since = Instant::now();
    loop {
        match ready::ask(cx, found, &host.to_string_lossy(), wanted.places).await {
            Ok(told) if !told.booting => return Ok(told),
            Ok(_) => {}
            Err(_) if boot == Boot::Theirs && is_starting(&found.dir) => {}
            Err(e) => return Err(e),
        }
        if since.elapsed() > BOOT {
            return Err(Error::new(
                ErrorKind::Timeout,
                format!("the machine '{}' did not finish its boot in {} minutes", found.name, BOOT.as_secs() / 60),
            )
            .hint(format!("look at it: limactl shell {}", found.name)));
        }
        cx.progress(format!("machine '{}' is still booting", found.name), 0, 0);
        cx.sleep(Duration::from_secs(1)).await?;
    }
}

/// Whether the host agent runs and has not yet reported how the start went.
fn is_starting(dir: &Path) -> bool {
    let events = std::fs::read_to_string(dir.join("ha.stdout.log")).unwrap_or_default();
    let over = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        ["running", "degraded", "exiting"].iter().any(|key| event["status"][key] == json!(true))
    };
    !events.is_empty() && !events.lines().any(over) && !record::start(dir).is_empty()
}

fn drifted(name: &str, missing: &[&Export]) -> Error {
    let mut error = Error::new(
        ErrorKind::Conflict,
        format!("the machine '{name}' runs, and was started without what this sandbox needs of the host"),
    )
    .hint(format!("stop it (its disk stays), the next start brings it: workmux sandbox stop {name}"));
    for export in missing {
        let how = if export.writable { "writable" } else { "read-only" };
        error.causes.push(format!("'{}', {how}", export.location.display()));
    }
    error
}

/// What a machine sees of the host that it did not see when it was last looked at.
pub(crate) fn introduction(known: &Record, record: &Record, name: &str) -> Option<String> {
    let new: Vec<&Export> = record.exports.iter().filter(|export| !known.exports.contains(export)).collect();
    if new.is_empty() {
        return None;
    }
    let kind = if known.exports.is_empty() { "new machine" } else { "machine" };
    let more = if known.exports.is_empty() { "" } else { "also " };
    let shown = |export: &Export| {
        let how = if export.writable { "writable" } else { "read-only" };
        format!("'{}' ({how})", export.location.display())
    };
    let all: Vec<String> = new.into_iter().map(shown).collect();
    Some(format!("{kind} '{name}', which {more}sees {}", all.join(", ")))
}

/// What differs from the configuration without stopping anybody, each with what brings it.
pub(crate) fn remarks(record: &Record, spec: &SandboxSpec, table: &Table, name: &str) -> Vec<String> {
    let mut all = Vec::new();
    if record.cpus != table.cpus() || record.memory != memory(table) {
        all.push(format!(
            "machine '{name}' has {} processors and {}, not {} and {}: that comes with its next start (workmux sandbox stop {name})",
            record.cpus,
            template::size(record.memory),
            table.cpus(),
            template::size(memory(table)),
        ));
    }
    if record.disk != 0 && record.disk != table.disk() {
        all.push(format!(
            "machine '{name}' has a disk of {}, not of {}: another one takes a new machine (workmux sandbox stop {name}, then \
             prune)",
            template::size(record.disk),
            template::size(table.disk()),
        ));
    }
    let image = image(spec);
    if record.image != image {
        all.push(format!(
            "machine '{name}' was made from the image '{}': another one takes a new machine (workmux sandbox stop {name}, then prune)",
            record.image
        ));
    }
    if record.provision.as_ref().is_some_and(|made| *made != provision::digest(table)) {
        all.push(format!(
            "machine '{name}' was made with another 'provision' or 'skip_default_provision': what is new takes a new machine \
             (workmux sandbox stop {name}, then prune), or is typed in this one (limactl shell {name})"
        ));
    }
    let agent = spec.agent.as_str();
    if spec.purpose == Purpose::Agent && record.no_agent.as_deref() == Some(agent) {
        all.push(format!(
            "the agent '{agent}' could not be installed in machine '{name}' (its /var/log/cloud-init-output.log says why): the \
             next start tries again"
        ));
    }
    if spec.purpose == Purpose::Agent
        && !table.skip_default_provision
        && provision::installs(agent)
        && record.agent.as_deref().is_some_and(|there| there != agent)
    {
        all.push(format!(
            "machine '{name}' was made for the agent '{}': '{agent}' is there only if it was installed by hand",
            record.agent.as_deref().unwrap_or_default()
        ));
    }
    all
}

/// Stops a machine; one that does not run is fine.
pub(crate) async fn stop(cx: &Context, kept: &Kept, found: &Listed) -> Result<()> {
    match found.status {
        Status::Running => {}
        Status::Broken if lives(found, kept) => return force_stop(cx, &found.name).await,
        _ => return Ok(()),
    }
    let what = format!("stopping machine '{}'", found.name);
    let output = limactl::watch(cx, &what, &["stop", &found.name], STOP).await?;
    match settled(cx, &found.name).await?.map(|now| now.status) {
        None | Some(Status::Stopped) => Ok(()),
        Some(Status::Broken) => force_stop(cx, &found.name).await,
        Some(_) => Err(limactl::failure("stop", &output)),
    }
}

async fn force_stop(cx: &Context, name: &str) -> Result<()> {
    let output = limactl::run(cx, &["stop", "--force", name], STOP).await?;
    if output.code == Some(0) { Ok(()) } else { Err(limactl::failure("stop --force", &output)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(location: &str, writable: bool) -> Export {
        Export { location: location.into(), writable }
    }

    #[test]
    fn p59_a_machine_is_ours_by_what_it_mounts_and_not_by_its_name() {
        let kept = Kept::of(Path::new("/state"), "wm-x");
        let with = |exports: &[Export]| Listed { name: "wm-x".into(), exports: exports.to_vec(), ..Listed::default() };
        assert!(is_ours(&with(&[export("/a", true), export("/state/machines/wm-x/host", false)]), &kept));
        assert!(!is_ours(&with(&[export("/state/machines/wm-y/host", false)]), &kept));
        assert!(!is_ours(&with(&[export("/state/machines/wm-x/host", true)]), &kept));
        assert!(!is_ours(&with(&[]), &kept));
    }

    #[test]
    fn a_start_that_did_not_fail_and_did_not_last_is_told_as_such() {
        let said = |code| ToolOutput { code: Some(code), stderr: "READY. Run it.".into(), ..ToolOutput::default() };
        let found = || Some(Listed { name: "wm-x".into(), status: Status::Stopped, ..Listed::default() });
        let error = not_started(found(), &said(0));
        assert_eq!(error.message, "the machine 'wm-x' started, and is Stopped again");
        assert_eq!(error.causes, [""; 0]);
        let error = not_started(found(), &said(1));
        assert_eq!(
            (error.message.as_str(), &error.causes[..]),
            ("'limactl start' failed with code 1", &["READY. Run it.".to_owned()][..])
        );
    }

    #[test]
    fn a_machine_is_starting_until_its_host_agent_says_how_that_went() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        assert!(!is_starting(dir.path()));
        write("lima.yaml", "{}");
        write("ha.pid", &std::process::id().to_string());
        let first = "{\"status\":{\"sshLocalPort\":1}}\n";
        write("ha.stdout.log", first);
        assert!(is_starting(dir.path()));
        for last in [r#"{"status":{"running":true}}"#, r#"{"status":{"exiting":true,"errors":["x"]}}"#] {
            write("ha.stdout.log", &format!("{first}{last}\n"));
            assert!(!is_starting(dir.path()), "{last}");
        }
        write("ha.stdout.log", first);
        // No process has this number.
        write("ha.pid", "2147483646");
        assert!(!is_starting(dir.path()));
    }

    #[test]
    fn what_differs_is_said_with_what_brings_it() {
        let (agent, image) = ("codex".to_owned(), Some("new".to_owned()));
        let spec = SandboxSpec { purpose: Purpose::Agent, agent, image, ..SandboxSpec::default() };
        let table = Table::default();
        let record = Record {
            cpus: 2,
            memory: 1 << 30,
            disk: 50 << 30,
            image: "old".into(),
            agent: Some("claude".into()),
            provision: Some("other".into()),
            ..Record::default()
        };
        insta::assert_snapshot!(remarks(&record, &spec, &table, "wm-x").join("\n"));
        let same = Record {
            cpus: 4,
            memory: 4 << 30,
            disk: table.disk(),
            image: "new".into(),
            agent: Some("codex".into()),
            provision: Some(provision::digest(&table)),
            ..record
        };
        assert_eq!(remarks(&same, &spec, &table, "wm-x"), [] as [String; 0]);
        insta::assert_debug_snapshot!(drifted("wm-x", &[&export("/p/main", true), &export("/q", false)]));
    }
}
