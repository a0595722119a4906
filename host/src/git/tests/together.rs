//! What honest guests and hosts do, alone and at the same time.

use super::*;

#[test]
fn a_commit_arrives_and_nothing_else_stays() {
    for git in gits() {
        for fixture in Fixture::both(&git) {
            let boundary = fixture.enter();
            let commit = fixture.guest_commits("new");
            let imported = boundary.import().unwrap();
            assert_eq!(imported.updated.len(), 1, "{imported:?}");
            assert_eq!((imported.conflicts.len(), imported.notes.len()), (0, 0), "{imported:?}");
            assert_eq!(fixture.host_ref("HEAD"), commit);
            assert_eq!(fixture.host(&["status", "--porcelain"]), "");
            assert_eq!(boundary.import().unwrap(), Imported::default());
            assert_eq!(boundary.leave().unwrap(), Imported::default());
            fixture.assert_no_residue();
            fixture.assert_state_empty();
        }
    }
}

#[test]
fn every_kind_of_work_arrives() {
    for git in gits() {
        for fixture in Fixture::both(&git) {
            fixture.host(&["branch", "old"]);
            fixture.host(&["pack-refs", "--all"]);
            let boundary = fixture.enter();
            fixture.guest_commits("one");
            fixture.guest(&["tag", "-am", "note", "v1"]);
            fixture.guest(&["branch", "-D", "old"]);
            fixture.guest(&["switch", "-qc", "side"]);
            fixture.guest_commits("two");
            fs::write(fixture.worktree.join("staged"), "only staged\n").unwrap();
            fixture.guest(&["add", "staged"]);
            fixture.guest(&["gc", "-q", "--prune=now"]);
            let imported = boundary.leave().unwrap();
            assert!(imported.conflicts.is_empty() && imported.kept.is_none(), "{imported:?}");
            assert_eq!(fixture.host(&["symbolic-ref", "HEAD"]), "refs/heads/side");
            assert_eq!(fixture.host(&["log", "--format=%s"]), "two\none\nfirst");
            assert_eq!(fixture.host(&["cat-file", "-t", "v1"]), "tag");
            assert_eq!(fixture.host(&["status", "--porcelain"]), "A  staged");
            assert!(!fixture.has_ref("refs/heads/old"));
            fixture.assert_no_residue();
        }
    }
}

#[test]
fn amended_and_reset_branches_are_followed() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let boundary = fixture.enter();
        let first = fixture.guest_commits("one");
        boundary.import().unwrap();
        fixture.guest(&["commit", "-q", "--amend", "-m", "again"]);
        boundary.import().unwrap();
        assert_eq!(fixture.host(&["log", "-1", "--format=%s"]), "again");
        fixture.guest(&["reset", "-q", "--soft", "HEAD~1"]);
        boundary.import().unwrap();
        assert_eq!(fixture.host(&["log", "-1", "--format=%s"]), "first");
        assert_eq!(fixture.host(&["status", "--porcelain"]), "A  one");
        assert!(fixture.host(&["reflog", "work"]).contains(&first[..7]));
        boundary.leave().unwrap();
        fixture.assert_no_residue();
    }
}

#[test]
fn what_the_host_commits_meanwhile_reaches_the_guest() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let boundary = fixture.enter();
        fs::write(fixture.main.join("a"), "host\n").unwrap();
        fixture.run(&fixture.main, &["commit", "-qam", "elsewhere"]);
        fixture.run(&fixture.main, &["branch", "later"]);
        fs::write(fixture.worktree.join("b"), "host\n").unwrap();
        fixture.host(&["commit", "-qam", "here"]);
        assert_eq!(boundary.import().unwrap(), Imported::default());
        assert_eq!(fixture.guest(&["log", "-1", "--format=%s", "main"]), "elsewhere");
        assert_eq!(fixture.guest(&["log", "-1", "--format=%s", "later"]), "elsewhere");
        assert_eq!(fixture.guest(&["log", "-1", "--format=%s"]), "here");
        assert_eq!(fixture.guest(&["status", "--porcelain"]), "");
        fixture.run(&fixture.main, &["branch", "-D", "later"]);
        boundary.import().unwrap();
        assert_eq!(fixture.guest(&["branch", "--list", "later"]), "");
        fixture.guest(&["merge", "-q", "--no-edit", "main"]);
        let imported = boundary.leave().unwrap();
        assert_eq!(names(&imported), ["refs/heads/work"]);
        fixture.assert_no_residue();
    }
}

