//! What a new worktree gets beside what git has: copies, links, and the user's hooks. Nothing leads out of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use workmux_tests::{Snapshot, World, require_engine};

use super::case::{Worktrees, world};

#[test]
fn files_are_copied_and_linked() {
    let world = World::new();
    let main = world.main();
    for (name, content) in [
        (".gitignore", "*\n"),
        (".env", "secret"),
        ("conf/a.local", "a"),
        ("conf/b.other", "b"),
        ("deep/er/secret.txt", "deep"),
        ("cache/x/y", "y"),
        ("node_modules/m/index.js", "m"),
    ] {
        world.write(main.join(name), content);
    }
    symlink("x/y", main.join("cache/link")).unwrap();
    world.program("mkfifo").arg(main.join("cache/pipe")).run().ok();
    fs::set_permissions(main.join(".env"), fs::Permissions::from_mode(0o640)).unwrap();
    world.project_config(
        "files:\n  copy: [.env, 'conf/*.local', '**/secret.txt', cache, README.md, absent]\n  symlink: [node_modules]\n",
    );
    let run = world.add(&["topic"]).run().ok();
    run.warns("'files.copy': the main checkout has no 'absent'");
    let tree = world.tree("topic");
    assert_eq!(world.read(tree.join(".env")), "secret");
    assert_eq!(fs::metadata(tree.join(".env")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(world.read(tree.join("conf/a.local")), "a");
    assert!(!tree.join("conf/b.other").exists());
    assert_eq!(world.read(tree.join("deep/er/secret.txt")), "deep");
    assert_eq!(fs::read_link(tree.join("cache/link")).unwrap(), Path::new("x/y"));
    assert!(tree.join("cache/pipe").symlink_metadata().is_err());
    assert_eq!(fs::read_link(tree.join("node_modules")).unwrap(), main.join("node_modules"));
    // What git has is newer than what lies about in the main checkout.
    world.write(main.join("README.md"), "changed\n");
    world.add(&["other"]).run().ok();
    assert_eq!(world.read(world.tree("other").join("README.md")), "# A project\n");
    world.add(&["bare", "--no-file-ops"]).run().ok();
    assert!(!world.tree("bare").join(".env").exists());
    // The linked directory itself outlives the worktree.
    world.workmux(&["remove", "topic", "--force"]).run().ok();
    assert!(main.join("node_modules/m/index.js").exists());
}

#[test]
fn p9_neither_checkout_leads_to_somewhere_else() {
    let world = World::new();
    let (main, canary) = (world.main(), world.home().join("canary"));
    world.write(canary.join("x.local"), "untouched");
    let before = Snapshot::of(&canary);
    let refused = |copy: &str, why: &str| {
        world.project_config(&format!("files: {{ copy: ['{copy}'] }}\n"));
        world.add(&["topic"]).run().code(1).warns("'files.copy': ").warns(why)
    };
    for outside in ["../canary/x.local", "/etc/passwd", "a/../../canary"] {
        refused(outside, "must be a path inside the main checkout");
    }
    refused(".git/config", "it does not stay in the checkout");
    // Links in the main checkout are not followed, and copied as links at the end.
    symlink(&canary, main.join("leads")).unwrap();
    world.project_config("files: { copy: ['leads/x.local'] }\n");
    world.add(&["topic"]).run().ok().warns("the main checkout has no 'leads/x.local'");
    assert!(world.tree("topic").join("leads").symlink_metadata().is_err());
    world.workmux(&["remove", "topic"]).run().ok();
    world.project_config("files: { copy: [leads, '*/x.local'], symlink: ['leads/*'] }\n");
    world.add(&["as-a-link"]).run().ok();
    assert_eq!(fs::read_link(world.tree("as-a-link").join("leads")).unwrap(), canary);
    world.workmux(&["remove", "-f", "as-a-link"]).run().ok();

    // A branch that was made to have a link where we write.
    fs::remove_file(main.join("leads")).unwrap();
    fs::remove_file(main.join(".workmux.yaml")).unwrap();
    let git = |words: &[&str]| world.git(&main, words).ok();
    git(&["checkout", "-q", "-b", "evil"]);
    symlink(&canary, main.join("conf")).unwrap();
    symlink(&canary, main.join(".workmux")).unwrap();
    git(&["add", "-A"]);
    git(&["commit", "-qm", "evil"]);
    git(&["checkout", "-q", "main"]);
    world.write(main.join("conf/x.local"), "new");
    world.project_config("files: { copy: ['conf/x.local'] }\n");
    world.add(&["topic", "--base", "evil"]).run().code(1).warns("cannot provide 'conf/x.local'");
    let prompted = world.add(&["topic", "--base", "evil", "-F", "-p", "x"]).run().code(1);
    prompted.warns("cannot write the prompt into the worktree");
    assert_eq!(before.changes(&Snapshot::of(&canary)), [""; 0]);
    assert_eq!(world.branches(), ["evil", "main"]);
    assert!(world.records().is_empty() && !world.home().join("project__worktrees").exists());
}

#[test]
fn hooks_know_what_they_are_run_for() {
    let world = World::new();
    let out = world.home().join("out");
    world.folder(&out);
    let hook = |name: &str| {
        format!("{name}: ['(pwd; env | grep -E \"^(WM_|WORKMUX_HANDLE|GIT_)\" | sort) > {}/{name}']\n", out.display())
    };
    world.user_config(&["post_create", "pre_merge", "pre_remove"].map(hook).concat());
    let tree = world.tree("feature-x");
    let known = |more: &str| {
        let (tree, main) = (tree.display(), world.main());
        let main = main.display();
        format!(
            "{tree}\nWM_BRANCH_NAME=feature/x\nWM_CONFIG_DIR={main}\nWM_HANDLE=feature-x\nWM_PROJECT_ROOT={main}\n\
             {more}WM_WORKTREE_PATH={tree}\nWORKMUX_HANDLE=feature-x\n"
        )
    };
    // Nothing of ours or git's that happens to be there gets in.
    let run = |words: &[&str]| world.workmux(words).env("GIT_DIR", "/nowhere").env("WM_RPC_TOKEN", "x").run().ok();
    // What has nothing to merge is kept.
    let work = |tree: &Path| world.git(tree, &["commit", "-qm", "work", "--allow-empty"]).ok();
    run(&["add", "feature/x"]).warns("post_create: ");
    assert_eq!(world.read(out.join("post_create")), known(""));
    work(&tree);
    run(&["merge", "feature/x", "--into", "main"]);
    assert_eq!(world.read(out.join("pre_merge")), known("WM_TARGET_BRANCH=main\n"));
    assert_eq!(world.read(out.join("pre_remove")), known(""));

    for name in ["post_create", "pre_merge", "pre_remove"] {
        fs::remove_file(out.join(name)).unwrap();
    }
    world.add(&["y", "--no-hooks"]).run().ok();
    work(&world.tree("y"));
    world.workmux(&["merge", "y", "--no-hooks"]).run().ok();
    assert!(!world.tree("y").exists());
    world.add(&["z", "-H"]).run().ok();
    world.workmux(&["remove", "z", "-H"]).run().ok();
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
}

#[test]
fn a_hook_that_fails_stops_what_it_is_a_hook_of() {
    let world = World::new();
    world.user_config(
        "hook_shell: [sh, -eu, -c]\npost_create: ['true', 'touch made; echo why >&2; false; true', 'touch never']\n",
    );
    let run = world.add(&["topic"]).run().code(1);
    run.warns("why").warns("of 'post_create' failed").warns("--no-hooks");
    world.assert_nothing_made();

    world.user_config("pre_merge: [exit 3]\npre_remove: [exit 4]\n");
    world.add(&["topic"]).run().ok();
    let tree = world.tree("topic");
    world.write(tree.join("x"), "x");
    world.git(&tree, &["add", "x"]).ok();
    world.git(&tree, &["commit", "-qm", "x"]).ok();
    world.workmux(&["merge", "topic"]).run().code(1).warns("'pre_merge' failed");
    assert_eq!(world.log("main"), "first");
    world.workmux(&["remove", "-f", "topic"]).run().code(1).warns("'pre_remove' failed");
    assert!(tree.join("x").exists());
    world.user_config("pre_remove: [exit 4]\n");
    world.workmux(&["merge", "topic"]).run().code(1).warns("it is merged, but the worktree is kept");
    assert_eq!((world.log("main").as_str(), tree.exists()), ("x first", true));
}

#[test]
fn p28_a_projects_hooks_run_once_they_are_confirmed() {
    let world = World::new();
    world.project_config("post_create: [touch hooked]\n");
    world.add(&["one"]).run().ok().warns("'post_create'");
    assert!(!world.tree("one").join("hooked").exists());
    let mut pty = world.pty(&["add", "two"]);
    pty.wait_for("touch hooked");
    pty.wait_for("[y/N]");
    assert!(!world.tree("two").exists(), "the question comes before anything is made");
    pty.send("y\r");
    assert_eq!(pty.wait().0, 0);
    assert!(world.tree("two").join("hooked").exists());
    world.add(&["three"]).run().ok();
    assert!(world.tree("three").join("hooked").exists());
    world.project_config("post_create: [touch  hooked]\n");
    world.add(&["four"]).run().ok();
    assert!(!world.tree("four").join("hooked").exists());
}

#[test]
fn p20_no_hook_of_gits_runs() {
    require_engine!("bubblewrap");
    let world = world();
    let canary = world.home().join("canary");
    for name in [
        "post-checkout",
        "pre-commit",
        "prepare-commit-msg",
        "commit-msg",
        "post-commit",
        "pre-merge-commit",
        "post-merge",
        "pre-rebase",
        "post-rewrite",
        "reference-transaction",
        "post-index-change",
        "pre-auto-gc",
    ] {
        let file = world.git_dir().join("hooks").join(name);
        world.write(&file, format!("#!/bin/sh\necho {name} >> {}\n", canary.display()));
        fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    }
    world.write(world.main().join("untracked"), "x");
    let commit = |name: &str| format!("echo {name} > {name}; git add {name}; git commit -qm {name}; exit 0");
    for (name, way) in [("one", "--squash"), ("two", "--rebase"), ("three", "--keep")] {
        world.add(&[name, "-S", "-W", "-w", "-u", "-p", &commit(name)]).run().ok();
        world.workmux(&["merge", name, way, "--ignore-uncommitted"]).run().ok();
        world.workmux(&["remove", "-f", name]).run();
    }
    assert_eq!(world.log("main"), "three two one first");
    assert!(!canary.exists(), "{}", world.read(&canary));
}
