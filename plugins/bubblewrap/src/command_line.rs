//! The decision as bwrap's command line. Pure: nothing is looked up and nothing can fail.

use std::path::PathBuf;

use workmux_plugin_api::{Access, GuestCommand, Word};

use crate::network::Net;
use crate::sandbox::Sandbox;
use crate::step::Step;

/// bwrap's arguments for this sandbox and its first process.
pub(crate) fn arguments(sandbox: &Sandbox, command: &GuestCommand) -> Vec<Word> {
    let mut args = Args(Vec::new());
    // `--unshare-all` alone only tries the user namespace.
    args.words(["--unshare-all", "--unshare-user", "--disable-userns"]);
    if sandbox.network == Net::Host {
        args.words(["--share-net"]);
    }
    // Our first process is PID 1, so that it gets the signals and its end is the sandbox's.
    args.words(["--as-pid-1", "--die-with-parent", "--cap-drop", "ALL"]);
    args.words(["--hostname", &sandbox.hostname]);
    // Through options and not bwrap's own environment: a guest's `LD_PRELOAD` is not for a program on the host.
    args.words(["--clearenv"]);
    for (name, value) in &command.env {
        args.0.extend(["--setenv".into(), name.as_str().into(), value.clone()]);
    }
    for step in &sandbox.steps {
        args.step(step);
    }
    // The root itself is memory, too: whatever a guest wrote there would be lost without a word.
    args.words(["--remount-ro", "/"]);
    args.paths("--chdir", [command.cwd.clone()]);
    args.words(["--"]);
    if let Some(limit) = &sandbox.processes {
        args.0.extend(limit.prefix());
    }
    args.0.extend(command.argv.iter().cloned());
    args.0
}

struct Args(Vec<Word>);

impl Args {
    fn words<const N: usize>(&mut self, words: [&str; N]) {
        self.0.extend(words.map(Word::from));
    }

    fn paths<const N: usize>(&mut self, option: &str, paths: [PathBuf; N]) {
        self.0.push(option.into());
        self.0.extend(paths.map(Word::from));
    }

