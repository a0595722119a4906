//! A program in a layout of its own: what it gets, what it sees, and what stays out of reach.
//!
//! Everything runs as an ordinary user, whoever runs the tests.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code, helpers included")]

#[cfg(feature = "mutants")]
mod mutants;
mod support;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{Pid, geteuid};
use support::{GUEST, Run, Supervisor, children, command, eventually, have, state};
use tempfile::TempDir;
use workmux_guest::control::{FromGuest, Start};

const NOBODY: u32 = 65534;

/// Makes this command one of an ordinary user.
fn as_user(command: &mut Command) -> &mut Command {
    if geteuid().is_root() { command.uid(NOBODY).gid(NOBODY) } else { command }
}

/// A directory of an ordinary user. In all texts here `@` stands for it.
struct Machine {
    _dir: TempDir,
    root: PathBuf,
    program: PathBuf,
}

impl Machine {
    /// None where users cannot make namespaces, which is found out with another program; says so.
    fn new() -> Option<Self> {
        let probe = ["-Urmpf", "--mount-proc", "true"];
        let usable = have("unshare") && as_user(Command::new("unshare").args(probe)).output().unwrap().status.success();
        if !usable {
            eprintln!("SKIPPED: 'unshare {}' cannot be used here", probe.join(" "));
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
        // The program lies where the user may read it, and outside of what tests cover.
        let program = root.join("program");
        // Linked where that can be: a copy is busy while a process that another test starts still has it open for writing.
        fs::hard_link(GUEST, &program).or_else(|_| fs::copy(GUEST, &program).map(drop)).unwrap();
        let files = root.join("files");
        fs::create_dir(&files).unwrap();
        give(&files);
        Some(Self { _dir: dir, root: files, program })
    }

    /// A usual machine: a home with a secret, a directory to work in, and something outside.
    fn furnished() -> Option<Self> {
        let machine = Self::new()?;
        machine.sh("mkdir -p @/home/work/.git/hooks @/home/conf @/empty @/other; echo secret >@/home/secret; \
             echo work >@/home/work/file; echo hook >@/home/work/.git/hooks/post; echo env >@/home/work/.env; \
             echo conf >@/home/conf/file");
        Some(machine)
    }

    fn text(&self, text: &str) -> String {
        text.replace('@', self.root.to_str().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Runs a script as the user, without the program.
    fn sh(&self, text: &str) -> String {
        let output = as_user(Command::new("sh").args(["-ec", &self.text(text)])).output().unwrap();
        assert!(output.status.success(), "{text}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn words(&self, options: &str) -> Vec<OsString> {
        let words = options.split_whitespace().map(|word| self.text(word).into());
        [OsString::from("unshare")].into_iter().chain(words).collect()
    }

    /// The program with these options and this script in it.
    fn unshare(&self, options: &str, script: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.words(options)).args(["--", "/bin/sh", "-c", &self.text(script)]).stdin(Stdio::null());
        as_user(&mut command);
        command
    }

    /// What the script printed. It must succeed, and say nothing on standard error.
    fn run(&self, options: &str, script: &str) -> String {
        let output = self.unshare(options, script).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{options}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Nothing is started; answers why.
    fn refuses(&self, options: &str) -> String {
        refused(&self.unshare(options, "echo started").output().unwrap())
    }
}

fn refused(output: &Output) -> String {
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(125), &b""[..]), "{output:?}");
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    said.strip_prefix("Error: ").unwrap().trim_end().to_owned()
}

fn give(path: &Path) {
    if geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// Something that runs while a test does.
struct Alive(Child);

impl Drop for Alive {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn words_and_the_code_go_through_unchanged_and_no_variable_but_those_given() {
    let Some(machine) = Machine::new() else { return };
    let odd: [&[u8]; 4] = [b"\xff\xfe", b"", b"a b\n'\"$", b"--tmpfs"];
    let mut command = Command::new(&machine.program);
    command.args(["unshare", "--", "/bin/sh", "-c", "printf '%s|' \"$@\"; exit 7", "sh"]);
    let output = as_user(command.args(odd.map(OsStr::from_bytes))).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(output.stdout, [odd.join(&b"|"[..]), b"|".to_vec()].concat());

    let mut command = Command::new(&machine.program);
    let odd = OsString::from_vec(b"A=x=\xff\ny".to_vec());
    command.args(["unshare", "--env", "B=1", "--env"]).arg(odd).args(["--env", "LANG=", "--"]);
    command.args(["/bin/cat", "/proc/self/environ"]).env("SECRET", "1");
    assert_eq!(as_user(&mut command).output().unwrap().stdout, b"B=1\0A=x=\xff\ny\0LANG=\0");
}

#[test]
fn it_starts_as_the_first_process_without_any_privilege() {
    let Some(machine) = Machine::new() else { return };
    let said = machine.run("", "echo $$ $(pwd) $(id -u); echo /proc/[0-9]*; cat /proc/1/comm; cat /proc/self/status");
    let user = if geteuid().is_root() { NOBODY } else { geteuid().as_raw() };
    assert_eq!(said.lines().take(3).collect::<Vec<_>>(), [&format!("1 / {user}"), "/proc/1", "sh"]);
    let field = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t")).unwrap();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "SigBlk", "SigIgn"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
}

#[test]
fn the_terminals_of_others_are_not_there_and_new_ones_can_be_had() {
    let Some(machine) = Machine::new() else { return };
    let mut other = nix::pty::openpty(None, None).unwrap();
    let name = nix::unistd::ttyname(&mut other.slave).unwrap();
    let said = machine
        .run("", &format!("ls /dev/pts; [ -e {} ] && echo there; script -qc tty /dev/null 2>&1; true", name.display()));
    let said: Vec<&str> = said.lines().map(str::trim).collect();
    assert_eq!(said, ["ptmx", "/dev/pts/0"]);
}

#[test]
fn devices_are_the_usual_ones_and_no_others() {
    let Some(machine) = Machine::new() else { return };
    let said = machine.run(
        "--tmpfs /dev/shm",
        "ls /dev; readlink /dev/fd /dev/stdin /dev/ptmx; echo x >/dev/null; head -c 3 /dev/zero | wc -c; \
         head -c 3 /dev/urandom | wc -c; echo x >/dev/shm/x; (: >/dev/x) 2>/dev/null || echo refused; \
         (: >/dev/full; echo x >/dev/full) 2>/dev/null || echo full; rm -f /dev/null 2>/dev/null; [ -c /dev/null ] && echo kept",
    );
    let devices = ["fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty"];
    let devices = [&devices[..], &["urandom", "zero"]].concat();
    let rest = ["/proc/self/fd", "/proc/self/fd/0", "pts/ptmx", "3", "3", "refused", "full", "kept"];
    assert_eq!(said.lines().collect::<Vec<_>>(), [devices, rest.to_vec()].concat());
}

#[test]
fn its_namespaces_are_its_own() {
    let Some(machine) = Machine::new() else { return };
    let list = "for n in user mnt pid ipc; do readlink /proc/self/ns/$n; done";
    let (inside, outside) = (machine.run("", list), machine.sh(list));
    for (inside, outside) in inside.lines().zip(outside.lines()) {
        assert_ne!(inside, outside);
    }
}

#[test]
fn only_the_standard_descriptors_are_inherited() {
    let Some(machine) = Machine::furnished() else { return };
    let script = format!("exec 7</ 8<{}; exec \"$@\"", machine.text("@/home/secret"));
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).arg(&machine.program);
    command.args(machine.words("--bind @/home/work @/other --empty-file @/home/secret"));
    let output = as_user(command.args(["--", "/bin/ls", "/proc/self/fd"])).output().unwrap();
    // The last is the one it lists with.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n1\n2\n3\n", "{output:?}");
}

#[test]
fn a_death_by_signal_is_passed_on() {
    let Some(machine) = Machine::new() else { return };
    let mut command = machine.unshare("", "echo ready; exec sleep 1000");
    let mut parent = Alive(command.stdout(Stdio::piped()).spawn().unwrap());
    parent.0.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    let [first] = children(parent.0.id() as i32)[..] else { panic!("one child") };
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    assert_eq!(parent.0.wait().unwrap().code(), Some(137));
}

#[test]
fn p58_nothing_outlives_the_parent() {
    let Some(machine) = Machine::new() else { return };
    let family = "trap '' TERM HUP; setsid sleep 1000 & (setsid sh -c 'setsid sleep 1000 & sleep 1000' &)";
    let mut command = machine.unshare("", &format!("{family}; echo ready; while :; do sleep 1000; done"));
    let mut parent = Alive(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut stdout = parent.0.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 6]).unwrap();
    kill(Pid::from_raw(parent.0.id() as i32), Signal::SIGKILL).unwrap();
    assert_eq!(parent.0.wait().unwrap().signal(), Some(9));
    // It ends when the last process that could write is gone.
    assert_eq!(stdout.read_to_end(&mut Vec::new()).unwrap(), 0);
}

#[test]
fn a_source_below_what_is_covered_is_bound_all_the_same() {
    let Some(machine) = Machine::furnished() else { return };
    let options = "--tmpfs @/home --tmpfs @/absent --bind @/home/work @/home/work --ro-bind @/home/conf @/made/a/conf \
                   --ro-bind @/home/secret @/made/b/secret";
    let script = "ls -A @/home; cat @/home/work/file @/made/a/conf/file @/made/b/secret; echo new >@/home/work/new; \
                  stat -c %a @/home; test ! -e @/absent";
    assert_eq!(machine.run(options, script), "work\nwork\nconf\nsecret\n755\n");
    assert_eq!(fs::read_to_string(machine.path("home/work/new")).unwrap(), "new\n");
    // What was missing was made, and is empty without the mounts.
    assert_eq!(
        machine.sh("ls -A @/made/a/conf; cat @/made/b/secret; stat -c %F @/made/b/secret"),
        "regular empty file\n"
    );
}

#[test]
fn a_source_shows_what_was_there_at_the_beginning() {
    let Some(machine) = Machine::furnished() else { return };
    let options = "--tmpfs @/home/conf --empty-file @/home/work/.env --empty-dir @/home/work \
                   --bind @/home/conf @/other --ro-bind @/home/work @/empty --bind @/home/work @/home/work";
    let script = "ls -A @/home/conf; cat @/other/file @/empty/.env @/home/work/.env";
    assert_eq!(machine.run(options, script), "conf\nenv\nenv\n");
}

#[test]
fn options_are_done_in_their_order() {
    let Some(machine) = Machine::furnished() else { return };
    let ls = "ls -A @/other";
    assert_eq!(machine.run("--bind @/home/conf @/other --tmpfs @/other", ls), "");
    assert_eq!(machine.run("--tmpfs @/other --bind @/home/conf @/other", ls), "file\n");
}

/// Says for each path whether it can be written.
const WRITABLE: &str = "w() { for d; do (: >$d/probe) 2>/dev/null && echo yes || echo no; done; }";

#[test]
fn p13_what_is_bound_read_only_stays_so_with_all_below_it() {
    let Some(machine) = Machine::furnished() else { return };
    // From within another one, whose mounts come along.
    let outer = machine.program.display();
    let outer = format!("--bind @/other @/home/work/.git/hooks -- {outer} unshare");
    let options = format!("{outer} --ro-bind @/home/work @/empty --bind @/home/conf @/other");
    let nested = "unshare -Urm sh -c 'mount -o remount,bind,rw @/empty; mount -o remount,bind,rw @/empty/.git/hooks; \
                  umount @/empty/.git/hooks; mount --rbind @/empty @/other && mount -o remount,bind,rw @/other; \
                  w @/empty @/empty/.git @/empty/.git/hooks @/other' 2>/dev/null";
    let nested = nested.replace("-c '", &format!("-c '{WRITABLE}; "));
    let script =
        format!("{WRITABLE}; w @/empty @/empty/.git @/empty/.git/hooks @/home/work @/home/work/.git/hooks; {nested}");
    assert_eq!(machine.run(&options, &script), "no\nno\nno\nyes\nyes\nno\nno\nno\nno\n");
    // A single file.
    let script = "(echo x >>@/home/work/file) 2>/dev/null || cat @/home/work/file";
    assert_eq!(machine.run("--ro-bind @/home/work/file @/home/work/file", script), "work\n");
}

/// Before Linux 5.12 mounts can only be changed one by one.
#[cfg(feature = "mutants")]
#[test]
fn p13_where_the_kernel_protects_one_mount_only_others_below_it_refuse_the_start() {
    let Some(machine) = Machine::furnished() else { return };
    let old = |options: &str, script: &str| {
        machine.unshare(options, script).env("WORKMUX_MUTANT", "kernel_5_12").output().unwrap()
    };
    let script = format!("{WRITABLE}; w @/empty @/empty/.git @/home/work");
    let output = old("--ro-bind @/home/work @/empty", &script);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "no\nno\nyes\n", "{output:?}");
    // What was denied on a mount stays denied, or nothing could be changed at all.
    let outer = machine.program.display();
    let quiet =
        format!("--env WORKMUX_MUTANT=kernel_5_12 --tmpfs @/other -- {outer} unshare --ro-bind @/other @/empty");
    let output = old(&quiet, &format!("{WRITABLE}; w @/empty; grep -o '@/empty ro,nosuid,nodev' /proc/self/mountinfo"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), machine.text("no\n@/empty ro,nosuid,nodev\n"), "{output:?}");
    let inner = format!("{outer} unshare --ro-bind @/home/work @/empty");
    let below = format!("--env WORKMUX_MUTANT=kernel_5_12 --bind @/other @/home/work/.git/hooks -- {inner}");
    let said = refused(&old(&below, "echo started"));
    assert!(said.contains("something is mounted below the source, and this kernel (before 5.12)"), "{said}");
}

#[test]
fn p66_masks_show_something_empty_that_nobody_can_fill() {
    let Some(machine) = Machine::furnished() else { return };
    let options = "--bind @/home/work @/home/work --empty-file @/home/work/.env --empty-dir @/home/work/.git/hooks";
    let script = "cat @/home/work/.env; ls -A @/home/work/.git/hooks; cd @/home/work; \
                  { echo x >.env; rm -f .env; mv file .env; chmod 777 .env; mv .git/hooks a; rmdir .git/hooks; \
                    echo x >.git/hooks/x; chmod 777 .git/hooks; rm -rf .git; } 2>/dev/null; \
                  stat -c '%F %s' .env; stat -c %F .git/hooks; ls -A .git/hooks";
    assert_eq!(machine.run(options, script), "regular empty file 0\ndirectory\n");
    assert_eq!(machine.sh("cat @/home/work/.env @/home/work/.git/hooks/post"), "env\nhook\n");
}

#[test]
fn p66_a_mask_that_has_nothing_to_cover_refuses_the_start() {
    let Some(machine) = Machine::furnished() else { return };
    machine.sh("ln -s .env @/home/work/link; ln -s work @/home/link");
    for (options, why) in [
        ("--empty-file @/home/absent", "'@/home/absent': No such file or directory"),
        ("--empty-dir @/home/absent", "'@/home/absent': No such file or directory"),
        ("--empty-file @/home/work", "there is a directory"),
        ("--empty-dir @/home/work/.env", "there is no directory"),
        ("--empty-file @/home/work/link", "'@/home/work/link' is a symbolic link"),
        ("--empty-file @/home/link/.env", "'@/home/link' is a symbolic link"),
        ("--empty-file @/home/work/.env/x", "'@/home/work/.env' is no directory"),
    ] {
        let said = machine.refuses(options);
        let at = options.split_once(' ').unwrap().1;
        assert_eq!(said, machine.text(&format!("could not mask '{at}': {why}")));
    }
    assert!(!machine.path("home/absent").exists());
}

#[test]
fn p9_no_link_is_followed() {
    let Some(machine) = Machine::furnished() else { return };
    machine.sh("ln -s home/work @/link; ln -s secret @/home/link; ln -s @/nowhere @/loose");
    for (options, why) in [
        ("--bind @/link @/other", "could not open the source '@/link': '@/link' is a symbolic link"),
        ("--ro-bind @/home/link @/file", "could not open the source '@/home/link': '@/home/link' is a symbolic link"),
        ("--bind @/link/.git @/other", "could not open the source '@/link/.git': '@/link' is a symbolic link"),
        (
            "--bind /proc/self/root/tmp @/other",
            "could not open the source '/proc/self/root/tmp': '/proc/self' is a symbolic link",
        ),
        ("--bind @/other @/link", "could not bind at '@/link': '@/link' is a symbolic link"),
        ("--bind @/other @/link/new/dir", "could not bind at '@/link/new/dir': '@/link' is a symbolic link"),
        ("--ro-bind @/home/secret @/loose", "could not bind at '@/loose': '@/loose' is a symbolic link"),
        ("--tmpfs @/link", "could not cover '@/link': '@/link' is a symbolic link"),
    ] {
        assert_eq!(machine.refuses(options), machine.text(why));
    }
    for made in ["home/work/new", "nowhere"] {
        assert!(!machine.path(made).exists(), "{made}");
    }
}

#[test]
fn what_cannot_be_laid_out_is_not_started() {
    let Some(machine) = Machine::furnished() else { return };
    for (options, why) in [
        ("--bind @/absent @/other", "could not open the source '@/absent': '@/absent': No such file or directory"),
        (
            "--bind @/home/secret/x @/other",
            "could not open the source '@/home/secret/x': '@/home/secret' is no directory",
        ),
        ("--bind @/home @/home/secret", "could not bind at '@/home/secret': there is no directory"),
        ("--bind @/home/secret @/other", "could not bind at '@/other': there is a directory"),
        ("--bind @/home /etc/absent", "could not bind at '/etc/absent': '/etc/absent': Permission denied"),
        (
            "--ro-bind @/other @/other --bind @/home @/other/new",
            "could not bind at '@/other/new': '@/other/new': Read-only file system",
        ),
        ("--tmpfs @/home/secret", "could not cover '@/home/secret': it is no directory"),
    ] {
        assert_eq!(machine.refuses(options), machine.text(why));
    }
    let mut command = Command::new(&machine.program);
    command.args(machine.words("--tmpfs @/home -- @/home/secret"));
    let said = refused(&as_user(&mut command).output().unwrap());
    assert_eq!(said, machine.text("could not start '@/home/secret': No such file or directory"));
}

#[test]
fn a_wrong_command_line_is_an_error_in_its_use() {
    let Some(machine) = Machine::new() else { return };
    let long = [
        "--help",
        "--bind /a",
        "--bind /a /b /c -- /p",
        "--tmpfs a -- /p",
        "--tmpfs /a/../b -- /p",
        "--",
        "-- sh",
        "/p",
    ];
    for words in ["", "--tmpfs / -- /p", "--bind /a /proc/x -- /p"].into_iter().chain(long) {
        let mut command = Command::new(&machine.program);
        let output = as_user(command.args(machine.words(words))).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words}: {output:?}");
        assert!(output.stderr.starts_with(b"Error: "), "{words}: {output:?}");
    }
}

