//! A tmux server on a socket of its own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::run::Run;
use crate::wait::wait_for;
use crate::world::World;

/// The server; it ends with the value.
pub struct Tmux<'w> {
    world: &'w World,
    socket: PathBuf,
}

impl<'w> Tmux<'w> {
    /// Starts it with one session `test` of one window `window`, in which `sh` runs.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(world: &'w World) -> Self {
        let tmux = Self { world, socket: world.home().join("run/tmux") };
        let shell = "PS1='ready> ' exec sh";
        tmux.command(&["new-session", "-d", "-s", "test", "-n", "window", "-x", "120", "-y", "30", shell]).run().ok();
        tmux.wait_for_text("test", "ready>");
        tmux
    }

    /// A tmux command.
    pub fn command(&self, words: &[&str]) -> Run {
        let run = self.world.program("tmux").arg("-uS").arg(&self.socket).args(["-f", "/dev/null"]).args(words);
        // The server hands its environment on to every pane.
        run.env("WORKMUX_GUEST", &self.world.given().guest)
    }

    /// What a tmux command prints, trimmed.
    ///
    /// # Panics
    /// When it fails.
    pub fn ask(&self, words: &[&str]) -> String {
        self.command(words).run().ok().stdout.trim_end().to_owned()
    }

    /// The server's socket.
    pub fn socket(&self) -> &PathBuf {
        &self.socket
    }

    /// The variables by which a program in `target`'s pane finds its window.
    pub fn variables(&self, target: &str) -> [(&'static str, String); 2] {
        let facts = self.ask(&["display-message", "-p", "-t", target, "#{pid} #{pane_id}"]);
        let (server, pane) = facts.split_once(' ').expect("two facts");
        [("TMUX", format!("{},{server},0", self.socket.display())), ("TMUX_PANE", pane.to_owned())]
    }

    /// Types a line into a pane.
    pub fn type_line(&self, target: &str, line: &str) {
        self.ask(&["send-keys", "-t", target, "-l", line]);
        self.ask(&["send-keys", "-t", target, "Enter"]);
    }

    /// Types a command into the shell of a pane and waits for its end: its exit code, and what the pane shows then.
    ///
    /// # Panics
    /// When it does not end.
    pub fn run(&self, target: &str, line: &str) -> (i32, String) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let end = format!("ended {}:", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.type_line(target, &format!("{line}; echo \"{end} $?.\""));
        let code = |screen: &str| screen.rsplit_once(&end)?.1.split_once('.')?.0.trim().parse().ok();
        wait_for(&format!("the end of {line:?}"), || {
            let screen = self.screen(target);
            code(&screen).map(|code| (code, screen))
        })
    }

    /// What a pane shows.
    pub fn screen(&self, target: &str) -> String {
        self.ask(&["capture-pane", "-p", "-J", "-t", target])
    }

    /// Waits until a pane shows `text`.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_for_text(&self, target: &str, text: &str) -> String {
        wait_for(&format!("{text:?} in the pane '{target}'"), || {
            Some(self.screen(target)).filter(|screen| screen.contains(text))
        })
    }

    /// A window option's value; empty when it is not set.
    pub fn window_option(&self, target: &str, name: &str) -> String {
        self.ask(&["show-options", "-wqv", "-t", target, name])
    }

    /// Names of all windows.
    pub fn windows(&self) -> Vec<String> {
        self.ask(&["list-windows", "-a", "-F", "#{window_name}"]).lines().map(str::to_owned).collect()
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        let _gone = self.command(&["kill-server"]).run();
    }
}
