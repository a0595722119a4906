//! What a hostile guest writes into its private git dir, and a hostile repository into its pointers. After each:
//! nothing outside is touched, nothing hangs, nothing runs, and honest work still arrives.

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

/// Every host file that a guest must never change, with its content.
pub(super) fn host_files(fixture: &Fixture) -> Vec<(PathBuf, Vec<u8>)> {
    let repo = fixture.repository();
    let mut files = Vec::new();
    let mut waiting = vec![repo.common_dir.clone()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            assert!(kind.is_dir() || kind.is_file(), "{:?}", entry.path());
            match kind.is_dir() {
                true => waiting.push(entry.path()),
                false => files.push((entry.path(), fs::read(entry.path()).unwrap())),
            }
        }
    }
    files.sort();
    files
}

/// A file that must keep its content, and one that must never come into being.
struct Canary {
    file: PathBuf,
    absent: PathBuf,
}

impl Canary {
    fn new(fixture: &Fixture) -> Self {
        let file = fixture.dir.path().join("canary");
        fs::write(&file, "untouched").unwrap();
        Self { file, absent: fixture.dir.path().join("PWN") }
    }

    fn script(&self) -> String {
        format!("touch '{}'", self.absent.display())
    }

    fn assert_alive(&self) {
        assert_eq!(fs::read_to_string(&self.file).unwrap(), "untouched");
        assert!(!self.absent.exists(), "something ran or was followed");
    }
}

