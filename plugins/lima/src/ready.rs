//! Looks at a machine from inside: is it through its boot, has it what sandboxes need, and who is its user. The script
//! `ready.sh` does it; what it says is a guest's word and read as such.

use std::path::{Component, Path, PathBuf};

use workmux_plugin_api::{Context, Error, ErrorKind, Result, ToolOutput};

use crate::layout::Place;
use crate::limactl::Listed;
use crate::ssh;

const SCRIPT: &str = include_str!("ready.sh");
const MARK: &str = "workmux:";

/// What the machine says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) home: PathBuf,
    pub(crate) user: String,
    pub(crate) uid: u32,
    pub(crate) booting: bool,
    /// A development build of the guest program was placed in it.
    pub(crate) developed: bool,
    /// A directory below `/run` that names are looked up with.
    pub(crate) resolver: Option<PathBuf>,
    pub(crate) unmounted: bool,
    pub(crate) failed: Option<String>,
    pub(crate) agent: Option<String>,
    /// One that was to be installed and was not.
    pub(crate) no_agent: Option<String>,
}

/// Asks, and has the places made. `host` is where the machine has the host's export.
pub(crate) async fn ask(cx: &Context, machine: &Listed, host: &str, places: &[Place]) -> Result<Told> {
    let mut words = vec!["sh", "-s", "--", host];
    words.extend(places.iter().flat_map(Place::words));
    let output = ssh::script(cx, &machine.ssh_config, &machine.dir, &machine.name, &words, SCRIPT.to_owned()).await?;
    read(&machine.name, &output)
}

fn read(name: &str, output: &ToolOutput) -> Result<Told> {
    let mut told = Told::default();
    let mut ready = false;
    for (key, value) in output.stdout.lines().filter_map(|line| line.strip_prefix(MARK)?.split_once('=')) {
        // As it is shown; the host cleans it.
        let value: String = value.chars().take(500).collect();
        match key {
            "home" => told.home = value.into(),
            "user" => told.user = value,
            "uid" => told.uid = value.parse().unwrap_or_default(),
            "resolver" if Path::new(&value).starts_with("/run") && is_plain(Path::new(&value)) => {
                told.resolver = Some(value.into())
            }
            "developed" => told.developed = true,
            "booting" => told.booting = true,
            "unmounted" => told.unmounted = true,
            "failed" => told.failed = Some(value),
            "agent" => told.agent = Some(value),
            "no-agent" => told.no_agent = Some(value),
            "ready" => ready = true,
            "problem" => {
                return Err(Error::new(ErrorKind::ToolFailed, format!("the machine '{name}' cannot be used: {value}"))
                    .hint(format!("look at it: limactl shell {name}")));
            }
            _ => {}
        }
    }
    let plain = is_plain(&told.home) && told.home.components().count() > 1 && !told.user.is_empty();
    if plain && (ready || told.booting || told.unmounted) {
        return Ok(told);
    }
    let mut error = ssh::silent(name);
    let said = output.stderr.lines().rev().find(|line| !line.trim().is_empty());
    error.causes.extend(said.map(str::to_owned));
    Err(error)
}

/// Absolute, and leading nowhere but down.
fn is_plain(path: &Path) -> bool {
    path.is_absolute() && !path.components().any(|part| part == Component::ParentDir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(stdout: &str, stderr: &str) -> Result<Told> {
        read("wm-x", &ToolOutput { code: Some(0), stdout: stdout.into(), stderr: stderr.into() })
    }

    #[test]
    fn p78_only_whole_answers_count_and_noise_does_no_harm() {
        let text = "Welcome!\nworkmux:home=/home/ann.guest\nworkmux:user=ann\nworkmux:uid=1000\nworkmux:odd=1\n";
        let told = of(&format!("{text}workmux:agent=claude\nworkmux:ready=yes\n"), "").unwrap();
        assert_eq!(
            (told.home.to_str(), told.uid, told.agent.as_deref()),
            (Some("/home/ann.guest"), 1000, Some("claude"))
        );
        assert!(of(&format!("{text}workmux:booting=yes\n"), "").unwrap().booting);
        assert!(of(text, "").is_err(), "it ended in the middle");
        assert!(of("workmux:home=x\nworkmux:user=u\nworkmux:ready=yes\n", "").is_err());
        assert!(of("workmux:home=/home/u/../v\nworkmux:user=u\nworkmux:ready=yes\n", "").is_err());
        assert!(of("workmux:home=/\nworkmux:user=u\nworkmux:ready=yes\n", "").is_err());
        let error = of("", "a\nssh: connect to host 127.0.0.1 port 1: Connection refused\n").unwrap_err();
        assert!(error.causes[0].contains("refused"));
        assert!(of(&format!("{text}workmux:problem=no disk\n"), "").unwrap_err().message.contains("no disk"));
    }
}
