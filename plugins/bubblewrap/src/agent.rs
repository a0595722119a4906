//! The agent's own program: what of the user's files it takes to start it, and nothing more.
//!
//! A program below `/usr` is there already. One in the home directory is found the way the user's shell would find it,
//! links followed, and the package it belongs to is bound read-only at its own place; for a script its interpreter
//! likewise. The links on the way are made again in the guest.

use std::collections::VecDeque;
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use workmux_plugin_api::SandboxSpec;

use crate::place;
use crate::step::Step;

/// What a start of the agent takes.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    /// Binds and links.
    pub(crate) steps: Vec<Step>,
    /// Directories for the guest's `PATH`.
    pub(crate) directories: Vec<PathBuf>,
    /// What the user should hear.
    pub(crate) notes: Vec<String>,
}

/// A script's interpreter may be a script, once.
const MAX_SCRIPTS: u32 = 3;
/// As the kernel's own limit.
const MAX_LINKS: u32 = 40;

/// Finds the program the guest will be asked to run.
pub(crate) fn find(spec: &SandboxSpec, home: &Path) -> Agent {
    let mut search = Search { spec, home, agent: Agent::default() };
    let Some(program) = spec.program.as_deref().filter(|p| !p.is_empty()) else { return search.agent };
    let Some(path) = search.locate(program) else {
        search
            .agent
            .notes
            .push(format!("'{program}' is not on this machine's PATH: install it, or name another command after '--'"));
        return search.agent;
    };
    search.add(&path, MAX_SCRIPTS);
    search.agent
}

struct Search<'a> {
    spec: &'a SandboxSpec,
    home: &'a Path,
    agent: Agent,
}

impl Search<'_> {
    /// As a shell does: a word with a slash is a path, another is looked up.
    fn locate(&self, program: &str) -> Option<PathBuf> {
        if let Some(below) = program.strip_prefix("~/") {
            return Some(self.home.join(below)).filter(|p| executable(p));
        }
        if program.contains('/') {
            return Some(self.spec.cwd.join(program)).filter(|p| executable(p));
        }
        self.spec.search_path.iter().map(|d| d.join(program)).find(|p| executable(p))
    }

    /// Whether the guest sees the host's file of this path without us.
    fn visible(&self, path: &Path) -> bool {
        place::is_program_directory(path) || place::mounted_as_it_is(&self.spec.mounts, self.home, path)
    }

    fn bound(&self, path: &Path) -> bool {
        self.agent.steps.iter().any(|s| matches!(s, Step::Bind { .. }) && path.starts_with(s.target()))
    }

    fn add(&mut self, program: &Path, scripts_left: u32) {
        let Some((links, file)) = follow(program) else { return };
        if let Some(directory) = program.parent().filter(|d| !self.visible(d))
            && self.spec.search_path.iter().any(|d| d == directory)
            && !self.agent.directories.iter().any(|d| d == directory)
        {
            self.agent.directories.push(directory.to_owned());
        }
        for root in roots(&file, self.home) {
            self.bind(&root);
        }
        for (at, to) in links {
            self.link(at, to);
        }
        if scripts_left == 0 {
            return;
        }
        if let Some(interpreter) = interpreter(&file).and_then(|i| self.locate(&i)) {
            self.add(&interpreter, scripts_left - 1);
        }
        // Packages of node start it by name, also from scripts that are not its own.
        if file.components().any(|c| c.as_os_str() == "node_modules") || pnpm_home(&file).is_some() {
            for name in ["node", "npm", "npx"] {
                if let Some(path) = self.locate(name).filter(|p| !self.visible(p)) {
                    self.add(&path, 0);
                }
            }
        }
    }

    fn bind(&mut self, root: &Path) {
        // A package root that holds the home would show the guest everything.
        if self.visible(root) || self.bound(root) || self.home.starts_with(root) {
            return;
        }
        self.agent.steps.retain(|s| !s.target().starts_with(root));
        self.agent.steps.push(Step::read_only(root, root));
    }

    fn link(&mut self, at: PathBuf, to: PathBuf) {
        let step = Step::Link { at, to };
        if !self.visible(step.target()) && !self.bound(step.target()) && !self.agent.steps.contains(&step) {
            self.agent.steps.push(step);
        }
    }
}

fn executable(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}

/// The links on the way to a file, and the file's own path.
fn follow(path: &Path) -> Option<(Vec<(PathBuf, PathBuf)>, PathBuf)> {
    let mut ahead: VecDeque<_> = path.components().map(|c| c.as_os_str().to_owned()).collect();
    let (mut at, mut links, mut hops) = (PathBuf::new(), Vec::new(), 0);
    while let Some(name) = ahead.pop_front() {
        match Path::new(&name).components().next()? {
            Component::ParentDir => {
                at.pop();
                continue;
            }
            Component::CurDir => continue,
            // An absolute one begins anew.
            _ => at.push(&name),
        }
        let Ok(to) = fs::read_link(&at) else { continue };
        hops += 1;
        if hops > MAX_LINKS {
            return None;
        }
        for name in to.components().rev() {
            ahead.push_front(name.as_os_str().to_owned());
        }
        let link = at.clone();
        at.pop();
        links.push((link, to));
    }
    at.is_file().then_some((links, at))
}

