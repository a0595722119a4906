//! The mounts themselves, in a real mount namespace: what a guest's git can do, and what a guest cannot reach.
//!
//! Needs `bwrap`. Where it is missing or may not make namespaces the tests say so and prove nothing; the tests in
//! real sandboxes (`tests/`) are the ones that must run.

use super::*;
use std::fmt::Write as _;

/// A shell script run as a guest: everything read-only except the work tree and what the boundary mounts.
fn guest_shell(fixture: &Fixture, mounts: &[GitMount], script: &str) -> Option<std::process::Output> {
    let bwrap = std::env::split_paths(&search_path()).map(|dir| dir.join("bwrap")).find(|file| file.exists())?;
    let works = Command::new(&bwrap).args(["--ro-bind", "/", "/", "true"]).output().is_ok_and(|o| o.status.success());
    if !works {
        eprintln!("not proven here: bwrap may not make namespaces");
        return None;
    }
    let home = fixture.dir.path().join("guest-home");
    fs::create_dir_all(&home).unwrap();
    let mut command = Command::new(bwrap);
    command.args(["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--die-with-parent", "--unshare-pid"]);
    for writable in [&home, &fixture.worktree] {
        command.arg("--bind").arg(writable).arg(writable);
    }
    for mount in mounts {
        command.arg(if mount.writable { "--bind" } else { "--ro-bind" }).arg(&mount.source).arg(&mount.target);
    }
    let tools = fixture.git.parent().unwrap().display().to_string();
    command.args(["--chdir".as_ref(), fixture.worktree.as_os_str(), "sh".as_ref(), "-c".as_ref(), script.as_ref()]);
    command.env_clear().env("PATH", format!("{tools}:/usr/bin:/bin")).env("HOME", home).env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("MAIN", &fixture.main);
    Some(command.env("GIT_EDITOR", "true").output().unwrap())
}

/// The commands an agent and its user expect to work, in an order in which each has something to do.
const COMMANDS: &[&str] = &[
    "status",
    "diff",
    "log --oneline",
    "show --stat",
    "branch -a",
    "add new",
    "commit -m new",
    "commit --amend --no-edit",
    "switch -c topic",
    "commit --allow-empty -m topic",
    "switch -",
    "merge --no-ff --no-edit topic",
    "branch -d topic",
    "branch -D old",
    "branch -m renamed back",
    "branch back2",
    "tag v1",
    "tag -am note v2",
    "tag -d v1",
    "stash -u",
    "stash pop",
    "stash",
    "stash list",
    "stash drop",
    "cherry-pick picked",
    "revert --no-edit HEAD",
    "rebase base",
    "rebase -i base",
    "reset --soft HEAD~1",
    "commit -m again",
    "reset --hard",
    "checkout -b side",
    "checkout -",
    "restore a",
    "rm b",
    "commit -m rm",
    "mv a c",
    "commit -m mv",
    "clean -fd",
    "grep a",
    "blame c",
    "describe --tags --always",
    "notes add -m n",
    "notes show",
    "reflog",
    "reflog expire --expire=now --all",
    "worktree list",
    "worktree prune",
    "gc -q",
    "prune",
    "pack-refs --all",
    "repack -adq",
    "fsck --strict",
    "config user.name Guest",
    "config --list",
    "remote add r $MAIN",
    "bisect start",
    "bisect bad",
    "bisect good base",
    "bisect reset",
    "archive -o ../guest-home/x.tar HEAD",
    "ls-files",
    "sparse-checkout set --no-cone /*",
    "sparse-checkout disable",
    "maintenance run",
    "rev-parse --show-toplevel",
    "worktree add ../guest-home/extra side",
    "worktree remove ../guest-home/extra",
    "submodule status",
    "for-each-ref",
    "update-index --refresh",
    "cat-file -p HEAD",
    "ls-tree HEAD",
    "shortlog HEAD",
    "fetch r",
    "format-patch -1 -o ../guest-home",
];

fn furnish(fixture: &Fixture) {
    for name in ["old", "renamed", "base"] {
        fixture.host(&["branch", name]);
    }
    fixture.host(&["switch", "-qc", "picked"]);
    fs::write(fixture.worktree.join("picked"), "p\n").unwrap();
    fixture.host(&["add", "picked"]);
    fixture.host(&["commit", "-qm", "picked"]);
    fixture.host(&["switch", "-q", "-"]);
    fixture.host(&["pack-refs", "--all"]);
    fs::write(fixture.worktree.join("new"), "new\n").unwrap();
}

