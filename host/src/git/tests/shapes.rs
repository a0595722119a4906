//! Every shape of repository: the same work must arrive from each, or the start be refused with a reason.

use super::*;

/// A guest commits, makes a branch, stages; all of it must arrive.
fn work_arrives(fixture: &Fixture) -> Imported {
    let boundary = fixture.enter();
    let first = fixture.guest_commits("one");
    fixture.guest(&["branch", "topic"]);
    fs::write(fixture.worktree.join("staged"), "staged\n").unwrap();
    fixture.guest(&["add", "staged"]);
    fixture.guest(&["rm", "-q", "--cached", "staged"]);
    fixture.guest(&["add", "staged"]);
    let imported = boundary.leave().unwrap();
    assert!(imported.conflicts.is_empty() && imported.kept.is_none(), "{imported:?}");
    assert_eq!(fixture.host_ref("HEAD"), first);
    assert_eq!(fixture.host_ref("topic"), first);
    assert_eq!(fixture.host(&["status", "--porcelain"]), "A  staged");
    fixture.assert_no_residue();
    fixture.assert_state_empty();
    imported
}

/// Whether `git` knows `option` of `init`.
fn knows(git: &Path, option: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    Command::new(git).args(["init", "-q", option]).arg(dir.path()).output().unwrap().status.success()
}

#[test]
fn sha256_and_reftable() {
    for git in gits() {
        for option in ["--object-format=sha256", "--ref-format=reftable"] {
            if knows(&git, option) {
                work_arrives(&Fixture::init(&git, &[option]));
                work_arrives(&Fixture::init(&git, &[option]).link());
            }
        }
    }
}

#[test]
fn reftable_hosts_are_forwarded_and_follow_heads() {
    let Some(git) = gits().into_iter().find(|git| knows(git, "--ref-format=reftable")) else { return };
    let fixture = Fixture::init(&git, &["--ref-format=reftable"]).link();
    let boundary = fixture.enter();
    fixture.run(&fixture.main, &["commit", "-q", "--allow-empty", "-m", "elsewhere"]);
    boundary.import().unwrap();
    assert_eq!(fixture.guest(&["log", "-1", "--format=%s", "main"]), "elsewhere");
    fixture.guest(&["switch", "-qc", "side"]);
    fixture.guest(&["update-ref", "refs/heads/main", "HEAD"]);
    let imported = boundary.leave().unwrap();
    assert_eq!(fixture.host(&["symbolic-ref", "HEAD"]), "refs/heads/side");
    assert_eq!(imported.conflicts[0].name, "refs/heads/main");
}

#[test]
fn bare_with_worktrees() {
    for git in gits() {
        let mut fixture = Fixture::main(&git);
        let bare = fixture.dir.path().join("bare.git");
        fixture.run(fixture.dir.path(), &["clone", "-q", "--bare", "repo", "bare.git"]);
        fixture.worktree = fixture.dir.path().join("wt");
        fixture.run(&bare, &["worktree", "add", "-q", "-b", "work", "../wt"]);
        fixture.run(&bare, &["config", "user.name", "U"]);
        fixture.run(&bare, &["config", "user.email", "u@example.org"]);
        assert_eq!(fixture.repository().main_checkout, None);
        work_arrives(&fixture);
        assert!(matches!(Repository::discover_with(&bare, git.clone()), Err(GitError::NotAWorktree(_))));
    }
}

#[test]
fn separate_git_dir() {
    for git in gits() {
        let fixture = Fixture::main(&git);
        let apart = fixture.dir.path().join("apart");
        fixture.run(&fixture.main, &["init", "-q", "--separate-git-dir", apart.to_str().unwrap()]);
        assert_eq!(fixture.repository().common_dir, apart.canonicalize().unwrap());
        work_arrives(&fixture);
    }
}

#[test]
fn relative_pointers() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        fs::write(fixture.worktree.join(".git"), "gitdir: ../repo/.git/worktrees/wt\n").unwrap();
        fs::write(fixture.main.join(".git/worktrees/wt/gitdir"), "../../../../wt/.git\n").unwrap();
        work_arrives(&fixture);
    }
}