#[test]
fn root_is_refused() {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: needs root");
        return;
    }
    let output = Command::new(GUEST).args(["unshare", "--", "/bin/true"]).output().unwrap();
    assert!(refused(&output).starts_with("'unshare' is not for root"), "{output:?}");
}

#[test]
fn processes_outside_lead_nowhere() {
    let Some(machine) = Machine::furnished() else { return };
    let mut outside = Command::new("sleep");
    let outside = Alive(as_user(outside.arg("1000").current_dir(machine.path("home"))).spawn().unwrap());
    let pid = outside.0.id();
    let ways = format!("@/old/{pid}/root@/home/secret @/old/{pid}/cwd/secret");
    // Without namespaces in between, the user gets at it.
    let control = machine.sh(&format!("cat {}", ways.replace("@/old", "/proc")));
    assert_eq!(control, "secret\nsecret\n");
    // As a rule not even the number is there; even where it is, what it leads to is not.
    let script = format!(
        "ls -d /proc/{pid} 2>/dev/null; kill -0 {pid} 2>/dev/null && echo signalled; cat @/old/{pid}/comm; \
         cat {ways} @/old/{pid}/environ @/old/{pid}/mem 2>/dev/null; readlink @/old/{pid}/fd/0; \
         nsenter --user=@/old/{pid}/ns/user --mount=@/old/{pid}/ns/mnt true 2>/dev/null && echo entered; true"
    );
    assert_eq!(machine.run("--tmpfs @/home --bind /proc @/old", &script), "sleep\n");
}

