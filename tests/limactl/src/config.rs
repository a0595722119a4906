//! `lima.yaml`: what of it matters here, what stands in for what is missing, and what Lima refuses.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use nix::unistd::{User, getuid};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::failure::{Failure, Result};
use crate::version::Version;

/// An instance's configuration, with everything filled in.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) vm_type: String,
    pub(crate) arch: String,
    pub(crate) cpus: u64,
    pub(crate) memory: u64,
    pub(crate) disk: u64,
    pub(crate) images: Vec<Image>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) provision: Vec<Provision>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) param: BTreeMap<String, String>,
    pub(crate) plain: bool,
    pub(crate) ssh_port: u16,
    pub(crate) user: GuestUser,
    pub(crate) message: String,
    /// All of it, as `list` shows it.
    pub(crate) shown: Value,
}

/// Who works in the guest.
#[derive(Debug, Clone)]
pub(crate) struct GuestUser {
    pub(crate) name: String,
    pub(crate) home: String,
    pub(crate) shell: String,
    pub(crate) uid: u32,
}

/// Where a disk comes from.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Image {
    pub(crate) location: String,
}

/// A directory of the host's.
#[derive(Debug, Clone)]
pub(crate) struct Mount {
    pub(crate) location: PathBuf,
    pub(crate) point: PathBuf,
    pub(crate) writable: bool,
}

/// A script that runs at boot.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Provision {
    #[serde(default = "Provision::usual_mode")]
    pub(crate) mode: String,
    #[serde(default)]
    pub(crate) script: String,
}

impl Provision {
    fn usual_mode() -> String {
        "system".into()
    }
}