/// What a program needs beside itself, by the layouts that package managers use.
fn roots(file: &Path, home: &Path) -> Vec<PathBuf> {
    if let Some(root) = node_package(file) {
        return vec![root];
    }
    let known = |prefix: &str, depth: usize| {
        file.starts_with(prefix)
            .then(|| file.iter().take(Path::new(prefix).iter().count() + depth).collect::<PathBuf>())
    };
    let shared = known("/nix/store", 0).or_else(|| known("/home/linuxbrew/.linuxbrew", 0)).or_else(|| known("/opt", 1));
    let environment = || file.ancestors().skip(1).find(|d| d.join("pyvenv.cfg").is_file()).map(Into::into);
    if let Some(root) = shared.or_else(environment).or_else(|| pnpm_home(file)) {
        return vec![root];
    }
    let mut all = vec![file.to_owned()];
    // An interpreter with its library: `PREFIX/bin/node` and `PREFIX/lib`. Shared prefixes hold more than one thing.
    if let Some(prefix) = file.parent().filter(|d| d.ends_with("bin")).and_then(Path::parent)
        && prefix != home
        && prefix != home.join(".local")
    {
        let library = prefix.join("lib");
        let names = fs::read_dir(&library).into_iter().flatten().flatten().map(|e| e.file_name());
        let interpreter = |n: std::ffi::OsString| n == "node_modules" || n.as_encoded_bytes().starts_with(b"python3");
        if names.into_iter().any(interpreter) {
            all.push(library);
        }
    }
    all
}

/// A global package has its dependencies inside itself; any other shares its `node_modules` with them.
fn node_package(file: &Path) -> Option<PathBuf> {
    let parts: Vec<_> = file.iter().collect();
    let at = parts.iter().position(|p| *p == "node_modules")?;
    let global = at > 0 && parts[at - 1] == "lib";
    let scoped = parts.get(at + 1)?.as_encoded_bytes().starts_with(b"@");
    let length = match (global, scoped) {
        (false, _) => at + 1,
        (true, false) => at + 2,
        (true, true) => at + 3,
    };
    Some(parts.iter().take(length).collect())
}

/// pnpm's programs are scripts beside the packages they start.
fn pnpm_home(file: &Path) -> Option<PathBuf> {
    let directory = file.parent()?;
    (directory.ends_with("pnpm") && directory.join("global").is_dir()).then(|| directory.to_owned())
}