#[test]
fn p14_both_moved_keeps_both() {
    for git in gits() {
        for fixture in Fixture::both(&git) {
            let boundary = fixture.enter();
            let theirs = fixture.guest_commits("guest");
            fs::write(fixture.worktree.join("host"), "host\n").unwrap();
            fixture.host(&["add", "host"]);
            fixture.host(&["commit", "-qm", "host"]);
            let ours = fixture.host_ref("HEAD");
            let imported = boundary.import().unwrap();
            let [conflict] = &imported.conflicts[..] else { panic!("{imported:?}") };
            assert_eq!(fixture.host_ref("HEAD"), ours);
            assert_eq!(fixture.host_ref(conflict.kept_at.as_deref().unwrap()), theirs);
            assert_eq!(boundary.import().unwrap(), Imported::default());
            let imported = boundary.leave().unwrap();
            assert_eq!(imported.conflicts.len(), 1, "{imported:?}");
            assert!(imported.kept.unwrap().join("open/guest/HEAD").is_file());
            assert_eq!(fixture.host_ref("HEAD"), ours);
        }
    }
}

#[test]
fn p14_a_host_that_staged_something_keeps_its_index_and_branch() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let boundary = fixture.enter();
        fs::write(fixture.worktree.join("mine"), "x\n").unwrap();
        fixture.host(&["add", "mine"]);
        let before = fixture.host_ref("HEAD");
        fixture.guest_commits("guest");
        let imported = boundary.import().unwrap();
        assert_eq!(imported.conflicts.len(), 1);
        assert_eq!(fixture.host_ref("HEAD"), before);
        assert_eq!(fixture.host(&["diff", "--cached", "--name-only"]), "mine");
    }
}

#[test]
fn a_refreshed_index_is_no_change() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let boundary = fixture.enter();
        fs::write(fixture.worktree.join("a"), "a\n").unwrap();
        fixture.host(&["update-index", "--refresh"]);
        let commit = fixture.guest_commits("guest");
        assert!(boundary.leave().unwrap().conflicts.is_empty());
        assert_eq!(fixture.host_ref("HEAD"), commit);
    }
}

#[test]
fn a_resolved_conflict_frees_the_parked_ref() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let boundary = fixture.enter();
        fixture.guest(&["branch", "topic"]);
        boundary.import().unwrap();
        let tree = fixture.guest(&["rev-parse", "HEAD^{tree}"]);
        let theirs = fixture.guest(&["commit-tree", "-m", "g", "-p", "HEAD", &tree]);
        fixture.guest(&["update-ref", "refs/heads/topic", &theirs]);
        let ours = fixture.host(&["commit-tree", "-m", "h", "-p", "HEAD", &tree]);
        fixture.host(&["update-ref", "refs/heads/topic", &ours]);
        assert_eq!(boundary.import().unwrap().conflicts.len(), 1);
        let merged = fixture.host(&["commit-tree", "-m", "m", "-p", &ours, "-p", "refs/wm/run1/heads/topic", &tree]);
        fixture.host(&["update-ref", "refs/heads/topic", &merged]);
        assert!(boundary.import().unwrap().conflicts.is_empty());
        assert_eq!(fixture.guest(&["rev-parse", "topic"]), merged);
        assert!(boundary.leave().unwrap().kept.is_none());
        fixture.assert_no_residue();
    }
}

#[test]
fn a_branch_checked_out_elsewhere_does_not_move_under_anybodys_feet() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let boundary = fixture.enter();
        let before = fixture.host_ref("main");
        let commit = fixture.guest_commits("x");
        fixture.guest(&["update-ref", "refs/heads/main", &commit]);
        let imported = boundary.leave().unwrap();
        assert_eq!(fixture.host_ref("main"), before);
        assert_eq!(fixture.host_ref("work"), commit);
        assert_eq!(imported.conflicts[0].name, "refs/heads/main");
    }
}

#[test]
fn p34_a_deleted_branch_whose_commits_are_nowhere_else_stays() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let tree = fixture.host(&["rev-parse", "HEAD^{tree}"]);
        let lone = fixture.host(&["commit-tree", "-m", "lone", &tree]);
        fixture.host(&["update-ref", "refs/heads/lone", &lone]);
        fixture.host(&["update-ref", "refs/heads/twin", &lone]);
        let boundary = fixture.enter();
        fixture.guest(&["branch", "-D", "lone", "twin"]);
        let imported = boundary.leave().unwrap();
        assert_eq!(fixture.host_ref("lone"), lone);
        assert_eq!(imported.conflicts.len(), 2, "{imported:?}");
        assert!(imported.kept.is_none());
    }
}

