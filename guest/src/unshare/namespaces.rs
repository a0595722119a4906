//! Entering namespaces of one's own as an ordinary user, and what to do where that is refused.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

/// What must be set for ordinary users to make namespaces, where the setting exists: its name, the value that refuses,
/// one that does not.
const SETTINGS: [(&str, u64, u64); 3] = [
    ("kernel/apparmor_restrict_unprivileged_userns", 1, 0),
    ("kernel/unprivileged_userns_clone", 0, 1),
    ("user/max_user_namespaces", 0, 10_000),
];

/// Enters namespaces of users (nobody but this user exists there), mounts (all private), processes (for children) and
/// IPC.
pub(super) fn enter() -> Result<(), String> {
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        return Err(
            "'unshare' is not for root: a sandbox never runs as the machine's root, use an ordinary user".into()
        );
    }
    let namespaces = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    let namespaces = namespaces | CloneFlags::CLONE_NEWIPC;
    unshare(namespaces).map_err(|e| refused("make namespaces", e))?;
    // Without this the group cannot be mapped: giving up a group can mean to gain what is denied to it.
    set("setgroups", "deny")?;
    set("uid_map", &format!("{user} {user} 1"))?;
    set("gid_map", &format!("{group} {group} 1"))?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(|e| refused("make mounts private", e))
}

fn set(file: &str, text: &str) -> Result<(), String> {
    fs::write(format!("/proc/self/{file}"), text).map_err(|e: io::Error| {
        refused(&format!("write '/proc/self/{file}'"), Errno::from_raw(e.raw_os_error().unwrap_or(0)))
    })
}

fn refused(what: &str, why: Errno) -> String {
    let said = format!("could not {what}: {}", why.desc());
    if !matches!(why, Errno::EPERM | Errno::EACCES | Errno::ENOSPC | Errno::EUSERS) {
        return said;
    }
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok();
    format!("{said}; {}", advice(read))
}

/// What the machine's owner can do. `read` answers the value of a kernel setting.
fn advice(read: impl Fn(&str) -> Option<u64>) -> String {
    let wrong = SETTINGS.iter().find(|(name, refuses, _)| read(name) == Some(*refuses));
    match wrong {
        Some((name, _, value)) => format!(
            "ordinary users may not make user namespaces here: 'sudo sysctl -w {}={value}' lets them (a line in \
             /etc/sysctl.d keeps it)",
            name.replace('/', ".")
        ),
        None => "ordinary users need user namespaces here: look at the settings \
                 kernel.apparmor_restrict_unprivileged_userns (0 on Ubuntu), kernel.unprivileged_userns_clone (1) and \
                 user.max_user_namespaces (not 0)"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_refuses_is_named() {
        let with = |name: &'static str, value| advice(move |asked| (asked == name).then_some(value));
        let named = |text: &str, setting: &str| text.contains(&format!("'sudo sysctl -w {setting}'"));
        let ubuntu = with("kernel/apparmor_restrict_unprivileged_userns", 1);
        assert!(named(&ubuntu, "kernel.apparmor_restrict_unprivileged_userns=0"), "{ubuntu}");
        let debian = with("kernel/unprivileged_userns_clone", 0);
        assert!(named(&debian, "kernel.unprivileged_userns_clone=1"), "{debian}");
        let hardened = with("user/max_user_namespaces", 0);
        assert!(named(&hardened, "user.max_user_namespaces=10000"), "{hardened}");
        let unknown = with("user/max_user_namespaces", 5);
        assert!(unknown.contains("look at the settings"), "{unknown}");
    }
}
