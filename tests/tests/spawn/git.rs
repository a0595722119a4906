//! Host git at work for a guest: nothing that is planted or configured runs on what the guest made (P19, P20, P21).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use workmux_tests::{Sandbox, World};

use super::scene::{Puppet, Witness, on_each, scene};

on_each!(p19_nothing_runs_on_what_a_guest_made);

const HOOKS: [&str; 16] = [
    "post-checkout",
    "pre-commit",
    "post-commit",
    "pre-merge-commit",
    "post-merge",
    "pre-rebase",
    "post-rewrite",
    "prepare-commit-msg",
    "commit-msg",
    "reference-transaction",
    "post-index-change",
    "pre-auto-gc",
    "fsmonitor-watchman",
    "applypatch-msg",
    "pre-applypatch",
    "post-applypatch",
];

/// The user's own repository names programs wherever git takes one, each of which leaves a canary.
fn armed(on: Sandbox) -> World {
    let world = scene(on);
    let program = world.home().join("bin/leave");
    let canaries = world.home().join("canaries");
    world.folder(&canaries);
    world.write(&program, format!("#!/bin/sh\n: > '{}/'$1\ncat\n", canaries.display()));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program of ours");
    let leave = |name: &str| format!("{} {name} 2>/dev/null; cat", program.display());
    for folder in [world.git_dir().join("hooks"), world.home().join("hooks")] {
        for hook in HOOKS {
            let path = folder.join(hook);
            world.write(&path, format!("#!/bin/sh\n{} hook-{hook} < /dev/null\n", program.display()));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a hook of ours");
        }
    }
    for (key, value) in [
        ("filter.evil.clean", leave("clean")),
        ("filter.evil.smudge", leave("smudge")),
        ("merge.evil.driver", format!("{} driver < %A > /dev/null; exit 0", program.display())),
        ("diff.evil.command", leave("diff")),
        ("diff.evil.textconv", leave("textconv")),
        ("diff.external", leave("external")),
        ("core.hooksPath", world.home().join("hooks").display().to_string()),
        ("core.fsmonitor", leave("fsmonitor")),
        ("core.editor", leave("editor")),
        ("sequence.editor", leave("sequence")),
        ("core.pager", leave("pager")),
        ("gpg.program", leave("gpg")),
        ("commit.gpgSign", "true".to_owned()),
        ("merge.verifySignatures", "false".to_owned()),
    ] {
        world.git(&world.main(), &["config", key, &value]).ok();
    }
    world
}

fn canaries(world: &World) -> Vec<String> {
    let found = fs::read_dir(world.home().join("canaries")).expect("canaries").flatten();
    let mut names: Vec<String> = found.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

/// Everything that a guest can have host git do; answers what ran.
fn worked(on: Sandbox, mutant: &str) -> Vec<String> {
    let world = armed(on);
    let _witness = Witness(&world);
    let evil = format!("{} environment", world.home().join("bin/leave").display());
    let mut run = world.workmux(&[]).mutant(mutant);
    for name in
        ["GIT_EXTERNAL_DIFF", "GIT_EDITOR", "GIT_SEQUENCE_EDITOR", "GIT_PAGER", "GIT_SSH_COMMAND", "GIT_ASKPASS"]
    {
        run = run.env(name, &evil);
    }
    run = run.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "core.fsmonitor").env("GIT_CONFIG_VALUE_0", &evil);
    run = run.env("GIT_DIR", "/nowhere").env("GIT_INDEX_FILE", "/nowhere").env("GIT_WORK_TREE", "/nowhere");
    let own = Puppet::by(&world, "own", run);
    for canary in canaries(&world) {
        fs::remove_file(world.home().join("canaries").join(canary)).expect("what the user's own command left");
    }
    let plain = "git -c commit.gpgSign=false -c core.fsmonitor=false -c core.hooksPath=/dev/null";
    let said = own.does(&format!(
        "set -x; echo '* filter=evil merge=evil diff=evil' > .gitattributes; seq 20 > lines; \
         mkdir -p hooks .git-hooks; {plain} add -f .gitattributes lines; {plain} commit -qm 'a trap'"
    ));
    assert!(!said.contains("fatal"), "{said}");
    for (name, line, flag) in [("one", 1, ""), ("two", 5, "--squash"), ("three", 9, "--rebase")] {
        let work = format!("sed -i {line}s/$/{name}/ lines; {plain} commit -qam {name}");
        let said = own.does(&format!(
            "workmux add {name} -p {} && workmux wait {name} && sed -i {}s/$/own/ lines && {plain} commit -qam own && \
             workmux status && workmux merge {name} {flag}",
            workmux_tests::quoted(&work),
            20 - line,
        ));
        // With the user's driver in its way a merge may fail.
        assert!(said.contains("✓ Merged") || !mutant.is_empty(), "{name}: {said}");
    }
    own.does("workmux add four -p ':'; workmux wait four; workmux close four");
    world.workmux(&["status"]).run().ok();
    world.workmux(&["list"]).run().ok();
    let ran = canaries(&world);
    let lines = world.read(Path::new(&super::scene::tree(&world, "own")).join("lines"));
    if mutant.is_empty() {
        for name in ["1one\n", "5two\n", "9three\n", "19own\n"] {
            assert!(lines.contains(name), "{lines}");
        }
    }
    world.workmux(&["remove", "--all", "--force"]).run().ok();
    ran
}

fn p19_nothing_runs_on_what_a_guest_made(on: Sandbox) {
    assert_eq!(worked(on, ""), [""; 0]);
    // Without the guards programs run: this test can fail.
    if on == Sandbox::Bubblewrap {
        let ran = worked(on, "p19_tame");
        assert!(ran.contains(&"smudge".to_owned()), "{ran:?}");
        let ran = worked(on, "p20_hooks");
        assert!(ran.contains(&"hook-post-checkout".to_owned()), "{ran:?}");
    }
}
