//! `cargo xtask demo`: a scripted agent in a real sandbox, and what the host finds afterwards.
//!
//! The agent (`agent.sh`) works in a throw-away repository. It is believed only where it says that something
//! worked; whether harm was done is looked up on the host. Fails unless an agent ran and everything held.

mod repository;

use std::path::Path;
use std::time::{Duration, SystemTime};

use repository::Repository;

use crate::Result;
use crate::build::{self, Profile};
use crate::install;
use crate::process::{self, Finished};
use crate::scratch::Scratch;
use crate::setup::{self, Consent};
use crate::workspace::Workspace;

/// The agent's exit code, which must be ours too.
const AGENT_CODE: i32 = 7;
/// The whole run takes a second or two.
const DEADLINE: Duration = Duration::from_secs(120);

/// The task.
pub(crate) fn run(workspace: &Workspace, consent: Consent) -> Result<()> {
    let ready = setup::prepare(consent, setup::SANDBOXES)?.complete()?;
    let product = build::make(workspace, Profile::Dev)?;
    let scratch = Scratch::open()?;
    let stage = scratch.folder("stage")?;
    install::lay_out(workspace, &product, &stage)?;
    let program = stage.join("bin/workmux");
    let nonce = format!("{:x}", SystemTime::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos()));
    let repository = Repository::make(&ready.account, &scratch.folder("demo")?, &nonce)?;

    println!("\nA repository, a linked worktree on the branch 'agent', and in that worktree:");
    println!("  $ workmux sandbox agent -- sh agent.sh\n");
    let before = repository.snapshot()?;
    let finished = repository.run_agent(&program, &nonce)?;
    let after = repository.snapshot()?;

    let mut report = Report::default();
    what_the_agent_did(&mut report, &finished, &nonce);
    what_the_host_finds(&mut report, &repository, &nonce)?;
    report.section("The repository's own git directory");
    let changed = after.changed_since(&before);
    report.check(changed.is_empty(), "holds the agent's commit and is otherwise as it was", &changed.join(", "));

    if report.failures > 0 {
        println!("\nWhat the agent printed:\n{}\n{}", finished.stdout.trim_end(), finished.stderr.trim_end());
        return Err(format!("{} expectation(s) did not hold", report.failures));
    }
    try_it_yourself(&product.host);
    Ok(())
}

fn what_the_agent_did(report: &mut Report, finished: &Finished, nonce: &str) {
    let said = |line: &str| finished.stdout.lines().any(|l| l == line);
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let guest = finished.stdout.lines().find_map(|l| l.strip_prefix("namespace pid:"));
    let isolated = guest.is_some_and(|n| !n.is_empty() && Path::new(&format!("pid:{n}")) != own);

    report.section("The agent");
    report.check(isolated && said("ok guest"), "runs in a sandbox, in namespaces of its own", "it did not");
    report.check(said("ok write"), "writes a file in its worktree", "it could not");
    report.check(said("ok commit"), "commits it", "it could not");
    report.check(said("ok status"), "sets the status of its window", "it could not");
    report.section("What it tries and must not get");
    let secret = said("ok secret") && !finished.stdout.contains(&repository::secret(nonce));
    report.check(secret, "reading a key in the home directory: refused", "it read the key");
    let ended = said(&format!("end {nonce}")) && finished.status.code() == Some(AGENT_CODE);
    report.check(ended, "(it ran to its end, and its exit code is workmux's)", &finished.status.to_string());
}

fn what_the_host_finds(report: &mut Report, repository: &Repository, nonce: &str) -> Result<()> {
    report.check(!repository.readme_changed()?, "overwriting a file of the main checkout: not there", "it is there");
    report.check(!repository.planted(), "planting a file elsewhere in the home directory: not there", "it is there");
    let hook = repository.has_hook() || repository.git(&["config", "core.fsmonitor"]).is_ok();
    report.check(!hook, "a hook and a configured program in the real .git: not there", "it is there");
    report.section("On the host, afterwards");
    let hello = repository.git(&["show", "agent:hello.txt"]).unwrap_or_default();
    report.check(hello.trim() == nonce, "the commit is on the branch 'agent'", "it is not");
    let clean = repository.worktree_git(&["status", "--porcelain"]);
    report.check(clean.as_deref() == Ok(""), "git is content with the worktree", &format!("{clean:?}"));
    let icon = repository.window_status()?;
    report.check(!icon.is_empty(), &format!("the tmux window shows the agent's status: {icon}"), "it shows none");
    Ok(())
}

fn try_it_yourself(program: &Path) {
    let program = program.display();
    println!("\nEverything held. To try, in a repository of yours:");
    println!("  {program} sandbox shell                    a shell in a sandbox of this worktree");
    println!("  {program} sandbox agent --dry-run          what would be run, mounted and passed");
    println!("  {program} plugin list                      the backends that were found, and where");
}

/// The transcript.
#[derive(Default)]
struct Report {
    failures: usize,
}

impl Report {
    fn section(&mut self, title: &str) {
        println!("{title}");
    }

    fn check(&mut self, held: bool, what: &str, otherwise: &str) {
        if held {
            println!("  ✓ {what}");
        } else {
            self.failures += 1;
            println!("  ✗ {what} -- {otherwise}");
        }
    }
}

/// Runs a program and gives everything it left, or says why there is nothing.
fn finish(command: &mut std::process::Command) -> Result<Finished> {
    process::finish(command, DEADLINE)
}