fn fifo(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

fn replace_by_link(path: &Path, target: &Path) {
    let _absent = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
    symlink(target, path).unwrap();
}

/// One attack: what the guest does in its private git dir (and its own admin dir).
type Attack = (&'static str, fn(&Fixture, &Canary));

const ATTACKS: &[Attack] = &[
    ("reflog link", |f, c| {
        replace_by_link(&f.private().join("logs"), c.file.parent().unwrap());
        replace_by_link(&f.admin().join("logs"), c.file.parent().unwrap());
    }),
    ("ref link", |f, c| {
        symlink(&c.file, f.private().join("refs/heads/link")).unwrap();
        symlink("/etc/passwd", f.private().join("refs/heads/passwd")).unwrap();
    }),
    ("refs directory link", |f, c| {
        symlink(c.file.parent().unwrap(), f.private().join("refs/heads/dir")).unwrap();
    }),
    ("fifo ref", |f, _| fifo(&f.private().join("refs/heads/fifo"))),
    ("fifo object", |f, _| {
        fs::create_dir_all(f.private().join("objects/00")).unwrap();
        fifo(&f.private().join("objects/00").join("0".repeat(38)));
        fifo(&f.private().join("objects/pack").join(format!("pack-{}.pack", "0".repeat(40))));
    }),
    ("object link", |f, c| {
        fs::create_dir_all(f.private().join("objects/11")).unwrap();
        symlink(&c.file, f.private().join("objects/11").join("1".repeat(38))).unwrap();
        replace_by_link(&f.private().join("objects/22"), c.file.parent().unwrap());
    }),
    ("hooks and configuration", |f, c| {
        let config = format!(
            "[core]\n\tfsmonitor = {0}\n\thooksPath = hooks\n[filter \"x\"]\n\tclean = {0}\n[include]\n\tpath = /x\n",
            c.script()
        );
        for path in ["config", "config.worktree"] {
            let old = fs::read_to_string(f.private().join(path)).unwrap_or_default();
            fs::write(f.private().join(path), old + &config).unwrap();
        }
        for hook in ["post-checkout", "reference-transaction", "pre-commit", "post-index-change"] {
            let path = f.private().join("hooks").join(hook);
            fs::write(&path, format!("#!/bin/sh\n{}\n", c.script())).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(f.private().join("info/attributes"), "* filter=x\n").unwrap();
    }),
    ("alternates", |f, c| {
        let old = fs::read_to_string(f.private().join("objects/info/alternates")).unwrap();
        fs::write(f.private().join("objects/info/alternates"), format!("{old}{}\n", c.file.display())).unwrap();
    }),
    ("commit message and fetch head links", |f, c| {
        for name in ["COMMIT_EDITMSG", "FETCH_HEAD", "ORIG_HEAD", "MERGE_RR", "index.lock"] {
            let _absent = fs::remove_file(f.admin().join(name));
            symlink(&c.absent, f.admin().join(name)).unwrap();
        }
    }),
    ("rebase plan", |f, c| {
        for name in ["rebase-merge/git-rebase-todo", "sequencer/todo"] {
            let path = f.admin().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("exec {}\n", c.script())).unwrap();
        }
    }),
    ("commondir", |f, c| {
        fs::write(f.admin().join("commondir"), c.file.parent().unwrap().to_str().unwrap()).unwrap();
        fs::write(f.admin().join("gitdir"), c.file.to_str().unwrap()).unwrap();
    }),
    ("locks in the way of what the host forwards", |f, c| {
        symlink(&c.absent, f.private().join("refs/heads/main.lock")).unwrap();
        symlink(&c.absent, f.private().join("packed-refs.lock")).unwrap();
        symlink(&c.absent, f.admin().join("HEAD.lock")).unwrap();
    }),
    ("a namespace full of links for what the host forwards", |f, c| {
        replace_by_link(&f.private().join("refs/tags"), c.file.parent().unwrap());
    }),
];

#[test]
fn p13_p14_no_attack_reaches_the_host() {
    for git in gits() {
        for (name, attack) in ATTACKS {
            let main = (git == gits()[0]).then(|| Fixture::main(&git));
            for fixture in main.into_iter().chain([Fixture::linked(&git)]) {
                let canary = Canary::new(&fixture);
                let boundary = fixture.enter();
                let commit = fixture.guest_commits("honest");
                let before = host_files(&fixture);
                attack(&fixture, &canary);
                assert_eq!(host_files(&fixture), before, "{name}: the guest reached a real file");
                fixture.host(&["tag", "forwarded"]);
                let started = Instant::now();
                let imported = boundary.leave().unwrap();
                assert!(started.elapsed() < Duration::from_secs(20), "{name}: held us");
                canary.assert_alive();
                // A rebase plan means an unfinished rebase, a strange pointer a strange HEAD: then it is parked or kept.
                let arrived = fixture.host_ref("HEAD") == commit;
                assert!(arrived || imported.kept.is_some(), "{name}: {imported:?}");
                // Ordinary git of the user's, afterwards.
                for args in
                    [&["status"][..], &["diff", "HEAD"], &["log", "--oneline", "--all"], &["fsck"], &["gc", "-q"]]
                {
                    let mut command = fixture.command(&fixture.worktree);
                    command.args(args).output().unwrap();
                }
                fs::write(fixture.worktree.join("a"), "after\n").unwrap();
                fixture.host(&["commit", "-qam", "after"]);
                canary.assert_alive();
                let after: Vec<_> = host_files(&fixture).into_iter().map(|(path, _)| path).collect();
                for planted in ["hooks/post-checkout", "rebase-merge", "sequencer", "attributes"] {
                    assert!(!after.iter().any(|path| path.to_str().unwrap().contains(planted)), "{name}: {planted}");
                }
                assert!(!fs::read_to_string(fixture.repository().common_dir.join("config")).unwrap().contains("PWN"));
            }
        }
    }
}

/// A guest that breaks what its side must have: nothing is taken, nothing on the host is lost, all is kept.
#[test]
fn p14_a_broken_private_dir_takes_nothing_away() {
    let breaks: &[Attack] = &[
        ("HEAD fifo", |f, _| {
            fs::remove_file(f.admin().join("HEAD")).unwrap();
            fifo(&f.admin().join("HEAD"));
        }),
        ("HEAD link", |f, c| replace_by_link(&f.admin().join("HEAD"), &c.file)),
        ("HEAD elsewhere", |f, _| fs::write(f.admin().join("HEAD"), "ref: refs/../../x\n").unwrap()),
        ("no refs", |f, _| fs::remove_dir_all(f.private().join("refs")).unwrap()),
        ("refs are a file", |f, _| {
            fs::remove_dir_all(f.private().join("refs/heads")).unwrap();
            fs::write(f.private().join("refs/heads"), "this repository uses another format\n").unwrap();
        }),
        ("packed refs link", |f, c| replace_by_link(&f.private().join("packed-refs"), &c.file)),
        ("packed refs fifo", |f, _| {
            fs::remove_file(f.private().join("packed-refs")).unwrap();
            fifo(&f.private().join("packed-refs"));
        }),
        ("everything", |f, _| {
            let dir = f.private();
            fs::remove_dir_all(&dir).unwrap();
            fs::create_dir(&dir).unwrap();
        }),
        ("index link", |f, _| replace_by_link(&f.admin().join("index"), Path::new("/etc/passwd"))),
        ("index fifo", |f, _| {
            fs::remove_file(f.admin().join("index")).unwrap();
            fifo(&f.admin().join("index"));
        }),
        ("index garbage", |f, _| fs::write(f.admin().join("index"), [b'D'; 5000]).unwrap()),
        ("merge head", |f, _| fs::write(f.admin().join("MERGE_HEAD"), "$(touch PWN)\n").unwrap()),
    ];
    for git in gits() {
        for (name, attack) in breaks {
            let fixture = Fixture::linked(&git);
            fixture.host(&["branch", "precious"]);
            fixture.host(&["pack-refs", "--all"]);
            let canary = Canary::new(&fixture);
            let boundary = fixture.enter();
            let before = fixture.host(&["for-each-ref"]);
            attack(&fixture, &canary);
            let imported = boundary.leave().unwrap();
            canary.assert_alive();
            assert!(imported.kept.is_some(), "{name}: {imported:?}");
            assert_eq!(fixture.host(&["for-each-ref"]), before, "{name}");
            assert_eq!(fixture.host(&["status", "--porcelain"]), "", "{name}");
            fixture.assert_no_residue();
        }
    }
}

#[test]
fn p14_forged_objects_never_replace_real_ones() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let boundary = fixture.enter();
        fixture.guest_commits("honest");
        // The real content of `a`, and a lie under its name: an object the host has.
        let real = fixture.host(&["rev-parse", "HEAD:a"]);
        let lie = fixture.guest(&["hash-object", "-w", "b"]);
        fs::write(fixture.worktree.join("evil"), "evil\n").unwrap();
        let evil = fixture.guest(&["hash-object", "-w", "evil"]);
        fs::remove_file(fixture.worktree.join("evil")).unwrap();
        let place = |oid: &str| fixture.private().join("objects").join(&oid[..2]).join(&oid[2..]);
        fs::create_dir_all(place(&real).parent().unwrap()).unwrap();
        fs::copy(place(&evil), place(&real)).unwrap();
        // And under the name of one that only the guest has: a new commit's file.
        fs::write(fixture.worktree.join("new"), "new\n").unwrap();
        fixture.guest(&["add", "new"]);
        fixture.guest(&["commit", "-qm", "new"]);
        let new = fixture.guest(&["rev-parse", "HEAD:new"]);
        fs::set_permissions(place(&new), fs::Permissions::from_mode(0o644)).unwrap();
        fs::copy(place(&evil), place(&new)).unwrap();
        let before = fixture.host_ref("HEAD");
        let imported = boundary.leave().unwrap();
        assert_eq!(fixture.host(&["cat-file", "-p", &real]), "a");
        assert_eq!(fixture.host_ref("HEAD"), before, "{imported:?}");
        assert!(imported.kept.is_some());
        assert!(!fixture.command(&fixture.worktree).args(["cat-file", "-e", &new]).output().unwrap().status.success());
        fixture.assert_no_residue();
        let _ = lie;
    }
}

