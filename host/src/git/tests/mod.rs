//! Tests of the boundary with real repositories and both gits of the machine.
//!
//! The "guest" is an ordinary git told to use the private git dir: the real objects, which a sandbox mounts beside
//! the guest's own, are a link here. Everything else a guest does is done by writing into that directory.

mod attacks;
mod crashes;
mod sandboxed;
mod shapes;
mod together;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::*;

/// Every git of this machine: an old and a new one where there are two.
fn gits() -> Vec<PathBuf> {
    let mut gits = vec![program().unwrap()];
    for other in ["/usr/local/bin/git", "/usr/bin/git"].map(PathBuf::from) {
        if other.exists() && !gits.contains(&other) {
            gits.push(other);
        }
    }
    gits
}

/// A repository with a commit, in the shape a test wants.
struct Fixture {
    dir: TempDir,
    git: PathBuf,
    /// The checkout the sandbox gets.
    worktree: PathBuf,
    /// Another checkout of the same repository, where there is one.
    main: PathBuf,
}

impl Fixture {
    /// A main checkout on branch `main` with files `a` and `b`.
    fn main(git: &Path) -> Self {
        Self::init(git, &[])
    }

    fn init(git: &Path, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("repo");
        let fixture = Self { git: git.to_owned(), worktree: main.clone(), main: main.clone(), dir };
        fs::create_dir(&main).unwrap();
        fixture.run(&main, &[&["init", "-q", "-b", "main"], options].concat());
        fixture.run(&main, &["config", "user.name", "U"]);
        fixture.run(&main, &["config", "user.email", "u@example.org"]);
        fs::write(main.join("a"), "a\n").unwrap();
        fs::write(main.join("b"), "b\n").unwrap();
        fixture.run(&main, &["add", "."]);
        fixture.run(&main, &["commit", "-qm", "first"]);
        fixture
    }

    /// A linked worktree on branch `work`.
    fn linked(git: &Path) -> Self {
        Self::main(git).link()
    }

    fn link(mut self) -> Self {
        self.worktree = self.dir.path().join("wt");
        let path = self.worktree.to_str().unwrap().to_owned();
        self.run(&self.main, &["worktree", "add", "-q", "-b", "work", &path]);
        self
    }

    fn both(git: &Path) -> [Self; 2] {
        [Self::main(git), Self::linked(git)]
    }

    fn command(&self, cwd: &Path) -> Command {
        let mut command = Command::new(&self.git);
        command.env_clear().env("PATH", search_path()).env("HOME", self.dir.path()).env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_EDITOR", "true").current_dir(cwd);
        command
    }

    /// Ordinary host git, which must succeed.
    fn run(&self, cwd: &Path, args: &[&str]) -> String {
        finish(self.command(cwd).args(args))
    }

    fn host(&self, args: &[&str]) -> String {
        self.run(&self.worktree, args)
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn repository(&self) -> Repository {
        Repository::discover_with(&self.worktree, self.git.clone()).unwrap()
    }

    fn enter(&self) -> Boundary {
        self.enter_as("run1")
    }

    fn enter_as(&self, run: &str) -> Boundary {
        Boundary::enter(self.repository(), &self.state(), run).unwrap()
    }

    /// The private git dir, usable by [`Self::guest`].
    fn private(&self) -> PathBuf {
        let layout = layout::Layout::of(&self.state(), &self.worktree);
        let objects = layout.guest().join(skeleton::HOST_OBJECTS);
        if objects.is_dir() && !objects.is_symlink() {
            fs::remove_dir(&objects).unwrap();
            std::os::unix::fs::symlink(self.repository().common_dir.join("objects"), &objects).unwrap();
            fs::write(layout.guest().join("objects/info/alternates"), "../host/objects\n").unwrap();
        }
        layout.guest()
    }

    /// The guest's part of the private git dir that belongs to the checkout.
    fn admin(&self) -> PathBuf {
        self.private().join(skeleton::admin_name(&self.repository()))
    }

    fn guest_command(&self) -> Command {
        let mut command = self.command(&self.worktree);
        command.env("GIT_DIR", self.admin()).env("GIT_WORK_TREE", &self.worktree);
        command
    }

    /// Git as the guest runs it, which must succeed.
    fn guest(&self, args: &[&str]) -> String {
        finish(self.guest_command().args(args))
    }

    /// The guest writes a file and commits it.
    fn guest_commits(&self, file: &str) -> String {
        fs::write(self.worktree.join(file), format!("{file} of the guest\n")).unwrap();
        self.guest(&["add", file]);
        self.guest(&["commit", "-qm", file]);
        self.guest(&["rev-parse", "HEAD"])
    }

    fn host_ref(&self, name: &str) -> String {
        self.host(&["rev-parse", "--verify", "--quiet", name])
    }

    fn has_ref(&self, name: &str) -> bool {
        self.command(&self.worktree).args(["rev-parse", "--verify", "--quiet", name]).output().unwrap().status.success()
    }

    /// The repository is whole, and nothing of ours is left in it.
    fn assert_no_residue(&self) {
        let fsck = self.command(&self.worktree).args(["fsck", "--strict", "--no-dangling"]).output().unwrap();
        assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stderr));
        assert_eq!(self.host(&["for-each-ref", "refs/wm"]), "");
        let repo = self.repository();
        assert!(!repo.common_dir.join("refs/wm").exists());
        for dir in [&repo.common_dir, &repo.admin_dir] {
            for entry in fs::read_dir(dir).unwrap().flatten() {
                let name = entry.file_name().into_string().unwrap();
                assert!(!name.contains("workmux") && !name.ends_with(".lock") && name != "FETCH_HEAD", "{name}");
            }
        }
    }

    fn assert_state_empty(&self) {
        let inside = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
        let left = inside(self.state().join("git")).filter(|path| !path.ends_with("open"));
        // The directory of a repository stays, and is empty.
        let left: Vec<_> = left.chain(inside(self.state().join("git/open")).flat_map(inside)).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn finish(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn names(imported: &Imported) -> Vec<&str> {
    imported.updated.iter().map(|u| u.name.as_str()).collect()
}
