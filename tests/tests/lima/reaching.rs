//! Everything that a sandbox can write and read, found by trying: its own worktree and git directory, a home, and nothing
//! else of what its machine has for others. The same from a namespace in a namespace.

use std::path::{Path, PathBuf};

use workmux_tests::{Snapshot, require_engine};

use super::scene::{Scene, exists};

/// Stands in every file that no sandbox of another worktree may see.
const MARK: &str = "seen-by-nobody-else";
/// Passes it on, so that it stands in no file.
const PASSING: &str = "env_passthrough: [MARK]";
/// Lays a file into every directory that takes it. What git's own directory takes is the boundary's matter.
const WRITE: &str = r#"find / \( -path /proc -o -path /sys -o -path /dev/pts -o -name .git \) -prune -o -type d -print 2>/dev/null |
    while IFS= read -r dir; do (: > "$dir/written-by-a-guest") 2>/dev/null; done; true"#;
/// Names every file that holds the mark. Devices do not end, and the host's own programs, which are read-only, are many.
const READ: &str = r#"find "${1:-/}" \( -path '*/proc' -o -path '*/sys' -o -path '*/usr' -o -path '*/dev/[a-rt-z]*' \) -prune -o \
    -type f -print0 2>/dev/null | xargs -0 grep -lsF -e "$MARK""#;

/// A machine with two worktrees, and marks in all that is the other one's, the user's or the machine's.
struct Marked {
    scene: Scene,
    name: String,
    own: PathBuf,
    other: PathBuf,
}

impl Marked {
    fn new() -> Self {
        let scene = Scene::with(PASSING, "");
        scene.shell(&["true"]).run().ok();
        let name = scene.machine();
        let (own, other) = (scene.worktree("own"), scene.worktree("other"));
        scene.shell(&["true"]).dir(&own).run().ok();
        for file in [".ssh/id_ed25519", ".config/workmux/secret", "private/notes", ".local/state/workmux/secret"] {
            scene.write(scene.home().join(file), format!("{MARK}\n"));
        }
        for place in [&other.join("draft"), &scene.git_dir().join("secret"), &scene.dir_of(&name).join("secret")] {
            scene.write(place, format!("{MARK}\n"));
        }
        // Beside what other runs were given.
        scene.write(scene.remembered(&name).join("host/files/0123/secret"), format!("{MARK}\n"));
        let script = format!(
            "cd; mkdir -p .workmux; for dir in . .ssh .workmux /tmp /var/tmp /dev/shm /run /run/user/$(id -u); do \
             echo {MARK} > $dir/secret; done; ls -d /run/user/*"
        );
        assert!(scene.outside(&name, &script).starts_with("/run/user/"), "they are there");
        Self { scene, name, own, other }
    }

    fn sees(&self, dir: &Path, script: &str) -> String {
        self.scene.shell(&["sh", "-c", script]).env("MARK", MARK).dir(dir).run().stdout
    }

    fn tidy(self) {
        std::fs::remove_dir_all(self.scene.remembered(&self.name).join("host/files/0123")).expect("it was put there");
        self.scene.assert_clean();
    }
}

#[test]
fn p13_a_sandbox_writes_its_worktree_and_its_home() {
    require_engine!("lima");
    let marked = Marked::new();
    let Marked { scene, name, own, .. } = &marked;
    let git = Snapshot::of(&scene.git_dir());
    marked.sees(own, WRITE);
    let list = scene.program("find").arg(scene.home()).args(["-name", "written-by-a-guest"]).run().stdout;
    let all: Vec<&Path> = list.lines().map(|path| Path::new(path).strip_prefix(scene.home()).unwrap()).collect();
    let disk = format!("l/{name}/fake-disk");
    let home = format!("{disk}/home/{}.guest", scene.given().user.name);
    let store = format!("{home}/.workmux/home");
    for path in &all {
        let own = ["project__worktrees/own", ".claude", &store].iter().any(|place| path.starts_with(place));
        // The stand-in's user owns the whole disk; but of the user's home only the store is shown, and nothing is exported.
        let covered = path.starts_with(&home) || path.starts_with(format!("{disk}/mnt/workmux"));
        assert!(own || (path.starts_with(&disk) && !covered), "{}", path.display());
    }
    for place in ["project__worktrees/own", store.as_str()] {
        assert!(all.iter().any(|path| path.starts_with(place)), "{place}: {all:?}");
    }
    assert_eq!(git.changes(&Snapshot::of(&scene.git_dir())), [""; 0]);
    for path in all {
        std::fs::remove_file(scene.home().join(path)).unwrap();
    }
    marked.tidy();
}