#[test]
fn p14_fsck_refuses_trees_that_lead_into_git() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let boundary = fixture.enter();
        let blob = fixture.guest(&["hash-object", "-w", "a"]);
        let mktree = |line: String| {
            let mut command = fixture.guest_command();
            command.args(["mktree"]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
            let mut child = command.spawn().unwrap();
            std::io::Write::write_all(child.stdin.as_mut().unwrap(), line.as_bytes()).unwrap();
            String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
        };
        let hooks = mktree(format!("100755 blob {blob}\tpost-checkout\n"));
        let tree = mktree(format!("040000 tree {hooks}\t.git\n"));
        let commit = fixture.guest(&["commit-tree", "-m", "x", &tree]);
        fixture.guest(&["update-ref", "refs/heads/evil", &commit]);
        let honest = fixture.guest_commits("honest");
        let imported = boundary.leave().unwrap();
        assert!(!fixture.has_ref("refs/heads/evil"));
        assert_eq!(imported.conflicts[0].name, "refs/heads/evil");
        // One bad branch keeps no good one away.
        assert_eq!(fixture.host_ref("HEAD"), honest);
    }
}

#[test]
fn p14_gitlinks_of_the_guest_run_nothing_on_the_host() {
    for git in gits() {
        for committed in [false, true] {
            let fixture = Fixture::linked(&git);
            let canary = Canary::new(&fixture);
            let boundary = fixture.enter();
            let nest = fixture.worktree.join("nest");
            fixture.run(&fixture.worktree, &["init", "-q", "nest"]);
            fixture
                .run(&nest, &["-c", "user.name=U", "-c", "user.email=u@x", "commit", "-q", "--allow-empty", "-m", "n"]);
            fixture.run(&nest, &["config", "core.fsmonitor", &format!("{};true", canary.script())]);
            let commit = fixture.run(&nest, &["-c", "core.fsmonitor=false", "rev-parse", "HEAD"]);
            fixture.guest(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},nest")]);
            if committed {
                fixture.guest(&["commit", "-qm", "nest"]);
            }
            canary.assert_alive();
            let imported = boundary.leave().unwrap();
            assert!(imported.notes.iter().any(|n| n.contains("'nest'")), "{imported:?}");
            fixture.host(&["status"]);
            fixture.host(&["diff"]);
            fs::write(fixture.worktree.join("a"), "x\n").unwrap();
            fixture.host(&["commit", "-qam", "user"]);
            canary.assert_alive();
            assert!(!fixture.host(&["ls-files", "--stage"]).contains("160000"));
        }
    }
}

