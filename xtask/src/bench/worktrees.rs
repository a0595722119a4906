//! A worktree with a window, against git and tmux asked by hand.
//!
//! The plain thing is `git worktree add` and `tmux new-window`. Ours adds the configuration, the checks, the record, the
//! mark by which the window is found again and, in the second pair, the prompt and the agent's sandbox in the window; the
//! window is there when either of them returns, what starts in it goes on by itself.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::home::Home;
use super::pairs::{Gate, Pair};
use crate::{Result, process};

/// What it may cost at most.
const LIMIT: Gate = Gate::Ratio(2.0);
const DEADLINE: Duration = Duration::from_secs(20);
const ROUNDS: usize = 20;

/// The pairs.
pub(super) fn pairs(home: &Home, workmux: &Path) -> Result<Vec<Pair>> {
    let plain = home.configuration("window", "panes: [{ focus: true }]\n")?;
    let boxed = "agent: 'true'\npanes: [{ command: <agent> }]\nsandbox: { backend: bubblewrap }\n";
    let boxed = home.configuration("agent", boxed)?;
    Ok(vec![
        pair("worktrees: `add`, a shell in a window", home, workmux, &plain, &[])?,
        pair("worktrees: `add -S -p`, a sandboxed agent", home, workmux, &boxed, &["-S", "-p", "do it"])?,
    ])
}

fn pair(
    name: &'static str,
    home: &Home,
    workmux: &Path,
    configuration: &Path,
    flags: &'static [&'static str],
) -> Result<Pair> {
    let server = Rc::new(Server::start(home, configuration)?);
    let number = Rc::new(Cell::new(0));
    let next = {
        let (number, tag) = (Rc::clone(&number), server.tag.clone());
        move || {
            number.set(number.get() + 1);
            format!("{tag}-{}", number.get())
        }
    };
    let (plain_next, plain_server) = (next.clone(), Rc::clone(&server));
    let (workmux, configuration) = (workmux.to_owned(), configuration.to_owned());
    Ok(Pair {
        name,
        plain: Box::new(move || plain_server.by_hand(&plain_next())),
        ours: Box::new(move || {
            let mut command = server.home.command(&workmux);
            command.env("XDG_CONFIG_HOME", &configuration).env("TMUX", &server.tmux).env("TMUX_PANE", &server.pane);
            command.args(["add", "--background", &next()]).args(flags);
            once(&mut command)
        }),
        gate: LIMIT,
        rounds: ROUNDS,
    })
}

/// A tmux server, ended when nobody measures any more.
struct Server {
    home: Home,
    socket: PathBuf,
    /// As in a pane of it.
    tmux: String,
    pane: String,
    /// What is made here begins with this.
    tag: String,
}

impl Server {
    fn start(home: &Home, configuration: &Path) -> Result<Self> {
        let tag = configuration.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let socket = home.path.join(format!("run/{tag}"));
        let mut server = Self { home: home.clone(), socket, tmux: String::new(), pane: String::new(), tag };
        let mut command = server.tmux_command();
        process::output(command.args(["-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40"]))?;
        let mut command = server.tmux_command();
        let said = process::output(command.args(["display-message", "-p", "#{pid} #{pane_id}"]))?;
        let (pid, pane) = said.trim().split_once(' ').ok_or("tmux does not say who it is")?;
        server.tmux = format!("{},{pid},0", server.socket.display());
        server.pane = pane.to_owned();
        Ok(server)
    }

    fn tmux_command(&self) -> std::process::Command {
        let mut command = self.home.command("tmux");
        command.env("SHELL", "/bin/sh").arg("-S").arg(&self.socket);
        command
    }

    fn by_hand(&self, name: &str) -> Result<()> {
        let tree = self.home.path.join("project__worktrees").join(name);
        once(self.home.command("git").args(["worktree", "add", "--quiet", "-b", name]).arg(&tree))?;
        once(self.tmux_command().args(["new-window", "-d", "-n", name, "-c"]).arg(&tree))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended with its last window.
        let _gone = process::finish(self.tmux_command().arg("kill-server"), DEADLINE);
    }
}

/// Runs a command that must succeed.
fn once(command: &mut std::process::Command) -> Result<()> {
    let done = process::finish(command, DEADLINE)?;
    if done.status.success() { Ok(()) } else { Err(format!("{}: {}", process::shown(command), done.stderr.trim())) }
}
