//! `sandbox pull` of an image that has not changed, against the engine's own pull as a person sees it, on a terminal; both
//! from the same registry: on loopback, where only the engine's own work takes time, and behind the delay of a
//! network, where registries really are.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::home::Home;
use super::pairs::{Gate, Pair};
use crate::engines::{Engines, Ready};
use crate::{Result, process};

/// What is ours in a pull that finds nothing new.
const LIMIT: Gate = Gate::Ratio(1.10);
/// What an answer takes from a registry some hundred kilometres away. Real ones also take a handshake and a token first.
const DELAY: Duration = Duration::from_millis(25);
const DEADLINE: Duration = Duration::from_secs(60);

/// The pairs; none for an engine that is not ready.
pub(super) fn pairs(home: &Home, workmux: &Path, engines: &Engines) -> Result<Vec<Pair>> {
    let registry = Arc::new(Registry::start(home)?);
    let near = registry.behind(DELAY)?;
    let mut pairs = Vec::new();
    for (engine, names) in [
        ("docker", ["docker: `pull`, nothing new", "docker: the same from loopback"]),
        ("podman-rootless", ["podman, rootless: `pull`, nothing new", "podman: the same from loopback"]),
    ] {
        let Some(ready) = engines.ready(engine) else { continue };
        pairs.push(pair(names[0], LIMIT, home, workmux, &ready, &near, &registry)?);
        pairs.push(pair(names[1], Gate::None, home, workmux, &ready, &registry.address, &registry)?);
    }
    Ok(pairs)
}

fn pair(
    name: &'static str,
    gate: Gate,
    home: &Home,
    workmux: &Path,
    ready: &Ready,
    address: &str,
    registry: &Arc<Registry>,
) -> Result<Pair> {
    let image = format!("{address}/bench:{}", ready.runtime);
    let trusted = home.path.join(format!("{}-{}.conf", ready.runtime, address.replace(':', "-")));
    fs::write(&trusted, format!("[[registry]]\nlocation = \"{address}\"\ninsecure = true\n"))
        .map_err(|e| format!("'{}': {e}", trusted.display()))?;
    let mut env = ready.env.clone();
    env.retain(|(name, _)| name != "CONTAINERS_REGISTRIES_CONF");
    env.push(("CONTAINERS_REGISTRIES_CONF".into(), trusted.display().to_string()));
    let engine = {
        let (home, runtime, env) = (home.clone(), ready.runtime.clone(), env.clone());
        move |words: &[&str]| {
            let mut command = home.command(&runtime);
            command.args(words).envs(env.iter().map(|(name, value)| (name, value)));
            command
        }
    };
    once(&mut engine(&["tag", &ready.image, &image]))?;
    once(&mut engine(&["push", &image]))?;
    let terminal = Terminal::open()?;
    let yaml =
        format!("sandbox: {{ backend: container, image: '{image}', container: {{ runtime: {} }} }}\n", ready.runtime);
    let configuration = home.configuration(&format!("pull-{}-{}", ready.runtime, address.replace(':', "-")), &yaml)?;
    let (home, workmux, kept) = (home.clone(), workmux.to_owned(), Arc::clone(registry));
    Ok(Pair {
        name,
        plain: Box::new(move || terminal.show(&mut engine(&["pull", &image]))),
        ours: Box::new(move || {
            let _serves = &kept;
            let mut command = home.command(&workmux);
            command.env("XDG_CONFIG_HOME", &configuration).envs(env.iter().map(|(name, value)| (name, value)));
            once(command.args(["sandbox", "pull"]))
        }),
        gate,
        rounds: 30,
    })
}

/// Runs a command that must succeed.
fn once(command: &mut Command) -> Result<()> {
    let done = process::finish(command, DEADLINE)?;
    if done.status.success() { Ok(()) } else { Err(format!("{}: {}", process::shown(command), done.stderr.trim())) }
}

/// A terminal that nobody looks at.
struct Terminal {
    holder: Child,
    path: String,
}

impl Terminal {
    fn open() -> Result<Self> {
        let fail = |e: std::io::Error| format!("could not open a terminal: {e}");
        let mut command = Command::new("script");
        command.args([
            "--quiet",
            "--flush",
            "--command",
            "stty rows 50 columns 100; tty; exec sleep 3600",
            "/dev/null",
        ]);
        let mut holder = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(fail)?;
        let mut output = BufReader::new(holder.stdout.take().ok_or("no output")?);
        let mut path = String::new();
        output.read_line(&mut path).map_err(fail)?;
        // What is shown there has to be taken away.
        std::thread::spawn(move || _ = std::io::copy(&mut output, &mut std::io::sink()));
        Ok(Self { holder, path: path.trim().to_owned() })
    }

    fn show(&self, command: &mut Command) -> Result<()> {
        let open = || fs::OpenOptions::new().write(true).open(&self.path).map_err(|e| format!("'{}': {e}", self.path));
        let status = command.stdin(Stdio::null()).stdout(open()?).stderr(open()?).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("{}: {other:?}", process::shown(command))),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        process::end(&mut self.holder);
    }
}

struct Registry {
    server: Child,
    address: String,
}

impl Registry {
    fn start(home: &Home) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(|e| e.to_string())?.port();
        let address = format!("127.0.0.1:{port}");
        let file = home.path.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\nstorage: {{ inmemory: {{}} }}\nhttp: {{ addr: '{address}' }}\n"
        );
        fs::write(&file, text).map_err(|e| format!("'{}': {e}", file.display()))?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = command.spawn().map_err(|e| format!("could not start docker-registry: {e}"))?;
        let registry = Self { server, address };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&registry.address).is_err() {
            if Instant::now() > until {
                return Err("the registry does not come up".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }
}

impl Registry {
    /// An address at which every answer takes this much longer.
    fn behind(&self, delay: Duration) -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
        let (near, far) = (listener.local_addr().map_err(|e| e.to_string())?.to_string(), self.address.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&far) else { continue };
                let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { continue };
                std::thread::spawn(move || carry(from, to, Duration::ZERO));
                std::thread::spawn(move || carry(server, client, delay));
            }
        });
        Ok(near)
    }
}

/// Passes bytes on until one end is closed.
fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let mut chunk = vec![0; 256 * 1024];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        std::thread::sleep(delay);
        if to.write_all(&chunk[..count]).is_err() {
            break;
        }
    }
    let _gone = to.shutdown(std::net::Shutdown::Write);
}

impl Drop for Registry {
    fn drop(&mut self) {
        process::end(&mut self.server);
    }
}
