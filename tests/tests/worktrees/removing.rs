//! `workmux remove`: what exists nowhere else is named and kept, and only what was meant goes.

use std::fs;
use std::path::Path;

use workmux_tests::{World, require_engine, wait_until};

use super::case::{Worktrees, world};

fn commit_in(world: &World, dir: &Path, file: &str, content: &str) {
    world.write(dir.join(file), content);
    world.git(dir, &["add", file]).ok();
    world.git(dir, &["commit", "-qm", file]).ok();
}

/// Refused by name without a terminal, and everything is there; then it goes by force.
#[track_caller]
fn kept(world: &World, name: &str, what: &str) {
    let tree = world.tree(name);
    world.workmux(&["remove", name]).run().code(1).warns(what).warns("--force");
    assert!(tree.is_dir(), "{name}");
    world.workmux(&["remove", name, "--force"]).run().ok();
    assert!(!tree.exists(), "{name}");
    assert!(!world.branches().contains(&name.to_owned()), "{name}");
}

#[test]
fn what_exists_nowhere_else_is_named_and_kept() {
    let world = World::new();
    let added = |name: &str| {
        world.add(&[name]).run().ok();
        world.tree(name)
    };
    let tree = added("changed");
    world.write(tree.join("new"), "x");
    kept(&world, "changed", "not committed: new");

    commit_in(&world, &added("ahead"), "a", "x");
    kept(&world, "ahead", "1 commit(s) not in 'main'");

    world.git(&world.main(), &["branch", "other"]).ok();
    world.add(&["based", "--base", "other"]).run().ok();
    commit_in(&world, &world.tree("based"), "b", "x");
    world.git(&world.main(), &["branch", "-D", "other"]).ok();
    kept(&world, "based", "1 commit(s) not in 'main'");

    let tree = added("detached");
    world.git(&tree, &["checkout", "-q", "--detach"]).ok();
    commit_in(&world, &tree, "d", "x");
    world.workmux(&["remove", "detached"]).run().code(1).warns("1 commit(s) on no branch");
    assert!(tree.is_dir());
    world.workmux(&["remove", "detached", "--force"]).run().ok();
    world.git(&world.main(), &["branch", "-D", "detached"]).ok();

    let tree = added("rebasing");
    commit_in(&world, &tree, "r", "theirs");
    commit_in(&world, &world.main(), "r", "ours");
    world.git(&tree, &["rebase", "-q", "main"]).code(1);
    world.workmux(&["remove", "rebasing"]).run().code(1).warns("something is under way there");
    world.git(&tree, &["rebase", "--abort"]).ok();
    kept(&world, "rebasing", "1 commit(s) not in 'main'");

    let tree = added("locked");
    world.git(&world.main(), &["worktree", "lock", tree.to_str().unwrap()]).ok();
    kept(&world, "locked", "it is locked");

    added("with-modules");
    world.write(world.git_dir().join("worktrees/with-modules/modules/one/HEAD"), "");
    kept(&world, "with-modules", "the repositories of its submodules");

    let tree = added("outer");
    world.write(world.git_dir().join("info/exclude"), "/inner\n");
    let inner = tree.join("inner");
    world.git(&world.main(), &["worktree", "add", "-q", "-b", "inner", inner.to_str().unwrap()]).ok();
    kept(&world, "outer", "another worktree, 'inner'");
    world.git(&world.main(), &["worktree", "prune"]).ok();
    world.git(&world.main(), &["branch", "-D", "inner"]).ok();
    world.assert_nothing_made();
}

