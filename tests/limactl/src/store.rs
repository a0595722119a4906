//! What is known of instances: `$LIMA_HOME/NAME`, read afresh each time. A status is derived from live processes, as in
//! Lima, so a machine that somebody killed is seen as stopped or broken.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::config::{self, Config};
use crate::failure::{Failure, Result, words};
use crate::faults::Faults;
use crate::version::Version;

/// The socket of a control connection while it is made, after the name of the instance.
const LONGEST_SOCKET: &str = "ssh.sock.1234567890123456";
const SOCKET_LIMIT: usize = 108;
const LONGEST_NAME: usize = 76;
/// How long the host agent has to answer.
const AGENT_DEADLINE: Duration = Duration::from_secs(3);

/// Lima's directory, seen by one release.
pub(crate) struct Store {
    pub(crate) home: PathBuf,
    pub(crate) version: Version,
}

/// What an instance does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Unknown,
    Broken,
    Stopped,
    Running,
}

impl Status {
    /// As it is printed.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Broken => "Broken",
            Self::Stopped => "Stopped",
            Self::Running => "Running",
        }
    }
}

/// An instance, as it was when it was looked at.
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) status: Status,
    pub(crate) host_agent: i32,
    pub(crate) driver: i32,
    pub(crate) errors: Vec<String>,
    pub(crate) config: Option<Config>,
    pub(crate) ssh_port: u16,
    pub(crate) made_by: String,
    pub(crate) protected: bool,
}

impl Instance {
    /// A file of it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Its configuration, where that can be read.
    pub(crate) fn config(&self) -> Result<&Config> {
        self.config.as_ref().ok_or_else(|| Failure::new(self.errors.join("; ")))
    }

    /// Its name in the guest and in `ssh.config`.
    pub(crate) fn hostname(&self) -> String {
        format!("lima-{}", self.name)
    }
}

impl Store {
    /// Every instance's name.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.home) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(e) => return Err(Failure::file("open", &self.home, &e)),
        };
        let named =
            |entry: std::fs::DirEntry| entry.path().is_dir().then(|| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> =
            entries.flatten().filter_map(named).filter(|name| !name.starts_with(['.', '_'])).collect();
        names.sort();
        Ok(names)
    }

    /// Looks at one. Only what is not there at all is a failure; whatever else is wrong stands in its errors.
    pub(crate) fn inspect(&self, name: &str) -> Result<Instance> {
        let mut instance = self.load(name)?;
        if instance.config.is_some() {
            self.look_at_processes(&mut instance);
        }
        Ok(instance)
    }

    /// Reads one's files, and leaves open what it does.
    pub(crate) fn load(&self, name: &str) -> Result<Instance> {
        self.valid(name)?;
        let dir = self.home.join(name);
        let yaml = dir.join("lima.yaml");
        let mut instance = Instance {
            name: name.to_owned(),
            dir: dir.clone(),
            status: Status::Unknown,
            host_agent: 0,
            driver: 0,
            errors: vec![],
            config: None,
            ssh_port: 0,
            made_by: std::fs::read_to_string(dir.join("lima-version")).unwrap_or_default().trim().to_owned(),
            protected: dir.join("protected").exists(),
        };
        let text = std::fs::read_to_string(&yaml).map_err(|e| Failure::file("open", &yaml, &e))?;
        let made_by = Version::parse(&instance.made_by).unwrap_or_else(|| self.version.clone());
        let config = match config::parse(&text).and_then(|tree| Config::fill(&tree, name, &made_by)) {
            Ok(config) => config,
            Err(failure) => {
                instance.errors.push(failure.message);
                return Ok(instance);
            }
        };
        instance.ssh_port = config.ssh_port;
        instance.config = Some(config);
        Ok(instance)
    }

    fn look_at_processes(&self, instance: &mut Instance) {
        let mut broken = false;
        for (file, pid) in [("ha.pid", &mut instance.host_agent), ("qemu.pid", &mut instance.driver)] {
            match live_pid(&instance.dir.join(file)) {
                Ok(live) => *pid = live,
                Err(why) => {
                    broken = true;
                    instance.errors.push(why);
                }
            }
        }
        if instance.host_agent != 0 {
            let socket = instance.file("ha.sock");
            match ask_agent(&socket) {
                Ok(port) => instance.ssh_port = port,
                Err(why) => {
                    broken = true;
                    instance.errors.push(format!("failed to connect to \"{}\": {why}", socket.display()));
                }
            }
        }
        instance.status = match (broken, instance.host_agent > 0, instance.driver > 0) {
            (true, ..) => Status::Broken,
            (_, true, true) => Status::Running,
            (_, false, false) => Status::Stopped,
            (_, true, false) => {
                instance.errors.push("host agent is running but driver is not".into());
                Status::Broken
            }
            (_, false, true) => {
                instance.errors.push("qemu driver is running but host agent is not".into());
                Status::Broken
            }
        };
    }

    /// A directory that holds no `lima.yaml`, as the releases see it that list such.
    pub(crate) fn stray(&self, name: &str, why: String) -> Instance {
        Instance {
            name: name.to_owned(),
            dir: self.home.join(name),
            status: Status::Broken,
            host_agent: 0,
            driver: 0,
            errors: vec![why],
            config: None,
            ssh_port: 0,
            made_by: String::new(),
            protected: false,
        }
    }

    /// Whether this may be the name of an instance.
    pub(crate) fn valid(&self, name: &str) -> Result {
        let quoted = self.version.quote(name);
        let mut letters = name.split(['.', '_', '-']);
        if !letters.all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric())) {
            let rule = "^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$";
            return Err(format!(
                "instance name {quoted} is not valid: identifier {quoted} must match {rule}: invalid argument"
            )
            .into());
        }
        if name.len() > LONGEST_NAME {
            return Err(format!(
                "instance name {quoted} is too long: greater than maximum length ({LONGEST_NAME} characters)"
            )
            .into());
        }
        if [".yml", ".yaml"].iter().any(|suffix| name.to_lowercase().ends_with(suffix)) {
            return Err(format!("instance name {quoted} must not end with .yml or .yaml suffix").into());
        }
        Ok(())
    }

    /// Whether sockets below an instance's directory can have a name.
    pub(crate) fn fits(&self, name: &str) -> Result {
        let longest = self.home.join(name).join(LONGEST_SOCKET);
        let length = longest.as_os_str().len();
        if length < SOCKET_LIMIT {
            return Ok(());
        }
        let (name, shown) = (self.version.quote(name), longest.display());
        Err(format!("instance name {name} too long: \"{shown}\" must be less than UNIX_PATH_MAX={SOCKET_LIMIT} characters, but is {length}").into())
    }

    /// What goes wrong with an instance.
    pub(crate) fn faults(&self, name: &str) -> Result<Faults> {
        Faults::of_one(&self.home, &self.home.join(name))
    }
}

