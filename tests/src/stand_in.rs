//! A stand-in for an agent: its prompt is a script, and so is every line that it is told afterwards. It is on the search
//! path and in every kind of sandbox, so that a test says what an agent does and when.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::sandbox::Sandbox;
use crate::world::World;

/// Flags come before the prompt. What the words were is printed, and `exit` ends the agent.
const AGENT: &str = r#"#!/bin/sh
echo "$(basename "$0") began with [$*]"
while [ $# -gt 0 ]; do
  case $1 in
    --|-i|--prompt) eval "$2"; break ;;
    -*) shift ;;
    *) eval "$1"; break ;;
  esac
done
while IFS= read -r line; do eval "$line"; done
"#;

impl World {
    /// [`Self::on`], with a stand-in for claude that works in sandboxes of this kind. They are not switched on.
    pub fn with_agent(sandbox: Sandbox) -> Self {
        let mut world = Self::on(sandbox);
        let program = world.stand_in("claude");
        // An image has no program of ours, and no machine has one.
        let table = match sandbox != Sandbox::Bubblewrap {
            true => format!("extra_mounts: ['{}']", world.programs().display()),
            false => String::new(),
        };
        let agents = match sandbox != Sandbox::Bubblewrap {
            true => format!("agents: {{ claude: {{ command: '{}' }} }}\n", program.display()),
            false => String::new(),
        };
        world.user_config(&format!("{}{agents}", sandbox.configuration(&table, "")));
        world
    }

    /// Puts a stand-in of this name on the search path, and `workmux` itself; its file.
    pub fn stand_in(&mut self, name: &str) -> PathBuf {
        self.put_program(name, AGENT)
    }

    /// Puts a program of the test's own on the search path, before all others.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn put_program(&mut self, name: &str, script: &str) -> PathBuf {
        let file = self.programs().join(name);
        self.write(&file, script);
        fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).expect("a program can be made executable");
        let ours = self.given().program.parent().expect("a program lies in a folder");
        let usual = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";
        let ours = [self.programs(), ours.to_owned()];
        let ours = ours.iter().map(PathBuf::as_path).chain(self.stand_in_for_limactl());
        let ours: Vec<String> = ours.map(|folder| folder.display().to_string()).collect();
        self.set("PATH", format!("{}:{usual}", ours.join(":")));
        file
    }

    fn programs(&self) -> PathBuf {
        self.home().join("programs")
    }
}
