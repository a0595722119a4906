//! The way into a guest: the key of this Lima directory, the options that Lima gives `ssh`, and `ssh.config`, which holds
//! the same for whoever does without `limactl`.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::config::Config;
use crate::failure::{Failure, Result};
use crate::store::Instance;

/// Makes the key that opens all guests, unless it is there.
pub(crate) fn ensure_key(home: &Path) -> Result {
    let dir = home.join("_config");
    if dir.join("user.pub").exists() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|e| Failure::file("mkdir", &dir, &e))?;
    // Lima makes its key under this lock too, so that first starts side by side get one.
    let lock = fs::File::open(&dir).map_err(|e| Failure::file("open", &dir, &e))?;
    lock.lock().map_err(|e| Failure::file("flock", &dir, &e))?;
    if dir.join("user.pub").exists() {
        return Ok(());
    }
    generate_key(&dir.join("user"), "lima")
}

/// A key without a passphrase.
pub(crate) fn generate_key(path: &Path, comment: &str) -> Result {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-t", "ed25519", "-q", "-N", "", "-C", comment, "-f"]).arg(path).stdin(Stdio::null());
    let done = keygen.output().map_err(|e| Failure::file("exec", Path::new("ssh-keygen"), &e))?;
    let said = String::from_utf8_lossy(&done.stderr);
    if done.status.success() { Ok(()) } else { Err(format!("failed to run ssh-keygen: {}", said.trim()).into()) }
}

/// What every connection uses.
pub(crate) fn common(home: &Path) -> Vec<String> {
    let key = home.join("_config/user");
    let fixed = [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "NoHostAuthenticationForLocalhost=yes",
        "PreferredAuthentications=publickey",
        "Compression=no",
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "Ciphers=\"^aes128-gcm@openssh.com,aes256-gcm@openssh.com\"",
    ];
    [format!("IdentityFile=\"{}\"", key.display())].into_iter().chain(fixed.map(str::to_owned)).collect()
}

/// What connections to one instance use: they share one.
pub(crate) fn options(home: &Path, instance: &Instance, config: &Config) -> Vec<String> {
    let mut options = common(home);
    options.extend([
        format!("User={}", config.user.name),
        "ControlMaster=auto".into(),
        format!("ControlPath=\"{}\"", instance.file("ssh.sock").display()),
        "ControlPersist=yes".into(),
    ]);
    options
}

/// The options as arguments, with nobody's own configuration.
pub(crate) fn arguments(options: &[String]) -> Vec<String> {
    let named = options.iter().flat_map(|option| ["-o".to_owned(), option.clone()]);
    ["-F".to_owned(), "/dev/null".to_owned()].into_iter().chain(named).collect()
}

/// Writes `ssh.config`.
pub(crate) fn write_config(home: &Path, instance: &Instance, config: &Config, port: u16) -> Result {
    let mut text = format!(
        "# This SSH config file can be passed to 'ssh -F'.\n# It is written anew at each start.\nHost {}\n",
        instance.hostname()
    );
    for option in options(home, instance, config) {
        let (name, value) = option.split_once('=').unwrap_or((&option, ""));
        text.push_str(&format!("  {name} {value}\n"));
    }
    text.push_str(&format!("  Hostname 127.0.0.1\n  Port {port}\n"));
    let path = instance.file("ssh.config");
    fs::write(&path, text).map_err(|e| Failure::file("open", &path, &e))
}
