//! One repository, one checkout given to a guest, and what must hold afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use workmux_tests::{Finished, Git, Run, Sandbox, Snapshot, World, gits};

/// Which checkout the guest gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Main,
    Linked,
}

/// A user's repository with history, packs, several branches and checkouts, one of which a guest gets.
pub(crate) struct Case {
    pub(crate) world: World,
    /// The guest's checkout.
    pub(crate) checkout: PathBuf,
    /// Where the checkout's own files lie in the real git directory.
    pub(crate) admin: PathBuf,
}

/// Each git of this machine and each kind of checkout, once: for what takes long.
pub(crate) fn some() -> Vec<(Git, Kind)> {
    let (first, last) = (gits()[0], gits()[gits().len() - 1]);
    vec![(first, Kind::Linked), (last, Kind::Main)]
}

/// Every git of this machine with every kind of checkout.
pub(crate) fn all() -> Vec<(Git, Kind)> {
    gits().into_iter().flat_map(|git| [(git, Kind::Linked), (git, Kind::Main)]).collect()
}

/// [`all`]; in a container or machine, where starting takes its time, with one git and few kinds of checkout: every
/// kind is there for some engine.
pub(crate) fn all_on(sandbox: Sandbox) -> Vec<(Git, Kind)> {
    if sandbox == Sandbox::Bubblewrap { all() } else { some_on(sandbox) }
}

/// [`some`]; in a container as in [`all_on`].
pub(crate) fn some_on(sandbox: Sandbox) -> Vec<(Git, Kind)> {
    let first = gits()[0];
    match sandbox {
        Sandbox::Bubblewrap => some(),
        Sandbox::Docker | Sandbox::DockerTcp | Sandbox::PodmanRootless => vec![(first, Kind::Linked)],
        Sandbox::Podman => vec![(first, Kind::Main)],
        Sandbox::Lima => vec![(first, Kind::Linked), (first, Kind::Main)],
    }
}

impl Case {
    pub(crate) fn new(git: Git, kind: Kind) -> Self {
        Self::on(Sandbox::Bubblewrap, git, kind)
    }

    pub(crate) fn on(sandbox: Sandbox, git: Git, kind: Kind) -> Self {
        let world = World::on_with_git(sandbox, git);
        world.configure("enabled: true, network: { policy: deny }");
        let main = world.main();
        let setup = "set -e
            mkdir sub; echo one > sub/file; echo two > file; git add .; git commit -qm second
            git branch side; git branch packed; git tag v1
            git gc -q
            git checkout -q side; echo side > side; git add side; git commit -qm side; git checkout -q main
            echo three > file; git commit -qam third";
        world.program("sh").args(["-c", setup]).dir(&main).run().ok();
        world.worktree("other");
        let (checkout, admin) = match kind {
            Kind::Main => (main.clone(), main.join(".git")),
            Kind::Linked => (world.worktree("topic"), main.join(".git/worktrees/topic")),
        };
        let case = Self { world, checkout, admin };
        case.world.write(case.outside().join("rc"), "# the user's\n");
        case.world.folder(&case.outside().join("folder"));
        case
    }

    /// Files of the user's that no guest may reach.
    pub(crate) fn outside(&self) -> PathBuf {
        self.world.home().join("outside")
    }

    /// Exists when the host has run or followed something of the guest's.
    pub(crate) fn canary(&self) -> PathBuf {
        self.world.home().join("canary")
    }

    /// A script in a sandbox of the checkout. It stops at the first command that fails.
    ///
    /// `$G` is the git directory, `$A` the checkout's own part of it, `$W` the checkout, `$OUT` a folder of the
    /// user's, `$PLANT` a command that betrays whoever runs it.
    pub(crate) fn guest(&self, script: &str) -> Run {
        self.world.workmux(&["sandbox", "shell", "--", "sh", "-c", &self.script(script)]).dir(&self.checkout)
    }

