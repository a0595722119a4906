//! A user's world: a home, a repository in it with a main checkout and linked worktrees, and nothing of ours.
//!
//! Everything belongs to the ordinary user and goes away with the value.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::gits::Git;
use crate::given::{Given, given};
use crate::machines::Machines;
use crate::pty::Pty;
use crate::run::{Finished, Run, search_path};
use crate::sandbox::Sandbox;
use crate::tmux::Tmux;

/// One user's world. Paths are short: sockets lie in it.
pub struct World {
    /// They end before their files go.
    machines: Option<Machines>,
    home: TempDir,
    git: Option<Git>,
    sandbox: Sandbox,
    variables: Vec<(String, PathBuf)>,
}

impl World {
    /// A home with a repository of one commit on `main`, and no configuration.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new() -> Self {
        Self::without_repository().with_repository()
    }

    /// [`Self::new`], for sandboxes of this kind. Nothing is configured yet.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn on(sandbox: Sandbox) -> Self {
        Self::empty(sandbox).with_repository()
    }

    /// [`Self::with_git`], for sandboxes of this kind.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn on_with_git(sandbox: Sandbox, git: Git) -> Self {
        Self { git: Some(git), ..Self::empty(sandbox) }.with_repository()
    }

    /// [`Self::new`], in which this git is the first on the search path.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn with_git(git: Git) -> Self {
        Self { git: Some(git), ..Self::without_repository() }.with_repository()
    }

    fn with_repository(self) -> Self {
        let world = self;
        let main = world.main();
        world.folder(&main);
        world.git(&main, &["init", "--quiet", "--initial-branch=main"]).ok();
        world.write(main.join("README.md"), "# A project\n");
        world.git(&main, &["add", "."]).ok();
        world.git(&main, &["commit", "--quiet", "--message=first"]).ok();
        world
    }

    /// The same, and its user chose the backend `bubblewrap`.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn bubblewrap() -> Self {
        let world = Self::new();
        world.user_config("sandbox: { backend: bubblewrap }\n");
        world
    }

    /// A home that holds no repository.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn without_repository() -> Self {
        Self::empty(Sandbox::Bubblewrap)
    }

    /// A home that holds no repository, for sandboxes of this kind.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn bare(sandbox: Sandbox) -> Self {
        Self::empty(sandbox)
    }

    fn empty(sandbox: Sandbox) -> Self {
        let home = tempfile::Builder::new().prefix("w").rand_bytes(5).tempdir_in(&given().worlds);
        let home = home.expect("a home can be made");
        let machines = (sandbox == Sandbox::Lima).then(|| Machines::of(home.path()));
        let world = Self { machines, home, git: None, sandbox, variables: Vec::new() };
        world.own(world.home());
        for name in ["run", "run/user", ".config", ".config/workmux", "tmp"] {
            world.folder(&world.home().join(name));
        }
        let identity = "[user]\n\tname = Test\n\temail = test@example.invalid\n[init]\n\tdefaultBranch = main\n";
        world.write(world.home().join(".gitconfig"), identity);
        world
    }

    /// What `cargo xtask test` handed over.
    pub fn given(&self) -> &'static Given {
        given()
    }

    /// The home directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The main checkout.
    pub fn main(&self) -> PathBuf {
        self.home().join("project")
    }

    /// The main checkout's git directory.
    pub fn git_dir(&self) -> PathBuf {
        self.main().join(".git")
    }

    /// `$XDG_STATE_HOME/workmux`.
    pub fn state(&self) -> PathBuf {
        self.home().join(".local/state/workmux")
    }

    /// Adds a linked worktree on a new branch of this name.
    ///
    /// # Panics
    /// When git does not.
    pub fn worktree(&self, branch: &str) -> PathBuf {
        let path = self.home().join("project__worktrees").join(branch);
        self.git(&self.main(), &["worktree", "add", "--quiet", "-b", branch, path.to_str().expect("UTF-8")]).ok();
        path
    }

    /// The kind of sandbox it is for.
    pub fn sandbox(&self) -> Sandbox {
        self.sandbox
    }

    /// Writes the user's configuration that chooses this world's kind of sandbox, with further keys of `sandbox`.
    pub fn configure(&self, more: &str) {
        self.user_config(&self.sandbox.configuration(more, ""));
        self.warm_up();
    }

    /// Where sandboxes are in a machine, makes and starts it, with all that it tells of that: what a test looks at is a
    /// run.
    pub fn warm_up(&self) {
        if self.machines.is_some() && self.main().is_dir() {
            let _what_is_wrong_on_purpose = self.shell(&["true"]).run();
        }
    }

    /// Writes the user's configuration that chooses this world's kind of sandbox, with this image or with the backend's
    /// own choice, an agent, and further keys of the backend's own table.
    pub fn configure_image(&self, image: Option<&str>, agent: &str, table: &str) {
        let sandbox = self.sandbox.configuration_of(image, "", table);
        self.user_config(&format!("{sandbox}agent: {agent}\n"));
    }

    /// [`Self::configure`], with further keys of the backend's own table.
    pub fn configure_table(&self, table: &str) {
        self.user_config(&self.sandbox.configuration("", table));
        self.warm_up();
    }

    /// Writes the user's configuration.
    pub fn user_config(&self, yaml: &str) {
        self.write(self.home().join(".config/workmux/config.yaml"), yaml);
    }

    /// Writes the project's configuration in the main checkout; worktrees fall back to it.
    pub fn project_config(&self, yaml: &str) {
        self.write(self.main().join(".workmux.yaml"), yaml);
    }

    /// Installs a backend that is not the product's (`minimal`, `bridge`, `hostile`) into the user's plugin directory.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn install_plugin(&self, name: &str) -> PathBuf {
        let file = format!("libworkmux_backend_{name}{}", std::env::consts::DLL_SUFFIX);
        let to = self.home().join(".local/share/workmux/plugins").join(&file);
        self.write(&to, fs::read(given().other_plugins.join(&file)).expect("the library was built"));
        to
    }

    /// Host git, successful or not.
    pub fn git(&self, dir: &Path, words: &[&str]) -> Finished {
        self.program("git").dir(dir).args(words).run()
    }

    /// The program, in the main checkout unless told otherwise.
    pub fn workmux(&self, words: &[&str]) -> Run {
        self.program(&given().program).env("WORKMUX_GUEST", &given().guest).args(words)
    }

    /// `workmux sandbox shell -- WORDS`.
    pub fn shell(&self, words: &[&str]) -> Run {
        self.workmux(&["sandbox", "shell", "--"]).args(words)
    }

    /// `workmux sandbox agent -- WORDS`.
    pub fn agent(&self, words: &[&str]) -> Run {
        self.workmux(&["sandbox", "agent", "--"]).args(words)
    }

    /// Any program in this world's environment.
    pub fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Run {
        let dir = if self.main().is_dir() { self.main() } else { self.home().to_owned() };
        let run = Run::new(program).dir(dir).env("HOME", self.home());
        let path = self.git.map_or_else(search_path, |git| git.search_path.into());
        let run = match &self.machines {
            Some(_) => run.env("PATH", Machines::search_path(&path)).env("LIMA_HOME", self.lima_home()),
            None => run.env("PATH", path),
        };
        let run = run.env("XDG_RUNTIME_DIR", self.home().join("run/user")).env("TMPDIR", self.home().join("tmp"));
        let run = match self.sandbox.described() {
            Some(engine) if engine.root => run.envs(&engine.env).as_root(),
            Some(engine) => run.envs(&engine.env),
            None => run,
        };
        run.envs(self.variables.iter().map(|(name, value)| (name, value)))
    }

    /// Sets a variable of this world's environment.
    pub fn set(&mut self, name: &str, value: impl Into<PathBuf>) {
        self.variables.retain(|(other, _)| other != name);
        self.variables.push((name.to_owned(), value.into()));
    }

    /// The image of this world's containers.
    ///
    /// # Panics
    /// When the sandboxes are no containers.
    pub fn image(&self) -> String {
        self.sandbox.described().expect("sandboxes that are containers").image.clone()
    }

    /// The engine's program, as the product starts it.
    ///
    /// # Panics
    /// When the sandboxes are no containers.
    pub fn engine(&self, words: &[&str]) -> Finished {
        let engine = self.sandbox.described().expect("sandboxes that are containers");
        self.program(&engine.runtime).args(words).dir("/").run()
    }

    /// The program on a terminal.
    pub fn pty(&self, words: &[&str]) -> Pty {
        Pty::start(self.workmux(words))
    }

    /// A tmux server of this world's own, with one window in the main checkout.
    pub fn tmux(&self) -> Tmux<'_> {
        Tmux::start(self)
    }

    /// Makes a folder, and those above it, inside this world.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn folder(&self, path: &Path) {
        if !path.exists() {
            self.folder(path.parent().expect("it lies in this world"));
            fs::create_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("a folder of ours");
            self.own(path);
        }
    }

    /// Writes a file of the user's.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = path.as_ref();
        self.folder(path.parent().expect("a file lies in a folder"));
        fs::write(path, content).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        self.own(path);
    }

    /// Reads a file.
    ///
    /// # Panics
    /// When it cannot be read or is no text.
    pub fn read(&self, path: impl AsRef<Path>) -> String {
        let path = path.as_ref();
        fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Makes a program of the machine's the one that a folder of this world's offers.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn link_program(&self, folder: &Path, name: &str) {
        self.folder(folder);
        let places = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"].map(|place| Path::new(place).join(name));
        let program = places.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("no program '{name}'"));
        std::os::unix::fs::symlink(program, folder.join(name)).expect("a link can be made");
    }

    fn own(&self, path: &Path) {
        let user = &given().user;
        let root = self.sandbox.described().is_some_and(|engine| engine.root);
        if user.borrowed && !root {
            nix::unistd::chown(path, Some(user.uid), Some(user.gid)).expect("root may give files away");
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}