    fn step(&mut self, step: &Step) {
        match step.clone() {
            Step::Bind { source, target, access } => {
                let option = if access == Access::ReadOnly { "--ro-bind" } else { "--bind" };
                self.paths(option, [source, target]);
            }
            Step::Tmpfs { target, mode, size } => {
                self.words(["--perms", &format!("{mode:04o}"), "--size", &size.to_string()]);
                self.paths("--tmpfs", [target]);
            }
            Step::Seal { target } => self.paths("--remount-ro", [target]),
            Step::Link { at, to } => self.paths("--symlink", [to, at]),
            Step::Proc => self.words(["--proc", "/proc"]),
            Step::Dev => self.words(["--dev", "/dev"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use workmux_plugin_api::{Limit, Mask, MaskKind, Mount, Network, Policy, SandboxSpec, User};

    use super::*;
    use crate::Tools;
    use crate::machine::Machine;
    use crate::sandbox;
    use crate::settings::Table;

    /// One option a line, with its arguments.
    fn lines(args: &[Word], replace: &str) -> String {
        let mut text = String::new();
        for word in args {
            let word = word.as_os_str().to_str().unwrap().replace(replace, "[tmp]");
            let quoted = if word.is_empty() || word.contains(' ') { format!("'{word}'") } else { word };
            text.push(if quoted.starts_with("--") { '\n' } else { ' ' });
            text.push_str(&quoted);
        }
        text.trim_start().to_owned()
    }

    #[test]
    fn a_whole_sandbox() {
        let tmp = tempfile::tempdir().unwrap();
        let root = tmp.path();
        for directory in [
            "etc/ssl/certs",
            "usr",
            "lib64",
            "tree/wt/private",
            "skeleton/objects",
            "sock",
            "claude",
            "proc/net",
            "scratch",
        ] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        for file in ["etc/localtime", "tree/wt/.git", "tree/wt/.env", "guest", "proc/net/route"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        for (directory, to) in [("bin", "usr/bin"), ("lib", "usr/lib")] {
            std::os::unix::fs::symlink(to, root.join(directory)).unwrap();
        }
        let spec = SandboxSpec {
            run: "abcdef0123456789abcdef0123456789".into(),
            slug: "fix-login".into(),
            worktree: "/tree/wt".into(),
            cwd: "/tree/wt/sub dir".into(),
            user: User { uid: 1000, gid: 1000 },
            home: "/home/ann".into(),
            mounts: vec![
                Mount::read_write(root.join("tree/wt"), "/tree/wt"),
                Mount::read_only(root.join("tree/wt/.git"), "/tree/wt/.git"),
                Mount::read_write(root.join("skeleton"), "/home/ann/repo/.git"),
                Mount::read_only(root.join("skeleton/objects"), "/home/ann/repo/.git/objects"),
                Mount::read_only(root.join("sock"), "/run/workmux/sock"),
                Mount::read_only(root.join("guest"), "/run/workmux/bin/workmux"),
                Mount::read_write(root.join("claude"), "~/.claude"),
            ],
            policy: Policy {
                network: Network::None,
                masks: vec![
                    Mask { target: "/tree/wt/.env".into(), kind: MaskKind::File },
                    Mask { target: "/tree/wt/private".into(), kind: MaskKind::Directory },
                ],
                limits: workmux_plugin_api::Limits {
                    processes: Some(Limit { value: 1024, required: false }),
                    ..Default::default()
                },
            },
            search_path: vec!["/usr/local/bin".into(), "/home/ann/.local/bin".into(), "/usr/bin".into()],
            scratch: root.join("scratch"),
            ..SandboxSpec::default()
        };
        let tools = Tools { prlimit: Some("/usr/bin/prlimit".into()), ..Tools::default() };
        let instance =
            sandbox::prepare(&spec, &Table::default(), &tools, &Machine::at(root), &root.join("state"), true).unwrap();
        assert_eq!(std::fs::read_dir(&spec.scratch).unwrap().count(), 0, "a dry run writes nothing");
        assert!(!root.join("state").exists());
        let command = GuestCommand {
            argv: ["/run/workmux/bin/workmux", "init", "/run/workmux/sock/control"].map(Word::from).into(),
            env: instance.env.clone(),
            cwd: spec.cwd.clone(),
        };
        let sandbox = Sandbox::from_state(&instance.state).unwrap();
        insta::assert_snapshot!(lines(&arguments(&sandbox, &command), root.to_str().unwrap()), @"
        --unshare-all
        --unshare-user
        --disable-userns
        --as-pid-1
        --die-with-parent
        --cap-drop ALL
        --hostname fix-login
        --clearenv
        --setenv HOME /home/ann
        --setenv PATH /run/workmux/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin
        --setenv USER ann
        --setenv LOGNAME ann
        --setenv SHELL /bin/sh
        --setenv LANG C.UTF-8
        --ro-bind /usr /usr
        --symlink usr/bin /bin
        --symlink usr/lib /lib
        --ro-bind /lib64 /lib64
        --proc /proc
        --dev /dev
        --perms 1777
        --size 536870912
        --tmpfs /dev/shm
        --remount-ro /dev
        --perms 1777
        --size 536870912
        --tmpfs /tmp
        --perms 1777
        --size 536870912
        --tmpfs /var/tmp
        --perms 0755
        --size 16777216
        --tmpfs /run
        --perms 0755
        --size 16777216
        --tmpfs /home
        --perms 0700
        --size 536870912
        --tmpfs /home/ann
        --ro-bind [tmp]/state/etc-8758e39d570bba390c8de60da9e814c2 /run/etc
        --ro-bind /etc/ssl/certs /etc/ssl/certs
        --symlink /run/etc/localtime /etc/localtime
        --symlink /run/etc/group /etc/group
        --symlink /run/etc/hostname /etc/hostname
        --symlink /run/etc/hosts /etc/hosts
        --symlink /run/etc/nsswitch.conf /etc/nsswitch.conf
        --symlink /run/etc/passwd /etc/passwd
        --symlink /run/etc/resolv.conf /etc/resolv.conf
        --bind [tmp]/tree/wt /tree/wt
        --ro-bind [tmp]/tree/wt/.git /tree/wt/.git
        --bind [tmp]/skeleton /home/ann/repo/.git
        --ro-bind [tmp]/skeleton/objects /home/ann/repo/.git/objects
        --ro-bind [tmp]/sock /run/workmux/sock
        --ro-bind [tmp]/guest /run/workmux/bin/workmux
        --bind [tmp]/claude /home/ann/.claude
        --ro-bind [tmp]/scratch/empty-file /tree/wt/.env
        --ro-bind [tmp]/scratch/empty-directory /tree/wt/private
        --remount-ro /
        --chdir '/tree/wt/sub dir'
        -- /usr/bin/prlimit
        --nproc=1024
        -- /run/workmux/bin/workmux init /run/workmux/sock/control
        ");
        assert_eq!((instance.name.as_str(), instance.notes.len()), ("bubblewrap-abcdef", 0));
        let host = Sandbox { network: Net::Host, ..Sandbox::default() };
        assert!(arguments(&host, &command).contains(&"--share-net".into()));
    }
}