#[test]
fn a_merge_in_progress_crosses_and_ends() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        fs::write(fixture.main.join("a"), "main\n").unwrap();
        fixture.run(&fixture.main, &["commit", "-qam", "main"]);
        let boundary = fixture.enter();
        fs::write(fixture.worktree.join("a"), "work\n").unwrap();
        fixture.guest(&["commit", "-qam", "work"]);
        assert!(!fixture.guest_command().args(["merge", "-q", "main"]).output().unwrap().status.success());
        boundary.import().unwrap();
        assert!(fixture.host(&["status"]).contains("You have unmerged paths"));
        fixture.guest(&["checkout", "-q", "--ours", "a"]);
        fixture.guest(&["add", "a"]);
        fixture.guest(&["commit", "-q", "--no-edit"]);
        let imported = boundary.leave().unwrap();
        assert!(imported.kept.is_none(), "{imported:?}");
        assert_eq!(fixture.host(&["status", "--porcelain"]), "");
        assert!(!fixture.repository().admin_dir.join("MERGE_HEAD").exists());
        assert_eq!(fixture.host(&["log", "-1", "--format=%p"]).split(' ').count(), 2);
        fixture.assert_no_residue();
    }
}

#[test]
fn p14_an_unfinished_rebase_is_kept_and_never_imported() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        fs::write(fixture.main.join("a"), "main\n").unwrap();
        fixture.run(&fixture.main, &["commit", "-qam", "main"]);
        let boundary = fixture.enter();
        fs::write(fixture.worktree.join("a"), "work\n").unwrap();
        fixture.guest(&["commit", "-qam", "work"]);
        let commit = fixture.guest(&["rev-parse", "HEAD"]);
        assert!(!fixture.guest_command().args(["rebase", "-q", "main"]).output().unwrap().status.success());
        let imported = boundary.leave().unwrap();
        assert!(imported.notes.iter().any(|n| n.contains("rebase")), "{imported:?}");
        assert!(imported.kept.is_some());
        assert_eq!(fixture.host(&["symbolic-ref", "HEAD"]), "refs/heads/work");
        assert!(!fixture.repository().admin_dir.join("rebase-merge").exists());
        let _ = commit;
    }
}

#[test]
fn stashes_are_kept_where_the_user_finds_them() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let boundary = fixture.enter();
        for text in ["one\n", "two\n"] {
            fs::write(fixture.worktree.join("a"), text).unwrap();
            fixture.guest(&["stash", "-q"]);
        }
        let imported = boundary.leave().unwrap();
        assert_eq!(imported.notes.len(), 2, "{imported:?}");
        fixture.host(&["stash", "apply", "-q", "refs/wm/run1/stash-1"]);
        assert_eq!(fs::read_to_string(fixture.worktree.join("a")).unwrap(), "one\n");
        assert!(fixture.has_ref("refs/wm/run1/stash"));
    }
}

#[test]
fn p13_what_guests_see_of_a_repository_lies_in_one_directory_that_stays_and_holds_nothing_else() {
    use std::os::unix::fs::MetadataExt as _;
    for git in gits() {
        let [main, linked] = Fixture::both(&git);
        let seen = |fixture: &Fixture| {
            let boundary = fixture.enter();
            let mount = boundary.mounts().into_iter().find(|mount| mount.writable).unwrap();
            let share = mount.shares[0].clone();
            assert!(mount.source.starts_with(&share) && mount.source.canonicalize().unwrap() == mount.source);
            let inside: Vec<_> = fs::read_dir(&share).unwrap().flatten().map(|e| e.path()).collect();
            assert_eq!(inside, [mount.source.parent().unwrap()]);
            let inside: Vec<_> = fs::read_dir(&inside[0]).unwrap().flatten().map(|e| e.path()).collect();
            assert_eq!(inside, [mount.source]);
            boundary.leave().unwrap();
            (fs::metadata(&share).unwrap().ino(), mount.shares)
        };
        let (first, second) = (seen(&linked), seen(&linked));
        assert_eq!(first, second, "the very same directory, run after run");
        assert_ne!(seen(&main).1[0], first.1[0], "another repository, another directory");
    }
}

/// Whoever has the shared directory (an instance that was given it whole) is there before the private git dir is.
#[test]
fn p13_links_planted_where_a_private_git_dir_is_to_be_lead_nowhere() {
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let victim = fixture.dir.path().join("victim");
        fs::write(&victim, "the user's\n").unwrap();
        let common = fixture.repository().common_dir;
        let share = layout::Layout::of(&fixture.state(), &fixture.worktree).share(&common);
        layout::private_dir(&share).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for dir in fs::read_dir(&share).unwrap().flatten() {
                        for file in ["config", "packed-refs", "HEAD", "info/exclude"] {
                            _ = symlink(&victim, dir.path().join("guest").join(file));
                        }
                    }
                }
            });
            for n in 0..5 {
                drop(Boundary::enter(fixture.repository(), &fixture.state(), &format!("run{n}")));
                _ = reap(&fixture.state());
            }
            over.store(true, Ordering::Relaxed);
        });
        assert_eq!(fs::read_to_string(&victim).unwrap(), "the user's\n");
    }
}

