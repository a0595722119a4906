//! `workmux merge`: every way, and everything as before where it cannot be done.

use std::path::{Path, PathBuf};

use workmux_tests::{Snapshot, World, require_engine};

use super::case::{Worktrees, commit, world};

/// A commit of one file.
fn commit_in(world: &World, dir: &Path, file: &str, content: &str, subject: &str) {
    world.write(dir.join(file), content);
    world.git(dir, &["add", file]).ok();
    world.git(dir, &["commit", "-qm", subject]).ok();
}

/// A worktree with a commit in it.
fn worked(world: &World, name: &str) -> PathBuf {
    world.add(&[name]).run().ok();
    let tree = world.tree(name);
    commit_in(world, &tree, name, "x", name);
    tree
}

#[test]
fn each_way_makes_the_history_it_should() {
    let world = World::new();
    let main = world.main();
    let merge = |words: &[&str]| world.workmux(&["merge"]).args(words).run().ok();
    worked(&world, "a");
    merge(&["a"]).says("✓ Merged 'a' into 'main' (1 commit(s))").says("✓ Removed worktree 'a' and its branch");
    assert_eq!(world.log("main"), "a first", "nothing else came in between");
    worked(&world, "b");
    commit_in(&world, &main, "m", "m", "m");
    merge(&["b"]);
    let parents = world.git(&main, &["log", "-1", "--format=%s/%P"]).ok().stdout;
    assert!(parents.starts_with("Merge branch 'b' into main/") && parents.matches(' ').count() == 5, "{parents}");
    worked(&world, "c");
    commit_in(&world, &main, "n", "n", "n");
    merge(&["c", "--rebase"]);
    assert!(world.log("main").starts_with("c n Merge branch"), "{}", world.log("main"));
    let tree = worked(&world, "d");
    merge(&["d", "--squash", "--keep"]);
    assert!(world.log("main").starts_with("d c n "), "one commit keeps its subject");
    assert!(tree.exists() && world.branches().contains(&"d".to_owned()));
    merge(&["d", "--squash"]);
    assert!(world.log("main").starts_with("d c n "), "there is nothing more to squash");
    let tree = worked(&world, "e");
    commit_in(&world, &tree, "e2", "x", "more e");
    merge(&["e", "--squash"]);
    let commit = world.git(&main, &["log", "-1", "--format=%B/%P"]).ok().stdout;
    let (message, parents) = commit.split_once('/').unwrap();
    assert_eq!((message, parents.trim_end().matches(' ').count()), ("e\n\n* e\n* more e\n", 0), "{commit}");
    // Nothing to merge takes nothing away.
    world.add(&["f"]).run().ok();
    merge(&["f"]).says("✓ Nothing to merge: 'main' has all of 'f'").says("Kept worktree 'f'");
    assert!(world.tree("f").exists());
    assert_eq!(world.git(&main, &["status", "--porcelain"]).ok().stdout, "");
    world.workmux(&["remove", "--all", "--force"]).run().ok().says("✓ Removed worktree 'f' and branch 'f'");
    world.assert_nothing_made();
}

#[test]
fn a_branch_that_is_not_checked_out_takes_a_merge_as_well() {
    let world = World::new();
    let main = world.main();
    world.git(&main, &["branch", "release"]).ok();
    worked(&world, "a");
    world.workmux(&["merge", "a", "--into", "release"]).run().ok().says("✓ Merged 'a' into 'release'");
    assert_eq!((world.log("release").as_str(), world.log("main").as_str()), ("a first", "first"));
    for (name, way, subject) in
        [("b", None, "Merge branch 'b' into release"), ("c", Some("--squash"), "c"), ("d", Some("--rebase"), "d")]
    {
        worked(&world, name);
        world.workmux(&["merge", name, "--into", "release"]).args(way).run().ok();
        assert!(world.log("release").starts_with(subject), "{}", world.log("release"));
    }
    assert_eq!(world.git(&main, &["ls-tree", "--name-only", "release"]).ok().stdout, "README.md\na\nb\nc\nd\n");
    assert_eq!(world.git(&main, &["status", "--porcelain"]).ok().stdout, "");
    // Where it was made from is where it goes; what is gone is the main branch's.
    world.add(&["e", "--base", "release"]).run().ok();
    commit_in(&world, &world.tree("e"), "e", "x", "e");
    world.workmux(&["merge", "e"]).run().ok().says("into 'release'");
    let tree = worked(&world, "f");
    for (words, why) in [
        (&["f", "--into", "absent"][..], "no branch 'absent'"),
        (&["f", "--into", "f"], "cannot be merged into itself"),
    ] {
        world.workmux(&["merge"]).args(words).run().code(1).warns(why);
    }
    world.git(&tree, &["checkout", "-q", "--detach"]).ok();
    world.workmux(&["merge", "f"]).run().code(1).warns("no branch is checked out in 'f'");
    world.workmux(&["merge"]).run().code(1).warns("this is the main checkout");
    world.workmux(&["merge", "feature"]).run().code(1).warns("there is no worktree 'feature'");
    world.workmux(&["merge", "f", "--rebase", "--squash"]).run().code(2);
}