#[test]
fn p15_the_guest_configuration_holds_no_secret_and_no_program() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let included = fixture.dir.path().join("included");
        fs::write(&included, "[http \"https://h/\"]\n\textraheader = s3cret1\n[filter \"lfs\"]\n\tclean = git-lfs clean\n\trequired = false\n").unwrap();
        for (key, value) in [
            ("http.extraheader", "s3cret2"),
            ("include.path", included.to_str().unwrap()),
            ("remote.origin.url", "https://u:s3cret3@host/x.git"),
            ("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"),
            ("url.https://s3cret4@host/.insteadOf", "https://host/"),
            ("credential.helper", "!s3cret5"),
            ("core.fsmonitor", "s3cret6"),
            ("core.sshCommand", "s3cret7"),
            ("alias.x", "!s3cret8"),
            ("branch.work.remote", "https://s3cret9@host/x"),
            ("core.autocrlf", "input"),
        ] {
            fixture.run(&fixture.main, &["config", key, value]);
        }
        let boundary = fixture.enter();
        let text = fs::read_to_string(fixture.private().join("config")).unwrap();
        assert!(!text.contains("s3cret") && !text.contains("include"), "{text}");
        let guest = |key: &str| fixture.guest(&["config", "--get", key]);
        assert_eq!(guest("remote.origin.url"), "https://host/x.git");
        assert_eq!(guest("core.autocrlf"), "input");
        assert_eq!(guest("filter.lfs.clean"), "git-lfs clean");
        assert_eq!(guest("filter.lfs.required"), "true");
        assert_eq!(guest("user.email"), "u@example.org");
        drop(boundary);
    }
}

