//! SIGKILL at every step, and several processes at once: whoever comes next completes the work.

use super::*;
use std::os::unix::process::ExitStatusExt;

/// Runs the test `child` of this file as a process of its own, which is killed at `step`.
fn killed_at(fixture: &Fixture, step: &str, what: &str) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "git::tests::crashes::child", "--nocapture", "--test-threads=1"])
        .env("WORKMUX_TEST_KILL_AT", step)
        .env("WORKMUX_TEST_WHAT", what)
        .env("WORKMUX_TEST_GIT", &fixture.git)
        .env("WORKMUX_TEST_WORKTREE", &fixture.worktree)
        .env("WORKMUX_TEST_STATE", fixture.state())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&status.stdout).into_owned() + &String::from_utf8_lossy(&status.stderr);
    assert_eq!(status.status.signal(), Some(libc::SIGKILL), "'{step}' was not reached in {what}: {said}");
}

/// Not a test of its own: what [`killed_at`] runs.
#[test]
fn child() {
    let Ok(what) = std::env::var("WORKMUX_TEST_WHAT") else { return };
    let path = |name: &str| PathBuf::from(std::env::var_os(name).unwrap());
    let (git, state) = (path("WORKMUX_TEST_GIT"), path("WORKMUX_TEST_STATE"));
    let repo = Repository::discover_with(&path("WORKMUX_TEST_WORKTREE"), git.clone()).unwrap();
    let layout = layout::Layout::of(&state, &repo.worktree);
    match what.as_str() {
        "sync" => {
            let _held = layout.hold_existing().unwrap().unwrap();
            private::Private::open(&layout, &git).unwrap().sync(false).unwrap();
        }
        "enter" => drop(Boundary::enter(repo, &state, "run1").unwrap()),
        "reap" => drop(reap::finish(&layout, layout.hold_existing().unwrap().unwrap(), &git).unwrap()),
        other => panic!("{other}"),
    }
}

/// Work of every kind, so that a sync takes every step.
fn much_work(fixture: &Fixture) -> String {
    fixture.guest_commits("one");
    fixture.guest(&["gc", "-q"]);
    fixture.guest(&["switch", "-qc", "side"]);
    let commit = fixture.guest_commits("two");
    fs::write(fixture.worktree.join("staged"), "staged\n").unwrap();
    fixture.guest(&["add", "staged"]);
    fixture.run(&fixture.main, &["commit", "-q", "--allow-empty", "-m", "elsewhere"]);
    commit
}

fn assert_all_arrived(fixture: &Fixture, commit: &str) {
    assert_eq!(fixture.host(&["symbolic-ref", "HEAD"]), "refs/heads/side");
    assert_eq!(fixture.host_ref("HEAD"), commit);
    assert_eq!(fixture.host_ref("work"), fixture.host_ref("side~1"));
    assert_eq!(fixture.host(&["status", "--porcelain"]), "A  staged");
    fixture.assert_no_residue();
    fixture.assert_state_empty();
}

#[test]
fn p14_killed_in_any_step_the_next_sync_completes() {
    let steps = [
        "exchange-filled",
        "objects-copied",
        "pack-copied",
        "tips-written",
        "fetched",
        "lock-noted",
        "lock-made",
        "locked",
        "refs-moved",
        "index-written",
        "index-moved",
        "head-moved",
        "unlocked",
        "forwarded",
        "before-base",
    ];
    for git in gits() {
        for step in steps {
            let fixture = Fixture::linked(&git);
            let boundary = fixture.enter();
            let commit = much_work(&fixture);
            killed_at(&fixture, step, "sync");
            let imported = boundary.leave().unwrap();
            assert!(imported.conflicts.is_empty() && imported.kept.is_none(), "{step}: {imported:?}");
            assert_all_arrived(&fixture, &commit);
        }
    }
}

#[test]
fn p14_killed_while_a_merge_crosses() {
    for git in gits() {
        for step in ["merge-moved", "index-moved"] {
            let fixture = Fixture::linked(&git);
            fs::write(fixture.main.join("a"), "main\n").unwrap();
            fixture.run(&fixture.main, &["commit", "-qam", "main"]);
            let boundary = fixture.enter();
            fixture.guest(&["merge", "-q", "--no-commit", "--no-ff", "main"]);
            killed_at(&fixture, step, "sync");
            let imported = boundary.leave().unwrap();
            assert!(imported.conflicts.is_empty() && imported.kept.is_none(), "{step}: {imported:?}");
            fixture.host(&["commit", "-q", "--no-edit"]);
            assert_eq!(fixture.host(&["log", "-1", "--format=%p"]).split(' ').count(), 2);
            fixture.assert_no_residue();
        }
    }
}

#[test]
fn killed_while_the_private_dir_is_made() {
    for git in gits() {
        for step in ["entered", "skeleton-made", "base-made", "link-made", "shared", "made"] {
            let fixture = Fixture::linked(&git);
            killed_at(&fixture, step, "enter");
            let boundary = fixture.enter();
            let commit = fixture.guest_commits("x");
            boundary.leave().unwrap();
            assert_eq!(fixture.host_ref("HEAD"), commit);
            fixture.assert_no_residue();
            // Nobody enters again: the reaper takes it away.
            killed_at(&fixture, step, "enter");
            for reaped in reap(&fixture.state()) {
                assert_eq!(reaped.unwrap(), Imported::default());
            }
            fixture.assert_state_empty();
        }
    }
}