#[test]
fn p13_nothing_of_others_is_seen() {
    require_engine!("lima");
    let marked = Marked::new();
    let Marked { own, other, .. } = &marked;
    assert_eq!(marked.sees(own, READ), "");
    // The search finds what is there to be found.
    assert_eq!(marked.sees(other, READ), format!("{}\n", other.join("draft").display()));
    assert_eq!(
        marked.sees(own, "ls -A /mnt/workmux /dev/shm; ls /run; ls -A .."),
        "/dev/shm:\n\n/mnt/workmux:\nworkmux\nown\n"
    );
    let files = marked.sees(own, "find /run -type f");
    assert!(files.lines().all(|file| file.starts_with("/run/workmux/bin/") || file.starts_with("/run/workmux/sock/")));
    marked.tidy();
}

/// Takes away what covers, mounts elsewhere what is mounted, and looks from there.
const PEEL: &str = r#"
for attempt in 1 2 3; do
    for at in $(cut -d' ' -f2 /proc/self/mounts); do umount -l "$at"; umount "$at"; done
    for at in /mnt/workmux /run /tmp /var/tmp /dev/shm "$HOME" "$OWN" "$OWN/.." "$OWN/.git"; do umount -l "$at"; done
done
cat /tmp/entered
mkdir -p /root/a /srv/b
mount --bind / /root/a; mount --rbind / /srv/b
for at in / /root/a /srv/b; do sh /tmp/read $at; done
mount -o remount,bind,rw "$OWN/.git"; mount -o remount,bind,rw "$MAIN"
for file in "$MAIN/.git/hooks/evil" "$MAIN/evil" "$OWN/../evil" "$OWN/.git"; do : > "$file"; done
"#;

#[test]
fn p66_a_namespace_in_a_namespace_shows_no_more() {
    require_engine!("lima");
    let marked = Marked::new();
    let Marked { scene, own, .. } = &marked;
    let script = format!(
        "printf '%s' {} > /tmp/read; printf '%s' {} > /tmp/peel; echo entered > /tmp/entered\n\
         OWN=$PWD MAIN={} unshare -Urm sh /tmp/peel 2>/dev/null\n\
         unshare -Urmpf --mount-proc sh -c 'for p in /proc/[0-9]*; do sh /tmp/read $p/root/run; sh /tmp/read $p/cwd/..; done' 2>/dev/null\n\
         for p in /proc/[0-9]*; do for at in root/mnt/workmux root/run root/home cwd/..; do sh /tmp/read $p/$at; done; done; true",
        workmux_tests::quoted(READ),
        workmux_tests::quoted(PEEL),
        scene.main().display()
    );
    let git = Snapshot::of(&scene.git_dir());
    assert_eq!(marked.sees(own, &script), "entered\n", "such namespaces can be made, and show nothing");
    assert_eq!(git.changes(&Snapshot::of(&scene.git_dir())), [""; 0]);
    assert!(!exists(scene.main().join("evil")) && !exists(own.join("../evil")));
    assert!(own.join(".git").metadata().unwrap().len() > 0);
    marked.tidy();
}

#[test]
fn what_a_sandbox_ends_is_its_own() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let (own, other) = (scene.worktree("own"), scene.worktree("other"));
    let waiting = scene.waiting("agent", &other, "exit 9");
    let run = scene.shell(&["sh", "-c", "kill -9 -1; kill -9 1; kill -TERM 1; true"]).dir(&own).run();
    assert_ne!(run.code, Some(125), "{run}");
    assert_eq!(scene.status(&name), "Running");
    waiting.go_on().wait().code(9);
    // Two sandboxes do not meet in what processes of one user share, but in their home.
    let first = scene.waiting("shell", &own, "cat /tmp/met /dev/shm/met ~/met 2>/dev/null; true");
    scene.shell(&["sh", "-c", "for d in /tmp /dev/shm ~; do echo $d > $d/met; done"]).dir(&other).run().ok();
    let home = format!("/home/{}.guest\n", scene.given().user.name);
    assert_eq!(first.go_on().wait().ok().stdout, home);
    scene.assert_clean();
}