#[test]
fn p17_pointers_that_mislead_are_refused_before_the_start() {
    type Trick = (&'static str, fn(&Fixture));
    let tricks: &[Trick] = &[
        ("pointer is a link", |f| {
            let (own, moved) = (f.worktree.join(".git"), f.dir.path().join("pointer"));
            fs::rename(&own, &moved).unwrap();
            symlink(moved, own).unwrap();
        }),
        ("pointer has a second name", |f| fs::hard_link(f.worktree.join(".git"), f.dir.path().join("second")).unwrap()),
        ("pointer is a fifo", |f| {
            fs::remove_file(f.worktree.join(".git")).unwrap();
            fifo(&f.worktree.join(".git"));
        }),
        ("pointer leads to another worktree", |f| {
            f.run(&f.main, &["worktree", "add", "-q", "-b", "other", "../other"]);
            fs::copy(f.dir.path().join("other/.git"), f.worktree.join(".git")).unwrap();
        }),
        ("pointer leads to the main checkout", |f| {
            fs::write(f.worktree.join(".git"), format!("gitdir: {}\n", f.main.join(".git").display())).unwrap();
        }),
        ("pointer without a label", |f| fs::write(f.worktree.join(".git"), "/etc\n").unwrap()),
        ("gitdir leads elsewhere", |f| fs::write(f.main.join(".git/worktrees/wt/gitdir"), "/tmp/.git\n").unwrap()),
        ("gitdir is a link", |f| replace_by_link(&f.main.join(".git/worktrees/wt/gitdir"), &f.worktree.join(".git"))),
        ("commondir leads elsewhere", |f| {
            let other = f.dir.path().join("elsewhere");
            fs::create_dir_all(other.join("objects")).unwrap();
            fs::write(f.main.join(".git/worktrees/wt/commondir"), other.to_str().unwrap()).unwrap();
        }),
        ("commondir is a link", |f| {
            let (own, moved) = (f.main.join(".git/worktrees/wt/commondir"), f.dir.path().join("commondir"));
            fs::rename(&own, &moved).unwrap();
            symlink(moved, own).unwrap();
        }),
        ("objects are elsewhere", |f| {
            let (own, moved) = (f.main.join(".git/objects"), f.dir.path().join("objects"));
            fs::rename(&own, &moved).unwrap();
            symlink(moved, own).unwrap();
        }),
    ];
    for (name, trick) in tricks {
        let fixture = Fixture::linked(&gits()[0]);
        trick(&fixture);
        let found = Repository::discover_with(&fixture.worktree, fixture.git.clone());
        assert!(found.is_err(), "{name}: {found:?}");
    }
    let fixture = Fixture::linked(&gits()[0]);
    fixture.host(&["config", "extensions.worktreeConfig", "true"]);
    fs::write(fixture.main.join(".git/worktrees/wt/config.worktree"), "[core]\n\tworktree = /tmp\n").unwrap();
    assert!(Repository::discover_with(&fixture.worktree, fixture.git.clone()).is_err());
    let fixture = Fixture::main(&gits()[0]);
    fixture.host(&["config", "core.worktree", "/tmp"]);
    assert!(Repository::discover_with(&fixture.main, fixture.git.clone()).is_err());
    fixture.host(&["config", "core.worktree", ".."]);
    assert!(Repository::discover_with(&fixture.main, fixture.git.clone()).is_ok());
    fs::write(fixture.main.join(".git/commondir"), "/tmp\n").unwrap();
    assert!(Repository::discover_with(&fixture.main, fixture.git.clone()).is_err());
}

#[test]
fn p18_a_repository_that_was_replaced_is_refused() {
    type Swap = (&'static str, fn(&Fixture));
    let swaps: &[Swap] = &[
        ("git dir", |f| {
            fs::rename(f.main.join(".git"), f.main.join(".git-old")).unwrap();
            finish(Command::new("cp").arg("-a").arg(f.main.join(".git-old")).arg(f.main.join(".git")));
        }),
        ("objects", |f| {
            fs::rename(f.main.join(".git/objects"), f.main.join(".git/objects-old")).unwrap();
            finish(Command::new("cp").arg("-a").arg(f.main.join(".git/objects-old")).arg(f.main.join(".git/objects")));
        }),
        ("pointer", |f| fs::write(f.worktree.join(".git"), "gitdir: /tmp\n").unwrap()),
        ("pointer gone", |f| fs::remove_file(f.worktree.join(".git")).unwrap()),
        ("commondir", |f| fs::write(f.main.join(".git/worktrees/wt/commondir"), "/tmp\n").unwrap()),
        ("work tree", |f| {
            fs::rename(&f.worktree, f.dir.path().join("wt-old")).unwrap();
            finish(Command::new("cp").arg("-a").arg(f.dir.path().join("wt-old")).arg(&f.worktree));
        }),
    ];
    for (name, swap) in swaps {
        let fixture = Fixture::linked(&gits()[0]);
        let boundary = fixture.enter();
        fixture.guest_commits("x");
        swap(&fixture);
        let refused = boundary.import();
        assert!(matches!(refused, Err(GitError::Changed(_))), "{name}: {refused:?}");
        assert!(boundary.repository().git("status").is_err(), "{name}");
        assert!(boundary.leave().is_err(), "{name}");
        // It is not lost: it is put aside, once.
        let reaped = reap(&fixture.state());
        assert!(reaped[0].as_ref().unwrap().kept.is_some(), "{name}: {reaped:?}");
        assert!(reap(&fixture.state()).is_empty(), "{name}");
    }
    let fixture = Fixture::main(&gits()[0]);
    let boundary = fixture.enter();
    fs::write(fixture.main.join(".git/commondir"), "/tmp\n").unwrap();
    assert!(matches!(boundary.import(), Err(GitError::Changed(_))));
}

#[test]
fn p22_housekeeping_in_the_guest_touches_no_other_record() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        fixture.run(&fixture.main, &["worktree", "add", "-q", "-b", "other", "../other"]);
        let boundary = fixture.enter();
        fixture.guest(&["gc", "-q", "--prune=now"]);
        fixture.guest(&["worktree", "prune"]);
        fixture.guest(&["pack-refs", "--all", "--prune"]);
        fixture.guest(&["reflog", "expire", "--expire=now", "--all"]);
        assert_eq!(boundary.leave().unwrap(), Imported::default());
        assert_eq!(fixture.host(&["worktree", "list"]).lines().count(), 3);
        fixture.assert_no_residue();
    }
}