/// The program of a script's first line: a path, or a name for `env` to look up.
fn interpreter(file: &Path) -> Option<String> {
    let mut start = [0; 256];
    let read = fs::File::open(file).ok()?.take(start.len() as u64).read(&mut start).ok()?;
    let line = start.get(..read)?.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let program = words.next()?;
    if !program.ends_with("/env") {
        return Some(program.to_owned());
    }
    words.find(|w| !w.starts_with('-') && !w.contains('=')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A home of its own, with programs in it.
    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self) -> PathBuf {
            self.0.path().canonicalize().unwrap()
        }

        fn program(&self, path: &str, text: &str) {
            let path = self.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }

        fn link(&self, at: &str, to: &str) {
            let at = self.path().join(at);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            symlink(to, at).unwrap();
        }

        /// What is found, paths relative to the home.
        fn find(&self, program: &str, path: &[&str]) -> String {
            let home = self.path();
            let spec = SandboxSpec {
                program: Some(program.into()),
                search_path: path.iter().map(|p| home.join(p)).collect(),
                cwd: home.clone(),
                home: home.clone(),
                ..SandboxSpec::default()
            };
            let agent = find(&spec, &home);
            let mut said: Vec<String> = agent
                .steps
                .iter()
                .map(|s| match s {
                    Step::Bind { source, target, access: workmux_plugin_api::Access::ReadOnly } if source == target => {
                        format!("bind {}", source.display())
                    }
                    Step::Link { at, to } => format!("link {} {}", at.display(), to.display()),
                    other => panic!("{other:?}"),
                })
                .collect();
            said.extend(agent.directories.iter().map(|d| format!("path {}", d.display())));
            said.extend(agent.notes);
            said.join("\n").replace(home.to_str().unwrap(), "~")
        }
    }

    #[test]
    fn a_global_package_of_npm_is_bound_alone() {
        let home = Home::new();
        home.program(".npm/lib/node_modules/@anthropic-ai/claude-code/bin/claude", "\x7fELF");
        home.program(".npm/lib/node_modules/other/secret", "");
        home.link(".npm/bin/claude", "../lib/node_modules/@anthropic-ai/claude-code/bin/claude");
        insta::assert_snapshot!(home.find("claude", &[".npm/bin"]), @"
        bind ~/.npm/lib/node_modules/@anthropic-ai/claude-code
        link ~/.npm/bin/claude ../lib/node_modules/@anthropic-ai/claude-code/bin/claude
        path ~/.npm/bin
        ");
    }

    #[test]
    fn a_script_brings_its_interpreter_and_a_link_to_a_directory_is_kept() {
        let home = Home::new();
        home.program(".nvm/versions/v20/lib/node_modules/gem/cli.js", "#!/usr/bin/env -S node --flag\n");
        home.program(".nvm/versions/v20/bin/node", "\x7fELF");
        home.program(".nvm/versions/v20/lib/node_modules/npm/bin/npm-cli.js", "#!/usr/bin/env node\n");
        home.link(".nvm/versions/v20/bin/npm", "../lib/node_modules/npm/bin/npm-cli.js");
        home.link(".nvm/versions/v20/bin/gem", "../lib/node_modules/gem/cli.js");
        home.link(".nvm/current", "versions/v20");
        insta::assert_snapshot!(home.find("gem", &[".nvm/current/bin"]), @"
        link ~/.nvm/current versions/v20
        link ~/.nvm/versions/v20/bin/gem ../lib/node_modules/gem/cli.js
        bind ~/.nvm/versions/v20/bin/node
        bind ~/.nvm/versions/v20/lib
        link ~/.nvm/versions/v20/bin/npm ../lib/node_modules/npm/bin/npm-cli.js
        path ~/.nvm/current/bin
        ");
    }

    #[test]
    fn a_single_program_is_bound_without_its_neighbours() {
        let home = Home::new();
        home.program(".local/share/claude/versions/2.1", "\x7fELF");
        home.link(".local/bin/claude", "../share/claude/versions/2.1");
        home.program(".cargo/bin/agent", "\x7fELF");
        home.program(".cargo/credentials.toml", "secret");
        insta::assert_snapshot!(home.find("claude", &[".local/bin"]), @"
        bind ~/.local/share/claude/versions/2.1
        link ~/.local/bin/claude ../share/claude/versions/2.1
        path ~/.local/bin
        ");
        insta::assert_snapshot!(home.find("agent", &[".cargo/bin"]), @"
        bind ~/.cargo/bin/agent
        path ~/.cargo/bin
        ");
    }

    #[test]
    fn an_environment_of_python_is_bound_whole() {
        let home = Home::new();
        home.program("venvs/aider/bin/aider", "");
        let python = home.path().join("venvs/aider/bin/python");
        home.program("venvs/aider/bin/aider", &format!("#!{}\n", python.display()));
        home.program("venvs/aider/pyvenv.cfg", "");
        home.program("uv/cpython-3.12.7/bin/python3.12", "\x7fELF");
        home.program("uv/cpython-3.12.7/lib/python3.12/os.py", "");
        home.link("uv/cpython-3.12", "cpython-3.12.7");
        home.link("venvs/aider/bin/python", home.path().join("uv/cpython-3.12/bin/python3.12").to_str().unwrap());
        home.link(".local/bin/aider", "../../venvs/aider/bin/aider");
        insta::assert_snapshot!(home.find("aider", &[".local/bin"]), @"
        bind ~/venvs/aider
        link ~/.local/bin/aider ../../venvs/aider/bin/aider
        bind ~/uv/cpython-3.12.7/bin/python3.12
        bind ~/uv/cpython-3.12.7/lib
        link ~/uv/cpython-3.12 cpython-3.12.7
        path ~/.local/bin
        ");
    }

    #[test]
    fn p68_the_home_is_never_bound() {
        let home = Home::new();
        home.program("pyvenv.cfg", "");
        home.program("bin/agent", "\x7fELF");
        home.program("lib/node_modules/x", "");
        assert_eq!(home.find("agent", &["bin"]), "path ~/bin");
        let (parent, name) = (home.path(), "bin/agent");
        assert!(roots(&parent.join(name), &parent).iter().all(|r| parent.starts_with(r)));
    }

    #[test]
    fn what_is_there_already_or_nowhere_costs_nothing() {
        let home = Home::new();
        assert_eq!(home.find("/bin/sh", &[]), "");
        assert_eq!(
            home.find("claude", &["bin"]),
            "'claude' is not on this machine's PATH: install it, or name another command after '--'"
        );
        home.link("bin/loop", "loop");
        assert!(home.find("loop", &["bin"]).contains("is not on"));
    }
}