#[test]
fn a_rebase_spares_what_is_not_committed() {
    let world = World::new();
    let main = world.main();
    world.write(world.git_dir().join("info/exclude"), "*.ign\n");
    let tree = worked(&world, "a");
    world.write(tree.join("x.ign"), "SECRET");
    world.write(main.join("x.ign"), "other");
    world.git(&main, &["add", "-f", "x.ign"]).ok();
    world.git(&main, &["commit", "-qm", "x"]).ok();
    let rebase = ["merge", "a", "--rebase", "--keep", "--ignore-uncommitted"];
    world.workmux(&rebase).run().code(1).warns("'x.ign' is in the way where 'a' is checked out");
    assert_eq!((world.read(tree.join("x.ign")), world.log("main")), ("SECRET".into(), "x first".into()));
    std::fs::remove_file(tree.join("x.ign")).unwrap();
    world.write(tree.join("a"), "changed");
    world.workmux(&rebase).run().code(1).warns("a rebase would move files under it");
    assert_eq!((world.read(tree.join("a")), world.log("main")), ("changed".into(), "x first".into()));
}

#[test]
fn a_merge_keeps_a_worktree_with_repositories_of_submodules_in_it() {
    let world = World::new();
    let tree = worked(&world, "a");
    world.write(world.git_dir().join("worktrees/a/modules/one/HEAD"), "");
    world.workmux(&["merge", "a"]).run().ok().says("Kept worktree 'a': it holds the repositories of its submodules");
    assert_eq!(world.log("main"), "a first");
    assert!(tree.exists());
}

#[test]
fn nothing_is_merged_into_a_branch_that_is_being_rebased() {
    let world = World::new();
    let tree = worked(&world, "a");
    commit_in(&world, &tree, "c", "ours", "c");
    commit_in(&world, &world.main(), "c", "theirs", "theirs");
    world.git(&tree, &["rebase", "-q", "main"]).code(1);
    worked(&world, "b");
    world.workmux(&["merge", "b", "--into", "a"]).run().code(1).warns("'a' is being rebased in 'a'");
}

#[test]
fn a_merge_goes_into_a_branch_and_nothing_else() {
    let world = World::new();
    worked(&world, "a");
    for (into, why) in [
        ("main~0", "there is no branch 'main~0' to merge into"),
        ("HEAD", "there is no branch 'HEAD'"),
        ("none", "there is no branch 'none'"),
        ("a", "'a' cannot be merged into itself"),
    ] {
        world.workmux(&["merge", "a", "--into", into]).run().code(1).warns(why);
    }
    assert_eq!(world.log("main"), "first");
}

#[test]
fn p34_a_conflict_leaves_everything_as_it_was() {
    let world = World::new();
    let main = world.main();
    world.git(&main, &["branch", "release"]).ok();
    let tree = worked(&world, "topic");
    commit_in(&world, &tree, "README.md", "theirs\n", "theirs");
    commit_in(&world, &main, "README.md", "ours\n", "ours");
    world.git(&main, &["branch", "-f", "release", "main"]).ok();
    world.write(main.join("untracked"), "mine");
    let look = |dir: &Path| {
        let git = |words: &[&str]| world.git(dir, words).ok().stdout;
        [git(&["status", "--porcelain=v2", "--branch"]), git(&["for-each-ref"]), git(&["ls-files", "--stage"])].concat()
    };
    let before = (look(&main), look(&tree), Snapshot::without(&main, &[".git"]), Snapshot::without(&tree, &[]));
    for into in ["main", "release"] {
        for way in [None, Some("--rebase"), Some("--squash")] {
            let run = world.workmux(&["merge", "topic", "--into", into]).args(way).run().code(1);
            run.warns("conflicts in 'README.md'; nothing was changed").warns("Hint: ");
            assert_eq!((look(&main), look(&tree)), (before.0.clone(), before.1.clone()), "{way:?} into {into}");
            assert_eq!(before.2.changes(&Snapshot::without(&main, &[".git"])), [""; 0]);
            assert_eq!(before.3.changes(&Snapshot::without(&tree, &[])), [""; 0]);
            for left in [
                "MERGE_HEAD",
                "SQUASH_MSG",
                "MERGE_MSG",
                "worktrees/topic/rebase-merge",
                "worktrees/topic/rebase-apply",
            ] {
                assert!(!world.git_dir().join(left).exists(), "{left} after {way:?} into {into}");
            }
        }
    }
    // A file that git does not know, in the way of one that comes.
    world.git(&main, &["reset", "-q", "--hard", "HEAD~"]).ok();
    world.write(main.join("topic"), "not yours");
    for way in [None, Some("--rebase"), Some("--squash")] {
        world.workmux(&["merge", "topic"]).args(way).run().code(1).warns("topic");
        assert_eq!(world.read(main.join("topic")), "not yours");
        assert_eq!(world.log("main"), "first");
    }
}