/// The same, where the shared directory's own entries become links.
#[test]
fn p14_nothing_is_imported_from_where_a_link_in_the_shared_directory_leads() {
    for git in gits() {
        let [one, other] = [Fixture::linked(&git), Fixture::linked(&git)];
        let (boundary, secret) = (one.enter(), other.enter());
        let commit = other.guest_commits("secret");
        let opened = |fixture: &Fixture| layout::Layout::of(&fixture.state(), &fixture.worktree).opened();
        let (own, foreign) = (opened(&one), opened(&other));
        fs::rename(&own, own.with_extension("away")).unwrap();
        std::os::unix::fs::symlink(&foreign, &own).unwrap();
        let _refused = boundary.import();
        let found = one.command(&one.worktree).args(["cat-file", "-e", &commit]).status().unwrap();
        assert!(!found.success(), "what another repository's guest made was taken");
        fs::remove_file(&own).unwrap();
        fs::rename(own.with_extension("away"), &own).unwrap();
        boundary.leave().unwrap();
        secret.leave().unwrap();
    }
}

#[test]
fn runs_of_one_worktree_share_and_the_last_one_removes() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let first = fixture.enter_as("run1");
        let commit = fixture.guest_commits("one");
        let second = fixture.enter_as("run2");
        assert_eq!(first.mounts(), second.mounts());
        first.leave().unwrap();
        assert_eq!(fixture.host_ref("HEAD"), commit);
        let commit = fixture.guest_commits("two");
        assert!(reap(&fixture.state()).is_empty());
        second.leave().unwrap();
        assert_eq!(fixture.host_ref("HEAD"), commit);
        fixture.assert_state_empty();
        fixture.assert_no_residue();
    }
}

#[test]
fn a_detached_head_is_followed_both_ways() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let boundary = fixture.enter();
        fixture.guest(&["checkout", "-q", "--detach"]);
        let commit = fixture.guest_commits("lost");
        boundary.import().unwrap();
        assert_eq!(fixture.host_ref("HEAD"), commit);
        assert_eq!(fs::read_to_string(fixture.repository().admin_dir.join("HEAD")).unwrap().trim(), commit);
        fixture.guest(&["switch", "-q", "work"]);
        boundary.leave().unwrap();
        assert_eq!(fixture.host(&["symbolic-ref", "HEAD"]), "refs/heads/work");
        assert_eq!(fixture.host(&["status", "--porcelain"]), "");
        fixture.assert_no_residue();
    }
}

#[test]
fn names_a_guest_may_not_make_are_renamed_not_lost() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        fixture.host(&["branch", "fix/#1"]);
        let boundary = fixture.enter();
        let commit = fixture.guest_commits("x");
        fixture.guest(&["branch", "x$(touch${IFS}PWN)"]);
        fixture.guest(&["update-ref", "refs/heads/fix/#1", &commit]);
        let imported = boundary.leave().unwrap();
        assert_eq!(fixture.host_ref("refs/heads/fix/#1"), commit);
        assert!(!fixture.host(&["branch", "-a"]).contains("touch$"));
        let renamed = fixture.host(&["for-each-ref", "--format=%(objectname)", "refs/wm/run1/renamed"]);
        assert_eq!(renamed, commit);
        assert!(imported.notes.iter().any(|n| n.contains("PWN")), "{imported:?}");
    }
}

#[test]
fn a_change_wakes_the_watch() {
    use nix::poll::{PollFd, PollFlags, poll};
    use std::os::fd::AsFd;
    let fixture = Fixture::linked(&gits()[0]);
    let boundary = fixture.enter();
    let mut watch = boundary.watch().unwrap();
    assert!(!watch.drain());
    fixture.guest(&["branch", "deep/down/below"]);
    let ready = poll(&mut [PollFd::new(watch.as_fd(), PollFlags::POLLIN)], 10_000u16).unwrap();
    assert_eq!(ready, 1);
    assert!(watch.drain());
    fixture.guest(&["update-ref", "-d", "refs/heads/deep/down/below"]);
    assert!(watch.drain());
    assert!(!watch.drain());
    fs::write(fixture.admin().join("index.lock"), "").unwrap();
    assert!(!watch.drain());
}