#[test]
fn sparse_checkouts_and_worktree_configuration() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        for dir in ["in", "out"] {
            fs::create_dir(fixture.worktree.join(dir)).unwrap();
            fs::write(fixture.worktree.join(dir).join("f"), dir).unwrap();
        }
        fixture.host(&["add", "."]);
        fixture.host(&["commit", "-qm", "dirs"]);
        fixture.host(&["sparse-checkout", "set", "--cone", "in"]);
        fixture.host(&["config", "--worktree", "core.fsmonitor", "/nonexistent"]);
        assert!(!fixture.worktree.join("out").exists());
        let boundary = fixture.enter();
        assert!(!fs::read_to_string(fixture.admin().join("config.worktree")).unwrap().contains("nonexistent"));
        assert_eq!(fixture.guest(&["status", "--porcelain"]), "");
        assert_eq!(fixture.guest(&["sparse-checkout", "list"]), "in");
        drop(boundary);
        fixture.host(&["config", "--worktree", "--unset", "core.fsmonitor"]);
        work_arrives(&fixture);
        assert!(!fixture.worktree.join("out").exists());
    }
}

#[test]
fn sparse_and_split_index_files() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        fs::create_dir(fixture.worktree.join("out")).unwrap();
        fs::write(fixture.worktree.join("out/f"), "out").unwrap();
        fixture.host(&["add", "."]);
        fixture.host(&["commit", "-qm", "dirs"]);
        fixture.host(&["sparse-checkout", "set", "--cone", "--sparse-index", "in"]);
        work_arrives(&fixture);
        let fixture = Fixture::linked(&git);
        fixture.host(&["update-index", "--split-index"]);
        work_arrives(&fixture);
    }
}

#[test]
fn an_index_of_version_4() {
    for git in gits() {
        let fixture = Fixture::linked(&git);
        fixture.host(&["update-index", "--index-version", "4"]);
        work_arrives(&fixture);
    }
}

#[test]
fn borrowed_objects() {
    for git in gits() {
        let mut fixture = Fixture::main(&git);
        fixture.run(fixture.dir.path(), &["clone", "-q", "--shared", "repo", "borrower"]);
        fixture.worktree = fixture.dir.path().join("borrower");
        fixture.main = fixture.worktree.clone();
        fixture.host(&["config", "user.name", "U"]);
        fixture.host(&["config", "user.email", "u@example.org"]);
        let boundary = fixture.enter();
        let lender = fixture.dir.path().canonicalize().unwrap().join("repo/.git/objects");
        let mount = GitMount::of_the_host(lender.clone(), lender, false);
        assert!(boundary.mounts().contains(&mount), "{:?}", boundary.mounts());
        drop(boundary);
        work_arrives(&fixture);
    }
}

#[test]
fn shallow_and_partial_clones() {
    for git in gits() {
        for options in [&["--depth=1"][..], &["--filter=blob:none"], &["--filter=tree:0"]] {
            let mut fixture = Fixture::main(&git);
            fixture.run(&fixture.main, &["commit", "-q", "--allow-empty", "-m", "second"]);
            fixture.run(&fixture.main, &["config", "uploadpack.allowFilter", "true"]);
            let url = format!("file://{}", fixture.main.display());
            let clone = fixture.dir.path().join("clone");
            let all = [&["clone", "-q"], options, &[&url, clone.to_str().unwrap()]].concat();
            fixture.run(fixture.dir.path(), &all);
            fixture.worktree = clone.clone();
            fixture.main = clone;
            fixture.host(&["config", "user.name", "U"]);
            fixture.host(&["config", "user.email", "u@example.org"]);
            work_arrives(&fixture);
        }
    }
}

#[test]
fn repositories_without_a_commit() {
    for git in gits() {
        let mut fixture = Fixture::main(&git);
        let new = fixture.dir.path().join("new");
        fixture.run(fixture.dir.path(), &["init", "-q", "-b", "main", "new"]);
        fixture.run(&new, &["config", "user.name", "U"]);
        fixture.run(&new, &["config", "user.email", "u@example.org"]);
        fixture.worktree = new.clone();
        fixture.main = new;
        work_arrives(&fixture);
    }
}

#[test]
fn odd_characters_in_paths() {
    for git in gits() {
        for name in ["with space", "co:mma,s", "qu'o\"te", "=eq", "ünï", "-dash", "#hash", "back\\slash"] {
            let mut fixture = Fixture::main(&git);
            let odd = fixture.dir.path().join(name);
            fs::rename(&fixture.main, &odd).unwrap();
            fixture.main = odd.clone();
            fixture.worktree = odd;
            work_arrives(&fixture);
        }
    }
}