#[test]
fn what_a_sandbox_leaves_in_its_home_runs_for_nobody_outside() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let script = "canary='touch /srv/canary'; mkdir -p ~/.ssh ~/.local/bin
        for file in .bashrc .profile .bash_profile .bash_login .bash_logout .ssh/rc .ssh/environment; do echo $canary > ~/$file; done
        for name in sh env cat cp mv sudo id head readlink; do
            printf '#!/bin/sh\\n%s\\n' \"$canary\" > ~/.local/bin/$name; chmod +x ~/.local/bin/$name
        done";
    scene.shell(&["sh", "-c", script]).run().ok();
    let look = || {
        // A place that has to be made has the machine looked at from inside.
        scene.limactl(&["shell", "--workdir", "/", &name, "bash", "-lc", "true"]).ok();
        assert_eq!(scene.outside(&name, "ls /srv"), "");
    };
    look();
    scene.stop(&[&name, "--yes"]).ok();
    scene.shell(&["/bin/true"]).dir(scene.worktree("second")).run().ok();
    look();
}

#[test]
fn p13_no_machine_can_write_the_users_home_or_what_is_kept_about_it() {
    require_engine!("lima");
    for (wide, why) in [
        ("~/", "is no directory of projects"),
        ("/", "it is not yours"),
        ("/etc", "it is not yours"),
        ("~/.local", "it lies in a hidden directory of your home"),
        ("~/.lima", "it lies in a hidden directory of your home"),
        ("~/.config/x", "it lies in a hidden directory of your home"),
    ] {
        let scene = Scene::with(PASSING, &format!("isolation: shared, projects_dir: '{wide}'"));
        let dir = scene.worktree("topic");
        scene.refused(scene.shell(&["true"]).dir(&dir).run()).warns(why).warns("projects_dir");
        assert_eq!(scene.machines(), [] as [String; 0]);
    }
}

#[test]
fn a_shared_machine_has_what_is_made_later_and_shows_each_its_own() {
    require_engine!("lima");
    let scene = Scene::with(PASSING, "isolation: shared, projects_dir: '~/src'");
    let tree = |main: &Path| {
        let tree =
            main.with_file_name(format!("{}__worktrees", main.file_name().unwrap().to_str().unwrap())).join("topic");
        scene.git(main, &["worktree", "add", "--quiet", "-b", "topic", tree.to_str().unwrap()]).ok();
        tree
    };
    let commit = |dir: &Path| {
        scene.agent(&["git", "commit", "--quiet", "--allow-empty", "--message=inside"]).dir(dir).run().ok();
        assert_eq!(scene.last_commit(dir), "inside");
    };
    let one = tree(&scene.repository("src/one"));
    commit(&one);
    let two = tree(&scene.repository("src/deeper/two"));
    commit(&two);
    assert_eq!((scene.machine().as_str(), scene.count("start")), ("wm-42ef9897", 1));
    for place in [&two.join("draft"), &scene.home().join("src/notes")] {
        scene.write(place, MARK);
    }
    let sees = |script: &str| scene.shell(&["sh", "-c", script]).env("MARK", MARK).dir(&one).run().stdout;
    assert_eq!(sees(READ), "");
    let list = format!("ls -A {}", scene.home().join("src").display());
    assert_eq!(sees(&list), "one\none__worktrees\n");
    // One that lies elsewhere is there after a stop, beside the others.
    let other = scene.worktree("topic");
    scene.refused(scene.shell(&["true"]).dir(&other).run()).warns("sandbox stop wm-42ef9897");
    scene.stop(&["wm-42ef9897", "--yes"]).ok();
    for dir in [&other, &one, &two] {
        scene.shell(&["true"]).dir(dir).run().ok();
    }
    assert_eq!(scene.machine(), "wm-42ef9897");
    scene.assert_clean();
}