#[test]
fn p66_nested_namespaces_peel_nothing_off() {
    let Some(machine) = Machine::furnished() else { return };
    machine.sh("echo outer >@/other/outer");
    let options = "--tmpfs @/home --bind @/home/work @/home/work --empty-file @/home/work/.env \
                   --empty-dir @/home/work/.git/hooks --tmpfs @/other";
    let look = "cat $1/home/secret $1/home/work/.env $1/home/work/.git/hooks/post $1/other/outer $1/secret $1/.env \
                $1/outer 2>/dev/null";
    let nested = "mount -t tmpfs tmpfs @/empty && umount @/empty && echo may mount; mount --make-rprivate /; \
         look() { LOOK; }; \
         peel() { \
             for flags in '' -l -f; do \
                 for at in $1@/home/work/.env $1@/home/work/.git/hooks $1@/home/work $1@/home $1@/other $1/proc; do \
                     umount $flags $at; mount --move $at @/empty; \
                 done; \
             done 2>/dev/null; \
             look $1@; look @/empty; \
         }; \
         peel ''; \
         for hidden in @ @/home/work /; do mount --bind $hidden @/empty 2>/dev/null && look @/empty; done; \
         mount --rbind @ @/empty && umount -l @/empty/home @/empty/other 2>/dev/null; look @/empty; \
         mount --rbind / @/empty && cd @/empty && pivot_root . mnt && cd / && echo /proc/[0-9]*; \
         peel ''; peel /mnt; umount -l /mnt; peel ''; echo end";
    let nested = nested.replace("LOOK", look);
    let script = format!("unshare -Urm sh -c '{}'", nested.replace('\'', "'\\''"));
    let output = machine.unshare(options, &script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("may mount"), "{output:?}");
    let processes: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    assert!(processes.starts_with(&["/proc/1"]) && processes.len() <= 3, "{output:?}");
    assert_eq!(lines.collect::<Vec<_>>(), ["end"], "{said}");
    // Nor do namespaces that the program may enter without nesting: it has no capability here.
    let script = "umount @/home 2>/dev/null; mount -t tmpfs tmpfs @/empty 2>/dev/null; ls -A @/home; grep -c @/empty \
                  /proc/self/mountinfo; true";
    assert_eq!(machine.run(options, script), "work\n0\n");
}