/// The process of a file that holds its number; 0 where there is none. The file of a dead one is removed.
pub(crate) fn live_pid(path: &Path) -> std::result::Result<i32, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(words(&e)),
    };
    let pid: i32 =
        text.trim().parse().map_err(|_| format!("strconv.Atoi: parsing \"{}\": invalid syntax", text.trim()))?;
    if is_live(pid) {
        return Ok(pid);
    }
    let _already_gone = std::fs::remove_file(path);
    Ok(0)
}

/// Whether a process is there and not only its remains, which nobody may have collected yet.
pub(crate) fn is_live(pid: i32) -> bool {
    if pid <= 0 || kill(Pid::from_raw(pid), None) == Err(nix::Error::ESRCH) {
        return false;
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with(['Z', 'X']))
}

/// The port for ssh, as the host agent says it.
fn ask_agent(socket: &Path) -> std::result::Result<u16, String> {
    let ask = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(AGENT_DEADLINE))?;
        stream.write_all(b"GET /v1/info HTTP/1.1\r\nHost: lima-hostagent\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    let answer = ask().map_err(|e| words(&e))?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("EOF")?;
    let body: serde_json::Value = serde_json::from_str(body).map_err(|e| e.to_string())?;
    body["sshLocalPort"].as_u64().and_then(|port| u16::try_from(port).ok()).ok_or_else(|| "no sshLocalPort".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        Store { home: "/nowhere".into(), version: Version::newest() }
    }

    #[test]
    fn names_are_limas() {
        for name in ["a", "a-b", "a.b_c-1"] {
            store().valid(name).unwrap();
        }
        for name in ["", "a--b", "a-", "-a", "a/b", "a.yaml", "..", &"a".repeat(77)] {
            assert!(store().valid(name).is_err(), "{name}");
        }
        assert!(store().fits(&"a".repeat(76)).is_err());
    }

    #[test]
    fn the_dead_are_not_live() {
        assert!(is_live(nix::unistd::getpid().as_raw()));
        assert!(!is_live(0) && !is_live(i32::MAX));
    }
}