#[test]
fn p20_host_hooks_and_filters_do_not_run_for_a_guest() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let canary = Canary::new(&fixture);
        for hook in
            ["reference-transaction", "post-checkout", "post-merge", "post-index-change", "pre-auto-gc", "post-rewrite"]
        {
            let path = fixture.main.join(".git/hooks").join(hook);
            fs::write(&path, format!("#!/bin/sh\n{}\n", canary.script())).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let boundary = fixture.enter();
        fixture.guest_commits("x");
        fixture.guest(&["switch", "-qc", "side"]);
        boundary.leave().unwrap();
        canary.assert_alive();
    }
}

#[test]
fn locks_of_others_are_waited_for_and_never_removed() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let boundary = fixture.enter();
        let commit = fixture.guest_commits("x");
        let lock = fixture.repository().admin_dir.join("index.lock");
        fs::write(&lock, "somebody's").unwrap();
        let imported = boundary.import().unwrap();
        assert!(imported.updated.is_empty() && imported.notes[0].contains("index.lock"), "{imported:?}");
        assert_eq!(fs::read_to_string(&lock).unwrap(), "somebody's");
        fs::remove_file(lock).unwrap();
        boundary.leave().unwrap();
        assert_eq!(fixture.host_ref("HEAD"), commit);
        fixture.assert_no_residue();
    }
}