#[test]
fn a_run_that_was_killed_is_imported_by_the_reaper_or_the_next_run() {
    for git in gits() {
        for by_reaper in [true, false] {
            let fixture = Fixture::linked(&git);
            drop(fixture.enter());
            let commit = much_work(&fixture);
            if by_reaper {
                killed_at(&fixture, "synced", "reap");
                killed_at(&fixture, "removing", "reap");
                let layout = layout::Layout::of(&fixture.state(), &fixture.worktree);
                if let Some(held) = layout.hold_existing().unwrap() {
                    reap::finish(&layout, held, &git).unwrap();
                }
                reap(&fixture.state());
            } else {
                let boundary = fixture.enter_as("run2");
                assert!(boundary.recovered().unwrap().updated.len() >= 2);
                boundary.leave().unwrap();
            }
            assert_all_arrived(&fixture, &commit);
        }
    }
}

#[test]
fn killed_while_it_is_removed_the_next_sweep_takes_the_rest() {
    for git in gits() {
        for step in ["removing", "removed-open"] {
            let fixture = Fixture::linked(&git);
            drop(fixture.enter());
            killed_at(&fixture, step, "reap");
            for reaped in reap(&fixture.state()) {
                assert_eq!(reaped.unwrap(), Imported::default());
            }
            fixture.assert_state_empty();
        }
    }
}

#[test]
fn several_processes_import_at_once() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let runs: Vec<_> = (0..3).map(|n| fixture.enter_as(&format!("run{n}"))).collect();
        let done = std::sync::atomic::AtomicBool::new(false);
        let commit = std::thread::scope(|scope| {
            for run in &runs {
                scope.spawn(|| {
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        let imported = run.import().unwrap();
                        assert!(imported.conflicts.is_empty(), "{imported:?}");
                    }
                });
            }
            let mut commit = String::new();
            for n in 0..15 {
                commit = fixture.guest_commits(&format!("f{n}"));
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            commit
        });
        for run in runs {
            run.leave().unwrap();
        }
        assert_eq!(fixture.host_ref("HEAD"), commit);
        assert_eq!(fixture.host(&["status", "--porcelain"]), "");
        fixture.assert_no_residue();
        fixture.assert_state_empty();
    }
}

#[test]
fn entering_and_leaving_at_once() {
    let git = &gits()[0];
    let fixture = Fixture::linked(git);
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (repo, state) = (fixture.repository(), fixture.state());
            scope.spawn(move || {
                for turn in 0..5 {
                    let boundary = Boundary::enter(repo.clone(), &state, &format!("run{n}-{turn}")).unwrap();
                    assert!(boundary.mounts().iter().all(|m| m.source.exists()));
                    boundary.leave().unwrap();
                }
            });
        }
    });
    fixture.assert_no_residue();
    fixture.assert_state_empty();
}

#[test]
fn several_worktrees_import_at_once() {
    for git in gits() {
        let first = Fixture::linked(&git);
        let worktrees: Vec<PathBuf> = (0..4).map(|n| first.dir.path().join(format!("wt{n}"))).collect();
        for (n, worktree) in worktrees.iter().enumerate() {
            first.run(&first.main, &["worktree", "add", "-q", "-b", &format!("b{n}"), worktree.to_str().unwrap()]);
        }
        std::thread::scope(|scope| {
            for (n, worktree) in worktrees.iter().enumerate() {
                let (git, state) = (&git, first.state());
                scope.spawn(move || {
                    let repo = Repository::discover_with(worktree, git.clone()).unwrap();
                    let boundary = Boundary::enter(repo, &state, &format!("run{n}")).unwrap();
                    let layout = layout::Layout::of(&state, worktree);
                    let guest = |args: &[&str]| {
                        let mut command = Command::new(git);
                        command
                            .env_clear()
                            .env("PATH", search_path())
                            .env("GIT_CONFIG_NOSYSTEM", "1")
                            .current_dir(worktree);
                        command.env("GIT_DIR", layout.guest().join("worktrees").join(format!("wt{n}")));
                        let objects = boundary.repository().common_dir.join("objects");
                        command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", objects).env("GIT_WORK_TREE", worktree);
                        finish(command.args(args));
                    };
                    for turn in 0..6 {
                        guest(&["commit", "-q", "--allow-empty", "-m", &format!("{n} {turn}")]);
                        guest(&["branch", &format!("b{n}-{turn}")]);
                        let imported = boundary.import().unwrap();
                        assert!(imported.conflicts.is_empty(), "{imported:?}");
                    }
                    let imported = boundary.leave().unwrap();
                    assert!(imported.conflicts.is_empty() && imported.kept.is_none(), "{imported:?}");
                });
            }
        });
        assert_eq!(first.host(&["for-each-ref", "refs/heads/b*"]).lines().count(), 4 * 7);
        first.assert_no_residue();
        first.assert_state_empty();
    }
}