/// `repo` with a submodule `libs/sub`, populated.
pub(super) fn with_submodule(git: &Path) -> Fixture {
    let fixture = Fixture::main(git);
    let lib = fixture.dir.path().join("lib");
    fixture.run(fixture.dir.path(), &["clone", "-q", "repo", "lib"]);
    let url = lib.to_str().unwrap();
    fixture.host(&["-c", "protocol.file.allow=always", "submodule", "add", "-q", url, "libs/sub"]);
    fixture.host(&["commit", "-qm", "submodule"]);
    let sub = fixture.worktree.join("libs/sub");
    fixture.run(&sub, &["config", "user.name", "U"]);
    fixture.run(&sub, &["config", "user.email", "u@example.org"]);
    fixture
}

#[test]
fn p16_work_in_a_populated_submodule_arrives() {
    for git in gits() {
        let fixture = with_submodule(&git);
        let boundary = fixture.enter();
        let sub = fixture.worktree.join("libs/sub");
        let mounts = boundary.mounts();
        let fixed = |path: &Path| mounts.iter().position(|m| m.source == path && m.target == path);
        let (parent, own) = (fixed(&fixture.worktree.join("libs")).unwrap(), fixed(&sub).unwrap());
        let pointer = fixed(&sub.join(".git")).unwrap();
        assert!(parent < own && own < pointer && !mounts[pointer].writable);
        let module = layout::Layout::of(&fixture.state(), &fixture.worktree).module(0).guest();
        let target = fixture.main.join(".git/modules/libs/sub");
        assert!(mounts.iter().any(|m| m.source == module && m.target == target && m.writable), "{mounts:?}");
        // The module's guest, as the whole's.
        let objects = module.join(skeleton::HOST_OBJECTS);
        fs::remove_dir(&objects).unwrap();
        std::os::unix::fs::symlink(target.join("objects"), &objects).unwrap();
        fs::write(module.join("objects/info/alternates"), "../host/objects\n").unwrap();
        let in_sub = |args: &[&str]| {
            let mut command = fixture.command(&sub);
            finish(command.env("GIT_DIR", &module).env("GIT_WORK_TREE", &sub).args(args))
        };
        fs::write(sub.join("a"), "changed\n").unwrap();
        in_sub(&["commit", "-qam", "in sub"]);
        let commit = in_sub(&["rev-parse", "HEAD"]);
        fixture.guest(&["update-index", "--cacheinfo", &format!("160000,{commit},libs/sub")]);
        fixture.guest(&["commit", "-qm", "bump"]);
        let imported = boundary.leave().unwrap();
        assert!(imported.conflicts.is_empty() && imported.kept.is_none(), "{imported:?}");
        assert_eq!(fixture.run(&sub, &["rev-parse", "HEAD"]), commit);
        assert_eq!(fixture.host(&["status", "--porcelain"]), "");
        fixture.assert_no_residue();
    }
}

#[test]
fn p16_an_empty_submodule_is_covered() {
    for git in gits() {
        let fixture = with_submodule(&git).link();
        let boundary = fixture.enter();
        let layout = layout::Layout::of(&fixture.state(), &fixture.worktree);
        let (cover, target) = (layout.covers().join("0"), fixture.worktree.join("libs/sub"));
        let mount = GitMount { source: cover.clone(), target, writable: true, shares: layout.shares() };
        assert!(boundary.mounts().contains(&mount));
        fs::write(cover.join(".git"), "gitdir: /evil\n").unwrap();
        let imported = boundary.leave().unwrap();
        assert_eq!(imported.notes.len(), 1, "{imported:?}");
        assert_eq!(fixture.host(&["status", "--porcelain"]), "");
        // A directory that was missing is made, and taken away again.
        fs::remove_dir(fixture.worktree.join("libs/sub")).unwrap();
        let boundary = fixture.enter();
        assert!(fixture.worktree.join("libs/sub").is_dir());
        boundary.leave().unwrap();
        assert!(!fixture.worktree.join("libs/sub").exists());
    }
}

#[test]
fn p16_a_submodule_behind_a_link_is_refused() {
    let fixture = with_submodule(&gits()[0]);
    fs::rename(fixture.worktree.join("libs"), fixture.worktree.join("moved")).unwrap();
    std::os::unix::fs::symlink("moved", fixture.worktree.join("libs")).unwrap();
    let refused = Boundary::enter(fixture.repository(), &fixture.state(), "run1").unwrap_err();
    assert!(matches!(refused, GitError::Refused { .. }), "{refused}");
}