/// The file, as far as it is understood.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct File {
    vm_type: Option<String>,
    arch: Option<String>,
    cpus: Option<u64>,
    memory: Option<String>,
    disk: Option<String>,
    images: Vec<Image>,
    mounts: Vec<FileMount>,
    mount_type: Option<String>,
    provision: Vec<Provision>,
    env: BTreeMap<String, String>,
    param: BTreeMap<String, String>,
    plain: bool,
    ssh: FileSsh,
    user: FileUser,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FileMount {
    location: String,
    mount_point: Option<String>,
    writable: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FileSsh {
    local_port: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FileUser {
    name: Option<String>,
    home: Option<String>,
    shell: Option<String>,
    uid: Option<u32>,
}

/// The keys that Lima knows at the top; it warns of others.
const KEYS: &str = "minimumLimaVersion base vmType vmOpts os arch images cpuType cpus memory disk additionalDisks mounts \
    mountTypesUnsupported mountType mountInotify ssh firmware audio video upgradePackages containerd guestInstallPrefix \
    probes provision portForwards copyToHost message networks env param dns hostResolver propagateProxyEnv caCerts rosetta \
    nestedVirtualization plain timezone user saveState";
const MODES: [&str; 5] = ["system", "user", "boot", "dependency", "ansible"];
const SYSTEM: [&str; 10] = ["/", "/bin", "/dev", "/etc", "/home", "/opt", "/sbin", "/tmp", "/usr", "/var"];

/// The file's text as a tree.
pub(crate) fn parse(text: &str) -> Result<Value> {
    let tree: Value =
        serde_saphyr::from_str(text).map_err(|e| Failure::new(format!("failed to unmarshal YAML: {e}")))?;
    match tree {
        Value::Object(_) => Ok(tree),
        Value::Null => Ok(json!({})),
        _ => Err("failed to unmarshal YAML: a mapping is expected".into()),
    }
}

/// Top-level keys that Lima does not know.
pub(crate) fn unknown_keys(tree: &Value) -> Vec<String> {
    let known = |key: &&String| KEYS.split_whitespace().any(|k| k == key.as_str());
    tree.as_object().into_iter().flat_map(Map::keys).filter(|key| !known(key)).cloned().collect()
}

impl Config {
    /// Fills in what the tree leaves out, for an instance made by `version`.
    pub(crate) fn fill(tree: &Value, name: &str, version: &Version) -> Result<Self> {
        let file: File =
            serde_json::from_value(tree.clone()).map_err(|e| Failure::new(format!("failed to unmarshal YAML: {e}")))?;
        let user = guest_user(file.user, version)?;
        let home = std::env::var("HOME").unwrap_or_default();
        let size = |text: &Option<String>, usual: &str, field: &str| {
            let text = text.as_deref().unwrap_or(usual);
            bytes(text).ok_or(Failure::new(format!("field `{field}` has an invalid value: invalid size: '{text}'")))
        };
        let memory = size(&file.memory, "4GiB", "memory")?;
        let disk = size(&file.disk, "100GiB", "disk")?;
        let mounts = file.mounts.iter().map(|mount| {
            let location = expanded(&mount.location, &home);
            let point = mount.mount_point.as_ref().map(|point| {
                let point = point.replace("{{.Home}}", &user.home).replace("{{.User}}", &user.name);
                PathBuf::from(point.replace("{{.Name}}", name))
            });
            Mount { point: point.unwrap_or_else(|| location.clone()), location, writable: mount.writable }
        });
        let mounts: Vec<_> = mounts.collect();
        let usual_cpus = std::thread::available_parallelism().map_or(1, |n| n.get().min(4)) as u64;
        let vm_type = file.vm_type.unwrap_or_else(|| "qemu".into());
        let arch = file.arch.unwrap_or_else(|| std::env::consts::ARCH.into());
        let cpus = file.cpus.unwrap_or(usual_cpus);
        let mut shown = tree.clone();
        let shown_mounts: Vec<_> = mounts
            .iter()
            .map(|m| json!({"location": m.location, "mountPoint": m.point, "writable": m.writable}))
            .collect();
        shown["vmType"] = json!(vm_type);
        shown["os"] = json!("Linux");
        shown["arch"] = json!(arch);
        shown["cpus"] = json!(cpus);
        shown["memory"] = json!(file.memory.as_deref().unwrap_or("4GiB"));
        shown["disk"] = json!(file.disk.as_deref().unwrap_or("100GiB"));
        shown["mounts"] = json!(shown_mounts);
        shown["mountType"] = json!(file.mount_type.as_deref().unwrap_or("9p"));
        shown["plain"] = json!(file.plain);
        shown["user"] =
            json!({"name": user.name, "comment": "", "home": user.home, "shell": user.shell, "uid": user.uid});
        Ok(Self {
            vm_type,
            arch,
            cpus,
            memory,
            disk,
            images: file.images,
            mounts: if file.plain { vec![] } else { mounts },
            provision: file.provision,
            env: file.env,
            param: file.param,
            plain: file.plain,
            ssh_port: file.ssh.local_port,
            user,
            message: file.message,
            shown,
        })
    }

    /// What Lima refuses.
    pub(crate) fn validate(&self) -> Result {
        let refuse = |text: String| Err(Failure::new(text));
        if !["qemu", "vz", "wsl2", "krunkit", "ext"].contains(&self.vm_type.as_str()) {
            return refuse(format!("field `vmType` must be \"qemu\", \"vz\", \"wsl2\"; got \"{}\"", self.vm_type));
        }
        if self.vm_type != "qemu" {
            return refuse(format!("vmType \"{}\" is not supported on this host", self.vm_type));
        }
        if !["x86_64", "aarch64", "armv7l", "ppc64le", "riscv64", "s390x"].contains(&self.arch.as_str()) {
            return refuse(format!("field `arch` must be \"x86_64\", \"aarch64\", ...; got \"{}\"", self.arch));
        }
        if self.images.is_empty() {
            return refuse("field `images` must be set".into());
        }
        if self.cpus == 0 {
            return refuse("field `cpus` must be set".into());
        }
        for (at, mount) in self.mounts.iter().enumerate() {
            let shown = mount.location.display();
            if !mount.location.is_absolute() {
                return refuse(format!("field `mounts[{at}].location` must be an absolute path, got \"{shown}\""));
            }
            if mount.location.exists() && !mount.location.is_dir() {
                return refuse(format!("field `mounts[{at}].location` refers to a non-directory path: \"{shown}\""));
            }
            let point = &mount.point;
            if !point.is_absolute() || point.components().any(|c| c == Component::ParentDir) {
                return refuse(format!(
                    "field `mounts[{at}].mountPoint` must be an absolute path, got \"{}\"",
                    point.display()
                ));
            }
            if SYSTEM.iter().any(|path| point == Path::new(path)) {
                return refuse(format!(
                    "field `mounts[{at}].mountPoint` must not be a system path such as /etc or /usr"
                ));
            }
            if point == Path::new(&self.user.home) {
                return refuse(format!("field `mounts[{at}].mountPoint` is the reserved internal home directory"));
            }
        }
        for (at, one) in self.provision.iter().enumerate() {
            if !MODES.contains(&one.mode.as_str()) {
                return refuse(format!(
                    "field `provision[{at}].mode` must one of \"system\", \"user\", \"boot\", \"dependency\", or \"ansible\""
                ));
            }
        }
        if self.ssh_port == 22 {
            return refuse("field `ssh.localPort` must not be 22".into());
        }
        Ok(())
    }
}

/// The host's user, unless the file or the name says otherwise.
fn guest_user(file: FileUser, version: &Version) -> Result<GuestUser> {
    let user = User::from_uid(getuid()).ok().flatten().ok_or("user: unknown userid")?;
    let letters = |name: &str| {
        let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        first && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
    };
    let name = file.name.unwrap_or_else(|| if letters(&user.name) { user.name } else { "lima".into() });
    Ok(GuestUser {
        home: file
            .home
            .map_or_else(|| format!("/home/{name}.{}", version.home_suffix()), |home| home.replace("{{.User}}", &name)),
        shell: file.shell.unwrap_or_else(|| "/bin/bash".into()),
        uid: file.uid.unwrap_or(getuid().as_raw()),
        name,
    })
}

fn expanded(path: &str, home: &str) -> PathBuf {
    match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => PathBuf::from(format!("{home}{rest}")),
        _ => PathBuf::from(path.trim_end_matches('/')),
    }
}

/// `4GiB` in bytes.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim().find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim().to_lowercase();
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    Some((number * 1024f64.powi(power)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> Config {
        Config::fill(&parse(text).unwrap(), "vm", &Version::newest()).unwrap()
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let config = fill(
            "images: [{location: /x}]\nmemory: 1.5GiB\nmounts: [{location: /data/}, {location: ~/x, writable: true}]",
        );
        assert_eq!((config.memory, config.disk), (1_610_612_736, 107_374_182_400));
        assert_eq!(config.mounts[0].point, Path::new("/data"));
        assert!(!config.mounts[0].writable && config.mounts[1].writable);
        assert_eq!(config.shown["user"]["home"], json!(config.user.home));
        assert!(config.user.home.ends_with(".guest"));
        config.validate().unwrap();
    }

    #[test]
    fn what_lima_refuses_is_refused() {
        for (text, word) in [
            ("{}", "images"),
            ("{images: [{location: /x}], mounts: [{location: rel}]}", "absolute"),
            ("{images: [{location: /x}], mounts: [{location: /no/such/x, mountPoint: /etc}]}", "system path"),
            ("{images: [{location: /x}], vmType: vm}", "vmType"),
            ("{images: [{location: /x}], provision: [{mode: never}]}", "provision[0].mode"),
        ] {
            let refusal = fill(text).validate().unwrap_err().message;
            assert!(refusal.contains(word), "{text}: {refusal}");
        }
    }

    #[test]
    fn unknown_keys_are_noticed() {
        assert_eq!(unknown_keys(&json!({"cpus": 1, "memroy": "1GiB"})), ["memroy"]);
    }
}