#[test]
fn p11_a_ref_swapped_for_a_link_while_we_look_is_never_followed() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let fixture = Fixture::linked(&gits()[0]);
    let boundary = fixture.enter();
    // A commit that no ref names, in a file the guest may not read: following the link would publish it.
    let tree = fixture.host(&["rev-parse", "HEAD^{tree}"]);
    let secret = fixture.host(&["commit-tree", "-m", "secret", &tree]);
    let outside = fixture.dir.path().join("secret");
    fs::write(&outside, format!("{secret}\n")).unwrap();
    let dir = fixture.private().join("refs/heads");
    let (file, link, own) = (dir.join("file"), dir.join("link"), dir.join("own"));
    let honest = fixture.host_ref("HEAD");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fs::write(&file, format!("{honest}\n")).unwrap();
                fs::rename(&file, &own).unwrap();
                symlink(&outside, &link).unwrap();
                fs::rename(&link, &own).unwrap();
            }
        });
        for _ in 0..200 {
            boundary.import().unwrap();
            assert_ne!(
                fixture.has_ref("refs/heads/own").then(|| fixture.host_ref("refs/heads/own")),
                Some(secret.clone())
            );
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn p14_refs_of_any_depth_arrive_and_deeper_ones_are_no_deletions() {
    for git in gits() {
        // As deep as the longest name that is taken allows.
        let deep = format!("refs/heads/{}z", "a/".repeat(94));
        let fixture = Fixture::linked(&git);
        let boundary = fixture.enter();
        fixture.guest(&["switch", "-qc", deep.trim_start_matches("refs/heads/")]);
        fixture.guest(&["branch", &format!("{}b", "b/".repeat(40))]);
        let commit = fixture.guest_commits("deep");
        let imported = boundary.leave().unwrap();
        assert!(imported.kept.is_none(), "{imported:?}");
        assert_eq!(fixture.host_ref(&deep), commit);
        assert_eq!(fixture.host(&["symbolic-ref", "HEAD"]), deep);
        assert!(fixture.has_ref(&format!("refs/heads/{}b", "b/".repeat(40))));
        // The host's own deep names are seen as well: they are no deletions.
        let boundary = fixture.enter_as("run2");
        fixture.guest_commits("again");
        assert!(boundary.leave().unwrap().kept.is_none());
        assert!(fixture.has_ref(&format!("refs/heads/{}b", "b/".repeat(40))));

        let strange: &[Attack] = &[
            ("too deep", |f, _| {
                f.guest(&["branch", &format!("{}z", "a/".repeat(120))]);
            }),
            ("no text", |f, _| {
                use std::os::unix::ffi::OsStrExt as _;
                let name = std::ffi::OsStr::from_bytes(b"refs/heads/\xff");
                fs::copy(f.private().join("refs/heads/old"), f.private().join(name)).unwrap();
            }),
            ("no text, packed", |f, _| {
                let mut line = format!("{} refs/heads/", f.guest(&["rev-parse", "HEAD"])).into_bytes();
                line.extend(b"\xff\n");
                let packed = f.private().join("packed-refs");
                fs::write(&packed, [fs::read(&packed).unwrap(), line].concat()).unwrap();
            }),
            ("link", |f, c| symlink(&c.file, f.private().join("refs/heads/link")).unwrap()),
            ("cut off", |f, _| fs::write(f.private().join("refs/heads/old"), "").unwrap()),
        ];
        for (name, attack) in strange {
            let fixture = Fixture::linked(&git);
            let canary = Canary::new(&fixture);
            let boundary = fixture.enter();
            fixture.guest(&["branch", "old"]);
            fixture.guest_commits("x");
            attack(&fixture, &canary);
            let before = fixture.host(&["for-each-ref"]);
            let imported = boundary.leave().unwrap();
            assert!(imported.kept.is_some() && !imported.notes.is_empty(), "{name}: {imported:?}");
            assert_eq!(fixture.host(&["for-each-ref"]), before, "{name}");
        }
    }
}

#[test]
fn p14_the_host_never_stands_on_a_branch_that_does_not_exist() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let boundary = fixture.enter();
        let before = (fixture.host(&["symbolic-ref", "HEAD"]), fixture.host(&["ls-files", "--stage"]));
        fixture.guest(&["symbolic-ref", "HEAD", "refs/heads/nowhere"]);
        fs::write(fixture.worktree.join("new"), "new\n").unwrap();
        fixture.guest(&["add", "new"]);
        boundary.import().unwrap();
        let imported = boundary.leave().unwrap();
        let after = (fixture.host(&["symbolic-ref", "HEAD"]), fixture.host(&["ls-files", "--stage"]));
        assert_eq!(before, after);
        assert!(imported.conflicts.iter().any(|c| c.reason.contains("nowhere")), "{imported:?}");
        assert!(imported.kept.is_some(), "{imported:?}");
    }
}