    pub(crate) fn script(&self, script: &str) -> String {
        let shown = |path: &Path| path.display().to_string();
        format!(
            "set -eu; G='{}' A='{}' W='{}' OUT='{}' CANARY='{}'; PLANT=\"touch $CANARY\"; cd \"$W\"\n{script}",
            shown(&self.world.git_dir()),
            shown(&self.admin),
            shown(&self.checkout),
            shown(&self.outside()),
            shown(&self.canary()),
        )
    }

    /// The real git directory as it is now.
    pub(crate) fn git_dir(&self) -> Snapshot {
        Snapshot::of(&self.world.git_dir())
    }

    /// The part of it that honest work does not change.
    pub(crate) fn control_files(&self) -> Snapshot {
        let moving =
            ["logs", "objects", "index", "refs", "COMMIT_EDITMSG", "worktrees/topic/index", "worktrees/topic/logs"];
        Snapshot::without(&self.world.git_dir(), &moving)
    }

    /// Everything of the user's outside of the repository as it is now.
    pub(crate) fn home(&self) -> Snapshot {
        // An agent's own settings are shared with the user's, by design.
        let shared = [".claude", ".claude-sandbox.json"];
        // The last one: machines and their disks.
        let ours = ["project", "project__worktrees", ".local", ".cache", "run", "tmp", "l"];
        Snapshot::without(self.world.home(), &[&shared[..], &ours].concat())
    }

    /// What an ordinary user does next, in the guest's checkout and in the main one. Everything works, nothing hangs,
    /// nothing of the guest's runs.
    pub(crate) fn life_goes_on(&self) {
        let ordinary: &[&[&str]] = &[
            &["status"],
            &["log", "--all", "--decorate", "--stat"],
            &["diff"],
            &["diff", "--cached"],
            &["branch", "--all", "--verbose"],
            &["for-each-ref"],
            &["reflog", "--all"],
            &["stash", "list"],
            &["worktree", "list"],
            &["worktree", "prune"],
            &["fsck", "--strict", "--no-dangling"],
            &["commit", "--quiet", "--allow-empty", "--message=the user's"],
            &["pack-refs", "--all"],
            &["gc", "--quiet"],
            &["merge", "--quiet", "--message=merge", "side"],
            &["switch", "--quiet", "--detach"],
            &["switch", "--quiet", "-"],
        ];
        let mut dirs = vec![self.checkout.clone(), self.world.main()];
        dirs.dedup();
        for (words, dir) in ordinary.iter().flat_map(|words| dirs.iter().map(move |dir| (words, dir))) {
            let finished = self.host(dir, words);
            assert!(!self.canary().exists(), "the guest's code ran on the host\n{finished}");
            finished.ok();
        }
        for words in [&["rebase", "--continue"][..], &["commit", "--all", "--message=all"], &["add", "--all"]] {
            // What stands there for them to do depends on the attack; that it is no code of the guest's does not.
            let finished = self.host(&self.checkout, words);
            assert!(!self.canary().exists(), "the guest's code ran on the host\n{finished}");
        }
    }

    /// Takes away what the guest left in its checkout, as a user would.
    pub(crate) fn tidy(&self) {
        for words in [&["reset", "--quiet", "--hard"][..], &["clean", "--quiet", "-ffdx"]] {
            let finished = self.host(&self.checkout, words).ok();
            assert!(!self.canary().exists(), "the guest's code ran on the host\n{finished}");
        }
    }

    /// Host git with a deadline that a hang is caught by.
    pub(crate) fn host(&self, dir: &Path, words: &[&str]) -> Finished {
        self.world.program("git").args(words).dir(dir).within(Duration::from_secs(20)).run()
    }

    /// Nothing of a run is left in the state directory, but for git directories that were kept on purpose.
    pub(crate) fn nothing_left(&self, context: &str) {
        let runs = fs::read_dir(self.world.state().join("runs")).into_iter().flatten().flatten();
        assert_eq!(
            runs.map(|e| e.path()).collect::<Vec<_>>(),
            Vec::<PathBuf>::new(),
            "records of ended runs: {context}"
        );
        for path in self.world.git_directories() {
            assert!(path.to_string_lossy().contains(".kept-"), "{} is left: {context}", path.display());
        }
    }
}