#[test]
fn what_is_left_of_a_removal_can_be_removed() {
    let world = World::new();
    world.add(&["half"]).run().ok();
    let tree = world.tree("half");
    fs::remove_file(tree.join(".git")).unwrap();
    world.workmux(&["remove", "half"]).run().code(1).warns("it cannot be looked at");
    world.workmux(&["merge", "half"]).run().code(1);
    assert!(tree.is_dir());
    world.write(tree.join("protected/file"), "x");
    fs::set_permissions(tree.join("protected"), std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    world.workmux(&["remove", "half", "--force"]).run().ok();
    world.assert_nothing_made();
}

#[test]
fn a_pipe_that_git_would_read_holds_nobody_up() {
    let world = World::new();
    world.add(&["piped"]).run().ok();
    let pipe = world.tree("piped").join(".gitignore");
    world.program("mkfifo").arg(&pipe).run().ok();
    for words in [&["remove", "piped"][..], &["merge", "piped"]] {
        world.workmux(words).run().code(1).warns("'.gitignore' in this worktree is a pipe").warns("rm .gitignore");
    }
    world.workmux(&["remove", "piped", "--force"]).run().ok();
    world.assert_nothing_made();
}

#[test]
fn p17_what_lies_in_a_worktrees_place_is_taken_for_nothing_else() {
    let world = World::new();
    world.add(&["a"]).run().ok();
    let (base, other) = (world.home().join("project__worktrees"), world.home().join("other"));
    world.folder(&other.join("a"));
    world.git(&other.join("a"), &["init", "-q", "-b", "prod"]).ok();
    commit_in(&world, &other.join("a"), "precious", "x");
    fs::rename(&base, world.home().join("moved")).unwrap();
    std::os::unix::fs::symlink(&other, &base).unwrap();
    let before = workmux_tests::Snapshot::of(&other);
    for words in [&["merge", "a", "--keep"][..], &["open", "a", "-p", "x"], &["remove", "a"]] {
        world.workmux(words).run().code(1);
    }
    world.workmux(&["merge", "a", "--keep"]).run().code(1).warns("is not the checkout 'a' that git's record means");
    world.workmux(&["remove", "a", "--force"]).run().code(1);
    assert_eq!(before.changes(&workmux_tests::Snapshot::of(&other)), [""; 0]);
    // Without the guard the prompt comes to lie there: this test can fail.
    world.workmux(&["open", "a", "-p", "x"]).mutant("p17_same").run();
    assert_ne!(before.changes(&workmux_tests::Snapshot::of(&other)), [""; 0]);
}

#[test]
fn the_main_branch_stays_wherever_it_is_checked_out() {
    let world = World::new();
    world.git(&world.main(), &["checkout", "-q", "-b", "elsewhere"]).ok();
    world.add(&["main"]).run().ok();
    commit_in(&world, &world.tree("main"), "m", "x");
    let said = world.workmux(&["remove", "main"]).run().ok().stdout;
    assert_eq!(said, "✓ Removed worktree 'main'\n");
    assert_eq!(world.branches(), ["elsewhere", "main"]);
    world.add(&["main"]).run().ok();
    let said = world.workmux(&["merge", "main", "--into", "elsewhere"]).run().ok();
    said.says("✓ Merged 'main' into 'elsewhere' (1 commit(s))\n✓ Removed worktree 'main'\n");
    assert_eq!(world.branches(), ["elsewhere", "main"]);
}

#[test]
fn of_worktrees_whose_directories_are_gone_only_the_named_one_is_forgotten() {
    let world = World::new();
    for name in ["one", "two"] {
        world.add(&[name]).run().ok();
        fs::remove_dir_all(world.tree(name)).unwrap();
    }
    world.workmux(&["remove", "one"]).run().ok();
    let left = world.git(&world.main(), &["worktree", "list", "--porcelain"]).ok().stdout;
    assert!(left.contains("/two\n") && !left.contains("/one\n"), "{left}");
    assert_eq!(world.branches(), ["main", "two"]);
    world.workmux(&["remove", "two"]).run().ok();
    world.assert_nothing_made();
}

#[test]
fn sandboxes_that_work_there_are_named_and_ended_first() {
    require_engine!("bubblewrap");
    let world = world();
    world.add(&["busy"]).run().ok();
    let tree = world.tree("busy");
    let shell = world.waiting("shell", &tree, "true");
    world.workmux(&["remove", "busy"]).run().code(1).warns("another sandbox works");
    world.workmux(&["remove", "busy", "--force"]).run().ok();
    assert!(!tree.exists());
    assert_eq!(shell.end().code, Some(143));
    world.assert_nothing_made();
}

#[test]
fn who_started_the_removed_ones_agents_has_them_now() {
    require_engine!("bubblewrap");
    let world = world();
    let asks = |name: &str, then: &str| format!("workmux add {name} -p {}; sleep 100000", workmux_tests::quoted(then));
    let grandchild = asks("grandchild", "workmux set-window-status done; sleep 100000");
    world.add(&["top", "-S", "-b", "-p", &asks("child", &grandchild)]).run().ok();
    wait_until("the grandchild", || world.tree("grandchild").join(".git").exists());
    world.wait_for_status("grandchild", "done");
    // It may still be being made: its own agent was quicker.
    wait_until("the child to go", || world.workmux(&["remove", "child", "--force"]).run().code == Some(0));
    assert_eq!(world.agent_of("grandchild")["parent"], "top");
    world.workmux(&["remove", "--all", "--force"]).run().ok();
    world.assert_nothing_made();
}