#[test]
fn p23_git_works_in_the_guest_without_noise() {
    for git in gits() {
        for fixture in Fixture::both(&git) {
            furnish(&fixture);
            let boundary = fixture.enter();
            let mut script =
                String::from("run() { git \"$@\" >out.log 2>&1 || { echo \"FAILED: $*\"; cat out.log; }; ");
            script += "grep -iE '^(error|fatal|warning)' out.log && echo \"NOISE: $*\"; rm -f out.log; }\nmkdir -p ../guest-home; cd .\n";
            for command in COMMANDS {
                writeln!(script, "run {}", command.replace('*', "'*'")).unwrap();
                if *command == "tag -d v1" {
                    script += "echo untracked > u\n";
                }
                if *command == "stash pop" {
                    script += "echo changed >> a\n";
                }
                if *command == "restore a" {
                    script += "git reset -q --hard\n";
                }
            }
            let script = script.replace("out.log", "\"$HOME/out.log\"");
            let Some(output) = guest_shell(&fixture, &boundary.mounts(), &script) else { return };
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert_eq!(said.trim(), "", "{} {:?}", fixture.git.display(), fixture.worktree);
            let imported = boundary.leave().unwrap();
            assert!(imported.conflicts.is_empty() && imported.kept.is_none(), "{imported:?}");
            assert_eq!(fixture.host(&["log", "-1", "--format=%s"]), "mv");
            let fsck = fixture.command(&fixture.worktree).args(["fsck", "--strict"]).output().unwrap();
            assert!(fsck.status.success());
        }
    }
}

#[test]
fn p13_no_real_git_path_is_writable() {
    const TRIES: &str = r#"
        common=$(cd "$(git rev-parse --git-common-dir)" && pwd)
        for path in config HEAD packed-refs hooks/post-checkout info/attributes refs/heads/main logs/HEAD index \
            objects/info/alternates worktrees/wt/HEAD worktrees/wt/gitdir worktrees/wt/commondir description; do
            echo evil > "$common/$path" 2>/dev/null
            ln -sfn /tmp/evil "$common/$path" 2>/dev/null
        done
        for path in "$common/host/objects" .git; do
            [ -w "$path" ] && [ -f "$path" ] && echo "WRITABLE $path"
            touch "$path/x" 2>/dev/null && [ "$path" != .git ] && echo "WRITABLE $path"
        done
        mv "$common" "$common.moved" 2>/dev/null && echo "MOVED common dir"
        rm -rf "$common" 2>/dev/null
        [ -f .git ] && { echo evil > .git 2>/dev/null; mv .git moved 2>/dev/null && echo "MOVED pointer"; rm -f .git 2>/dev/null; }
        true
    "#;
    for git in gits() {
        for fixture in Fixture::both(&git) {
            let boundary = fixture.enter();
            let before = attacks::host_files(&fixture);
            let Some(output) = guest_shell(&fixture, &boundary.mounts(), TRIES) else { return };
            assert_eq!(String::from_utf8_lossy(&output.stdout), "");
            assert_eq!(attacks::host_files(&fixture), before);
            let imported = boundary.leave().unwrap();
            assert!(imported.kept.is_some());
            assert_eq!(fixture.host(&["status", "--porcelain"]), "");
        }
    }
}

#[test]
fn p16_submodules_stay_in_their_place() {
    for git in gits() {
        let fixture = shapes::with_submodule(&git);
        let boundary = fixture.enter();
        let script = r#"git status --porcelain; git submodule status >/dev/null || echo FAILED
            for d in libs libs/sub; do perl -e 'exit !rename $ARGV[0], "q"' $d && echo MOVED; done
            echo 'gitdir: /evil' > libs/sub/.git 2>/dev/null && echo WROTE
            rm -f libs/sub/.git 2>/dev/null; cd libs/sub && echo x > new && git add new && git commit -qm sub || echo FAILED
            cd ../.. && git commit -qam bump || echo FAILED"#;
        let Some(output) = guest_shell(&fixture, &boundary.mounts(), script) else { return };
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{}", String::from_utf8_lossy(&output.stderr));
        let imported = boundary.leave().unwrap();
        assert!(imported.conflicts.is_empty() && imported.kept.is_none(), "{imported:?}");
        assert_eq!(fixture.host(&["status", "--porcelain"]), "");
        assert_eq!(fixture.run(&fixture.worktree.join("libs/sub"), &["log", "-1", "--format=%s"]), "sub");
    }
}