#[test]
fn it_works_within_the_namespaces_of_another_sandbox() {
    let outer = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--dev-bind", "/", "/", "--proc", "/proc"];
    let Some(machine) = Machine::furnished() else { return };
    if !have("bwrap") || !as_user(Command::new("bwrap").args(outer).arg("true")).output().unwrap().status.success() {
        eprintln!("SKIPPED: bwrap cannot be used here");
        return;
    }
    let options = "--tmpfs @/home --bind @/home/work @/home/work --ro-bind @/home/conf @/home/conf \
                   --empty-file @/home/work/.env";
    let script = format!(
        "{WRITABLE}; w @/home/work @/home/conf; ls -A @/home; cat @/home/work/.env; echo $$ /proc/[0-9]*; \
         unshare -Urm umount @/home/work/.env 2>/dev/null || echo locked; exit 9"
    );
    let mut command = Command::new("bwrap");
    command.args(outer).arg(&machine.program).args(machine.words(options));
    let output = as_user(command.args(["--", "/bin/sh", "-c", &machine.text(&script)])).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "yes\nno\nconf\nwork\n1 /proc/1\nlocked\n", "{output:?}");
    assert_eq!(output.status.code(), Some(9));
}

fn press(master: &OwnedFd, keys: &[u8]) {
    File::from(master.try_clone().unwrap()).write_all(keys).unwrap();
}