#[test]
fn where_nothing_changed_no_git_is_started() {
    for fixture in Fixture::both(&gits()[0]) {
        let boundary = fixture.enter();
        fixture.guest_commits("x");
        boundary.import().unwrap();
        let layout = layout::Layout::of(&fixture.state(), &fixture.worktree);
        let private = private::Private::open(&layout, Path::new("/nonexistent/git")).unwrap();
        private.sync(false).unwrap();
        drop(boundary);
    }
}

#[test]
fn what_a_new_branch_follows_comes_back_and_nothing_else_does() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        fixture.host(&["remote", "add", "origin", "https://host/x.git"]);
        fixture.host(&["config", "branch.main.remote", "."]);
        let boundary = fixture.enter();
        for (branch, remote, merge) in [
            ("good", "origin", "refs/heads/good"),
            ("unknown", "https://evil/x.git", "refs/heads/x"),
            ("odd", "origin", "refs/heads/x$(evil)"),
        ] {
            fixture.guest(&["branch", branch]);
            fixture.guest(&["config", &format!("branch.{branch}.remote"), remote]);
            fixture.guest(&["config", &format!("branch.{branch}.merge"), merge]);
        }
        fixture.guest(&["config", "branch.main.remote", "origin"]);
        fixture.guest(&["config", "branch.main.merge", "refs/heads/evil"]);
        fixture.guest(&["config", "core.pager", "evil"]);
        boundary.leave().unwrap();
        let after = fixture.host(&["config", "--local", "--get-regexp", "branch|pager"]);
        assert_eq!(after, "branch.main.remote .\nbranch.good.remote origin\nbranch.good.merge refs/heads/good");
    }
}

#[test]
fn ignore_patterns_of_the_repository_reach_the_guest() {
    let fixture = Fixture::linked(&gits()[0]);
    fs::write(fixture.main.join(".git/info/exclude"), "junk\n").unwrap();
    let boundary = fixture.enter();
    fs::write(fixture.worktree.join("junk"), "").unwrap();
    assert_eq!(fixture.guest(&["status", "--porcelain"]), "");
    drop(boundary);
}

#[test]
fn a_branch_of_another_checkout_is_not_checked_out_twice() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let boundary = fixture.enter();
        fixture.guest(&["symbolic-ref", "HEAD", "refs/heads/main"]);
        let imported = boundary.leave().unwrap();
        assert!(imported.kept.is_some(), "{imported:?}");
        assert_eq!(fixture.host(&["symbolic-ref", "HEAD"]), "refs/heads/work");
    }
}

/// A git that writes down how often it was asked.
fn counting(fixture: &Fixture) -> (PathBuf, PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let (program, log) = (fixture.dir.path().join("git"), fixture.dir.path().join("log"));
    let script = format!("#!/bin/sh\necho \"$*\" >>'{}'\nexec '{}' \"$@\"\n", log.display(), fixture.git.display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&log, "").unwrap();
    (program, log)
}

#[test]
fn few_git_processes_are_started() {
    for fixture in Fixture::both(&gits()[0]) {
        let (program, log) = counting(&fixture);
        let count = || std::mem::take(&mut fs::read_to_string(&log).unwrap()).lines().count();
        let repo = Repository::discover_with(&fixture.worktree, program).unwrap();
        assert_eq!(count(), 0);
        let boundary = Boundary::enter(repo, &fixture.state(), "run1").unwrap();
        boundary.repository().identity();
        assert_eq!(count(), 1, "{}", fs::read_to_string(&log).unwrap());
        fixture.guest_commits("x");
        boundary.import().unwrap();
        // fetch, cat-file, update-ref, and the identity for the reflog.
        assert!(count() <= 1 + 4, "{}", fs::read_to_string(&log).unwrap());
        let before = count();
        boundary.import().unwrap();
        boundary.leave().unwrap();
        assert_eq!(count(), before, "{}", fs::read_to_string(&log).unwrap());
    }
}

#[test]
fn what_the_host_fetches_reaches_the_guest_and_not_the_other_way() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let boundary = fixture.enter();
        let commit = fixture.host_ref("HEAD");
        fixture.host(&["update-ref", "refs/remotes/origin/main", &commit]);
        let own = fixture.guest_commits("x");
        fixture.guest(&["update-ref", "refs/remotes/origin/own", &own]);
        boundary.import().unwrap();
        assert_eq!(fixture.guest(&["rev-parse", "origin/main"]), commit);
        assert!(boundary.leave().unwrap().conflicts.is_empty());
        assert!(!fixture.has_ref("refs/remotes/origin/own"));
        fixture.assert_no_residue();
    }
}
