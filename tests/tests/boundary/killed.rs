//! A supervisor that is killed at any moment loses nothing: what the guest committed is on the host after the next
//! command, and both repositories are whole.

use std::time::Duration;

use nix::sys::signal::Signal;
use workmux_tests::{Sandbox, on_every_sandbox, wait_until};

use super::case::{Case, Kind, some_on};

on_every_sandbox!(p14_p58_a_killed_supervisor_loses_no_commit);

/// Commits without end; each commit is noted only when git says that it is made.
const COMMITS: &str = r#"
i=0
while :; do
    i=$((i + 1)); echo $i > counter; git add counter; git commit -q -m "$i" || exit 9
    git rev-parse HEAD >> made
done
"#;

fn p14_p58_a_killed_supervisor_loses_no_commit(on: Sandbox) {
    for (n, (git, kind)) in some_on(on).into_iter().enumerate() {
        let case = Case::on(on, git, kind);
        case.world.write(case.world.git_dir().join("info/exclude"), "made\n");
        for round in 0..5u64 {
            let made = case.checkout.join("made");
            let _first = std::fs::remove_file(&made);
            let guest = case.guest(COMMITS).start();
            wait_until("the guest commits", || std::fs::metadata(&made).is_ok_and(|m| m.len() > 40));
            // An import comes a tenth of a second after a change and takes some tens of milliseconds.
            std::thread::sleep(Duration::from_millis(60 + (round * 97 + n as u64 * 41) % 170));
            guest.signal(Signal::SIGKILL);
            guest.wait();
            // The next command, here or in another checkout, takes up what was left.
            let next = if round % 2 == 0 { case.checkout.clone() } else { case.world.main() };
            case.world.workmux(&["sandbox", "shell", "--", "true"]).dir(next).run().ok();
            wait_until("the guest has ended", || !case.world.residue().iter().any(|left| left.starts_with("process")));
            let list = case.world.read(&made);
            let commits: Vec<&str> = list.lines().filter(|l| l.len() == 40).collect();
            assert!(!commits.is_empty());
            for commit in &commits {
                let kept = case.host(&case.checkout, &["merge-base", "--is-ancestor", commit, "HEAD"]);
                assert_eq!(
                    kept.code,
                    Some(0),
                    "round {round} of {kind:?} {git:?}: {commit} of {} is lost\n{kept}",
                    commits.len()
                );
            }
            case.host(&case.checkout, &["fsck", "--strict", "--no-dangling"]).ok();
            assert_eq!(case.host(&case.checkout, &["for-each-ref", "refs/wm"]).ok().stdout, "", "{kind:?} {git:?}");
            let status = case.host(&case.checkout, &["status", "--porcelain"]).ok().stdout;
            assert!(status.lines().all(|l| l.ends_with("counter")), "{status}");
            for lock in ["index.lock", "HEAD.lock", "packed-refs.lock"] {
                assert!(!case.admin.join(lock).exists() && !case.world.git_dir().join(lock).exists(), "{lock} is left");
            }
            case.tidy();
        }
        case.nothing_left("kills");
        assert!(kind == Kind::Linked || case.admin == case.world.git_dir());
    }
}