/// Runs `init` as the program, on a terminal. What starts it stands before.
fn on_terminal(machine: &Machine, before: &[&str], mut start: Start) -> (Run, OwnedFd) {
    let pty = nix::pty::openpty(None, None).unwrap();
    let mut modes = tcgetattr(&pty.slave).unwrap();
    modes.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(&pty.slave, SetArg::TCSANOW, &modes).unwrap();
    start.terminal = true;
    let supervisor = Supervisor::new();
    give(supervisor.dir.path());
    give(&supervisor.socket());
    let words: Vec<OsString> = before.iter().map(|word| word.into()).chain([machine.program.clone().into()]).collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(machine.words("--tmpfs @/home --")).arg(&machine.program);
    command.arg("init").arg(supervisor.socket()).stdin(pty.slave).stdout(Stdio::piped());
    as_user(&mut command);
    (supervisor.run(command, start), pty.master)
}

/// The process at the end of this line of only children.
fn descendant(pid: i32, names: &[&str]) -> Option<i32> {
    let comm = |pid: i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    names.iter().try_fold(pid, |pid, name| children(pid).into_iter().find(|child| comm(*child).trim_end() == *name))
}

#[test]
fn a_shell_on_the_terminal_has_job_control() {
    let Some(machine) = Machine::furnished() else { return };
    if !have("bash") || !have("setsid") {
        return;
    }
    // It leads the session that has the terminal; its parent does; nobody has it.
    let leader = ["setsid", "-c"];
    let below = ["setsid", "-c", "sh", "-c", "\"$@\"; exit $?", "sh"];
    for (before, outer) in [(&leader[..], &[][..]), (&below, &["program"]), (&[], &[])] {
        let mut start = command(&["bash", "--norc", "--noprofile", "-i"]);
        start.env.push(b"PS1=".to_vec());
        let (mut run, master) = on_terminal(&machine, before, start);
        run = run.started();
        press(&master, b"echo $PPID\n");
        assert_eq!(run.line(), "1");
        press(&master, b"sleep 1000\n");
        let line = [outer, &["program", "bash", "sleep"]].concat();
        let mut job = 0;
        eventually("the job runs", || {
            job = descendant(run.pid(), &line).unwrap_or(0);
            job != 0
        });
        press(&master, b"\x1a");
        eventually("the job stops and stays so", || state(job) == Some('T'));
        press(&master, b"echo code $?\n");
        assert_eq!(run.line(), "code 148");
        press(&master, b"fg\n");
        assert_eq!(run.line(), "sleep 1000");
        eventually("the job goes on", || state(job).is_some_and(|s| s != 'T'));
        press(&master, b"\x03");
        eventually("the job ends", || state(job).is_none());
        press(&master, b"echo code $?\n");
        assert_eq!(run.line(), "");
        assert_eq!(run.line(), "code 130");
        press(&master, b"exit 6\n");
        assert_eq!(run.end(), (FromGuest::Exited { code: 6 }, 6));
    }
}

#[test]
fn p58_a_supervisor_that_is_gone_ends_it_all() {
    let Some(machine) = Machine::furnished() else { return };
    let text = "trap '' TERM HUP; setsid sleep 1000 & echo ready; sleep 1000";
    let (mut run, _master) = on_terminal(&machine, &["setsid", "-c"], support::script(text));
    run = run.started();
    assert_eq!(run.line(), "ready");
    run.cut();
    assert_eq!(run.rest(), b"");
    assert_eq!(run.code(), 137);
}