#[test]
fn p34_work_that_is_not_committed_is_never_touched() {
    let world = World::new();
    let main = world.main();
    let tree = worked(&world, "topic");
    let merge = |words: &[&str]| world.workmux(&["merge", "topic"]).args(words).run();
    // In the target, staged or not.
    let clean = || world.git(&main, &["reset", "-q", "--hard"]).ok();
    world.write(main.join("README.md"), "precious\n");
    merge(&[]).code(1).warns("'main' is checked out in").warns("README.md").warns("commit or stash");
    assert_eq!(world.read(main.join("README.md")), "precious\n");
    world.git(&main, &["add", "."]).ok();
    merge(&["--squash"]).code(1).warns("README.md");
    assert_eq!(world.git(&main, &["status", "--porcelain"]).ok().stdout, "M  README.md\n");
    clean();
    // In the worktree.
    for (file, what) in [("README.md", "changed"), ("new", "untracked")] {
        world.write(tree.join(file), "precious\n");
        merge(&[]).code(1).warns("holds work that is not committed").warns(file).warns("--ignore-uncommitted");
        merge(&["--rebase"]).code(1);
        assert_eq!(world.read(tree.join(file)), "precious\n", "{what}");
        world.git(&tree, &["checkout", "-q", "README.md"]).ok();
    }
    assert_eq!(world.log("main"), "first");
    merge(&["--ignore-uncommitted"]).ok().says("Kept worktree 'topic': it holds work that is not committed");
    assert_eq!((world.log("main").as_str(), world.read(tree.join("new")).as_str()), ("topic first", "precious\n"));
}

#[test]
fn what_comes_after_the_merge_is_kept() {
    require_engine!("bubblewrap");
    let world = world();
    // The last thing before a worktree goes.
    world.user_config(&format!("sandbox: {{ backend: bubblewrap }}\npre_remove: ['{}']\n", commit("late")));
    world.add(&["topic", "-S", "-W", "-p", &format!("{}; exit 0", commit("early"))]).run().ok();
    let run = world.workmux(&["merge", "topic"]).run().code(1);
    run.warns("it is merged, but the worktree is kept").warns("new work since it was merged");
    assert_eq!((world.log("main").as_str(), world.log("topic").as_str()), ("early first", "late early first"));
    world.user_config("sandbox: { backend: bubblewrap }\n");
    // An agent that commits without end is ended, and everything it committed is merged or kept.
    let busy = "i=0; while :; do i=$((i+1)); echo $i > n; git add n; git commit -qm $i; done";
    world.workmux(&["open", "topic", "-S", "-p", busy]).run().ok();
    workmux_tests::wait_until("its first commit", || world.log("topic").starts_with(|c: char| c.is_ascii_digit()));
    let run = world.workmux(&["merge", "topic", "--ignore-uncommitted"]).run();
    assert!(matches!(run.code, Some(0 | 1)), "{run}");
    let kept = world.branches().contains(&"topic".to_owned());
    assert_eq!(kept, world.tree("topic").exists(), "{run}");
    assert_eq!(world.git(&world.main(), &["fsck", "--strict"]).ok().stderr.matches("error").count(), 0);
    let (main, topic) = (world.log("main"), if kept { world.log("topic") } else { world.log("main") });
    assert!(topic.ends_with(&main), "{run}");
}

#[test]
fn a_worktree_can_be_merged_from_inside() {
    require_engine!("tmux");
    let world = world();
    let tree = worked(&world, "outside");
    let run = world.workmux(&["merge"]).dir(&tree).run().ok();
    run.warns(&format!("this directory is gone: cd {}", world.main().display()));
    let tmux = world.tmux();
    // A login's shell in a pane has a search path of its own.
    let program = world.given().program.display();
    for (name, command) in [("merged", "merge"), ("removed", "remove -f"), ("closed", "close")] {
        world.add(&[name]).envs(tmux.variables("test:window")).run().ok();
        let tree = world.tree(name);
        commit_in(&world, &tree, name, "x", name);
        // It closes the window that it is typed in, and comes to its end all the same.
        tmux.type_line(&format!("test:wm-{name}.1"), &format!("{program} {command}"));
        // The branch goes last.
        workmux_tests::wait_until(&format!("the end of {command}"), || {
            tmux.windows() == ["window"] && (name == "closed" || !world.branches().contains(&name.to_owned()))
        });
        assert_eq!(world.branches().contains(&name.to_owned()), name == "closed");
        assert_eq!((tree.exists(), world.records().len()), (name == "closed", usize::from(name == "closed")));
    }
    assert_eq!(world.log("main"), "merged outside first");
    assert_eq!(world.agent_of("closed")["name"], "closed");
}