#[test]
fn p14_the_user_is_warned_of_gitlinks_in_what_arrives() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        let boundary = fixture.enter();
        let commit = fixture.host_ref("HEAD");
        fixture.guest(&["switch", "-qc", "side"]);
        fixture.guest(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},ne\x1b[2Jst")]);
        fixture.guest(&["commit", "-qm", "nest"]);
        fixture.guest(&["tag", "-am", "t", "v1"]);
        let blob = fixture.guest(&["rev-parse", "HEAD:a"]);
        fixture.guest(&["tag", "blob", &blob]);
        fixture.guest(&["switch", "-q", "work"]);
        let honest = fixture.guest_commits("honest");
        let first = boundary.import().unwrap();
        assert_eq!(first.warnings.len(), 2, "{first:?}");
        let about = |imported: &Imported, name: &str| {
            let lines = imported.warnings.iter();
            lines.filter(|w| w.starts_with(&format!("'{name}'")) && w.contains("'nest'")).count()
        };
        for name in ["refs/heads/side", "refs/tags/v1"] {
            assert_eq!(about(&first, name), 1, "{first:?}");
        }
        assert!(!first.warnings.iter().any(|w| w.contains("work'") || w.contains('\x1b')), "{first:?}");
        // Nothing new is nothing to say; a branch that goes on from there is no news either.
        assert!(boundary.import().unwrap().warnings.is_empty());
        let tree = fixture.guest(&["rev-parse", "side^{tree}"]);
        let next = fixture.guest(&["commit-tree", "-p", "side", "-m", "next", &tree]);
        fixture.guest(&["update-ref", "refs/heads/side", &next]);
        let again = boundary.import().unwrap();
        assert!(names(&again).contains(&"refs/heads/side") && again.warnings.is_empty(), "{again:?}");
        // What the host does not take, it keeps: the user may merge that as well.
        fixture.host(&["commit", "-q", "--allow-empty", "-m", "host"]);
        fixture.guest(&[
            "update-ref",
            "refs/heads/work",
            &fixture.guest(&["commit-tree", "-p", &honest, "-m", "x", &tree]),
        ]);
        // The user sees the last import's lines only.
        let last = boundary.leave().unwrap();
        for name in ["refs/heads/side", "refs/tags/v1", "refs/wm/run1/heads/work"] {
            assert_eq!(about(&last, name), 1, "{name}: {last:?}");
        }
    }
}

#[test]
fn p14_holes_and_other_files_are_not_copied() {
    let fixture = Fixture::linked(&gits()[0]);
    let boundary = fixture.enter();
    let commit = fixture.guest_commits("honest");
    let objects = fixture.private().join("objects");
    let pack = objects.join("pack").join(format!("pack-{}.pack", "1".repeat(40)));
    fs::create_dir_all(objects.join("pack")).unwrap();
    fs::write(&pack, b"PACK\0\0\0\x02\0\0\0\x01").unwrap();
    fs::File::options().write(true).open(&pack).unwrap().set_len(8 << 30).unwrap();
    fs::write(objects.join("pack").join(format!("pack-{}.pack", "2".repeat(40))), "no pack").unwrap();
    fs::create_dir_all(objects.join("00")).unwrap();
    let loose = objects.join("00").join("0".repeat(38));
    fs::write(&loose, b"x").unwrap();
    fs::File::options().write(true).open(&loose).unwrap().set_len(3 << 30).unwrap();
    let started = Instant::now();
    let imported = boundary.leave().unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    for why in ["holes", "begin"] {
        assert!(imported.notes.iter().any(|n| n.contains("not taken") && n.contains(why)), "{imported:?}");
    }
    assert_eq!(fixture.host_ref("HEAD"), commit);
}
