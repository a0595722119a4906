//! What a new machine is made from: `lima.yaml`, pure. It is written as JSON, which is YAML with nothing to misread in it.

use serde_json::{Value, json};

use crate::exports::Export;

/// Everything that decides how a machine is made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template<'a> {
    /// `sandbox.image`: a URL, or a file.
    pub(crate) image: Option<&'a str>,
    pub(crate) cpus: u32,
    /// Bytes.
    pub(crate) memory: u64,
    /// Bytes.
    pub(crate) disk: u64,
    pub(crate) exports: &'a [Export],
    /// In order; the mode is Lima's.
    pub(crate) provision: Vec<Script>,
    pub(crate) machine: Machine,
}

/// A script that runs in the machine at each start; ours do their work once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    /// As root, or as the machine's user.
    pub(crate) root: bool,
    pub(crate) text: String,
}

/// The computer that runs the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) macos: bool,
    pub(crate) arm: bool,
}

impl Machine {
    pub(crate) const HERE: Self = Self { macos: cfg!(target_os = "macos"), arm: cfg!(target_arch = "aarch64") };

    /// As Lima names it.
    fn arch(self) -> &'static str {
        if self.arm { "aarch64" } else { "x86_64" }
    }
}

/// The image of a machine whose user configured none.
pub(crate) fn default_image(machine: Machine) -> String {
    let arch = if machine.arm { "arm64" } else { "amd64" };
    format!("https://cloud.debian.org/images/cloud/trixie/latest/debian-13-genericcloud-{arch}.qcow2")
}

impl Template<'_> {
    pub(crate) fn text(&self) -> String {
        let text = serde_json::to_string_pretty(&self.value()).unwrap_or_default();
        format!(
            "# Made by workmux. What it says of mounts, processors and memory is brought up to date by workmux.\n{text}\n"
        )
    }

    fn value(&self) -> Value {
        let machine = self.machine;
        let image = match self.image {
            Some(location) => json!({ "location": location }),
            None => json!({ "location": default_image(machine), "arch": machine.arch() }),
        };
        let mut value = json!({
            "vmType": if machine.macos { "vz" } else { "qemu" },
            "images": [image],
            "cpus": self.cpus,
            "memory": size(self.memory),
            "disk": size(self.disk),
            // Starts 30 to 40 seconds sooner; nothing here needs it.
            "containerd": { "system": false, "user": false },
            "mounts": mounts(self.exports),
            // What an agent serves in its machine is not put on the host's loopback.
            "portForwards": [{ "guestIP": "0.0.0.0", "guestPortRange": [1, 65535], "proto": "any", "ignore": true }],
            // No key of the user's goes along.
            "ssh": { "loadDotSSHPubKeys": false, "forwardAgent": false },
            "provision": self.provision.iter().map(|script| {
                json!({ "mode": if script.root { "system" } else { "user" }, "script": script.text })
            }).collect::<Vec<_>>(),
        });
        if self.image.is_none() && !machine.macos {
            // The kernel of that image cannot.
            value["mountTypesUnsupported"] = json!(["9p"]);
        }
        if machine.macos && machine.arm {
            value["vmOpts"] = json!({ "vz": { "rosetta": { "enabled": true, "binfmt": true } } });
        }
        value
    }
}

/// As Lima reads them.
pub(crate) fn mounts(exports: &[Export]) -> Value {
    let mounts = exports.iter().map(|export| {
        json!({
            "location": export.location,
            "mountPoint": export.mount_point(),
            "writable": export.writable,
            // Files appear while the machine runs: nothing may be remembered as missing.
            "9p": { "cache": if export.writable { "mmap" } else { "none" } },
        })
    });
    mounts.collect()
}

/// Bytes in Lima's words.
pub(crate) fn size(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 30) { format!("{}GiB", bytes >> 30) } else { format!("{}MiB", bytes >> 20) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template<'a>(image: Option<&'a str>, exports: &'a [Export], machine: Machine) -> Template<'a> {
        Template {
            image,
            cpus: 4,
            memory: 4 << 30,
            disk: (100 << 30) + (1 << 20),
            exports,
            provision: vec![
                Script { root: true, text: "#!/bin/sh\ntrue \"a\"\n".into() },
                Script { root: false, text: "echo hi\n".into() },
            ],
            machine,
        }
    }

    #[test]
    fn a_machine_on_linux() {
        let exports = [
            Export { location: "/home/ann/.local/state/workmux/host".into(), writable: false },
            Export { location: "/home/ann/a 'b\" c".into(), writable: true },
        ];
        insta::assert_snapshot!(template(None, &exports, Machine { macos: false, arm: false }).text());
    }

    #[test]
    fn a_machine_on_a_mac_with_an_image_of_the_users() {
        let image = Some("file:///images/mine.qcow2");
        insta::assert_snapshot!(template(image, &[], Machine { macos: true, arm: true }).text());
    }
}
