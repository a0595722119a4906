//! What a sandbox reaches of its machine and of the host: its own worktree and git directory, a home, and nothing else. The
//! machine has more, for other sandboxes; none of that is to be seen or written, also from a namespace in a namespace.

use std::path::{Path, PathBuf};

use workmux_tests::{Sandbox, World, require_engine, wait_until};

use super::case::{cold, lima, only_machine, refused, status, warm};

/// Stands in every file that no sandbox of another worktree may see.
const MARK: &str = "seen-by-nobody-else";
/// Lays a file into every directory that takes it. What git's own directory takes is the boundary's matter.
const WRITE: &str = r#"find / \( -path /proc -o -path /sys -o -path /dev/pts -o -name .git \) -prune -o -type d -print 2>/dev/null |
    while IFS= read -r dir; do (: > "$dir/written-by-a-guest") 2>/dev/null; done; true"#;
/// Names every file that holds the mark. The host's own programs, which are read-only, are left out: there are many.
const READ: &str = r#"find "${1:-/}" \( -path '*/proc' -o -path '*/sys' -o -path '*/usr' -o -path '*/dev/[a-rt-z]*' \) -prune -o \
    -type f -print0 2>/dev/null | xargs -0 grep -lsF -e "$MARK""#;

/// What was written, by where it lies.
fn written(world: &World) -> Vec<PathBuf> {
    let list = world.program("find").arg(world.home()).args(["-name", "written-by-a-guest"]).run().stdout;
    list.lines().map(|path| Path::new(path).strip_prefix(world.home()).unwrap().to_owned()).collect()
}

/// Runs text of the shell in the machine itself, as its user.
fn outside(world: &World, name: &str, script: &str) -> String {
    world.limactl(&["shell", "--workdir", "/", name, "sh", "-c", script]).ok().stdout
}

/// A machine with two worktrees, and marks in all that is the other one's, the user's or the machine's.
fn marked() -> (World, String, PathBuf, PathBuf) {
    let (world, name) = warm();
    let (own, other) = (world.worktree("own"), world.worktree("other"));
    world.shell(&["true"]).dir(&own).run().ok();
    for file in [".ssh/id_ed25519", ".config/workmux/secret", "private/notes", ".local/state/workmux/secret"] {
        world.write(world.home().join(file), format!("{MARK} {file}\n"));
    }
    world.write(other.join("draft"), format!("{MARK}\n"));
    world.write(world.git_dir().join("secret"), format!("{MARK}\n"));
    world.write(world.lima_home().join(&name).join("secret"), format!("{MARK}\n"));
    // Beside the keys of other runs.
    let runs = world.state().join("backends/lima/machines").join(&name).join("host/runs");
    world.write(runs.join("0123/sock/control.keys"), format!("{MARK}\n"));
    let script = format!(
        "cd; echo {MARK} > secret; echo {MARK} > .ssh/secret; mkdir -p .workmux; echo {MARK} > .workmux/secret; \
         for dir in /tmp /var/tmp /dev/shm /run /run/user/$(id -u); do echo {MARK} > $dir/secret; done; ls -d /run/user/*"
    );
    assert!(outside(&world, &name, &script).starts_with("/run/user/"), "they are there");
    (world, name, own, other)
}

fn tidy(world: &World, name: &str) {
    let runs = world.state().join("backends/lima/machines").join(name).join("host/runs/0123");
    std::fs::remove_dir_all(runs).unwrap();
    world.assert_clean();
}

#[test]
fn p13_a_sandbox_writes_its_worktree_and_its_home() {
    require_engine!("lima");
    let (world, name, own, _) = marked();
    let git = workmux_tests::Snapshot::of(&world.git_dir());
    world.shell(&["sh", "-c", WRITE]).dir(&own).run().ok();
    let all = written(&world);
    let disk = format!("l/{name}/fake-disk");
    let home = format!("{disk}/home/{}.guest", world.given().user.name);
    let store = format!("{home}/.workmux/home");
    for path in &all {
        // The stand-in's user owns the whole disk, as root owns a machine's; but of the user's home only the store is shown.
        let own = path.starts_with("project__worktrees/own") || path.starts_with(".claude") || path.starts_with(&store);
        let disks =
            path.starts_with(&disk) && !path.starts_with(&home) && !path.starts_with(format!("{disk}/mnt/workmux"));
        assert!(own || disks, "{}", path.display());
    }
    assert!(all.iter().any(|path| path.starts_with("project__worktrees/own")), "{all:?}");
    assert!(all.iter().any(|path| path.starts_with(&store)), "{all:?}");
    assert_eq!(workmux_tests::Snapshot::of(&world.git_dir()), git);
    for path in all {
        std::fs::remove_file(world.home().join(path)).unwrap();
    }
    tidy(&world, &name);
}

#[test]
fn p13_nothing_of_others_is_seen() {
    require_engine!("lima");
    let (world, name, own, other) = marked();
    let seen = |dir: &Path, script: &str| {
        let run = world.shell(&["sh", "-c", script]).env("MARK", MARK).dir(dir);
        world.user_config(&Sandbox::Lima.configuration("env_passthrough: [MARK]", ""));
        run.run().stdout
    };
    assert_eq!(seen(&own, READ), "");
    // The search finds what is there to be found.
    assert_eq!(seen(&other, READ), format!("{}\n", other.join("draft").display()));
    let list =
        "ls -A /mnt/workmux /dev/shm; ls /run; ls -A /run/user 2>&1; find /run/workmux -type f; ls -A ~/.ssh 2>&1";
    let said = seen(&own, list);
    let lines: Vec<&str> = said.lines().filter(|line| !line.is_empty() && !line.ends_with(':')).collect();
    assert_eq!(lines.iter().filter(|line| **line == "workmux").count(), 1, "{said}");
    assert_eq!(lines.iter().filter(|line| line.contains("No such file")).count(), 2, "{said}");
    let files: Vec<_> = lines.iter().filter(|line| line.starts_with("/run/workmux/")).collect();
    assert!(files.iter().all(|file| file.starts_with("/run/workmux/bin/") || file.starts_with("/run/workmux/sock/")));
    assert_eq!(lines.len(), 3 + files.len(), "{said}");
    // Beside its own, there is no worktree, also not under another name.
    assert_eq!(seen(&own, "ls -A .."), "own\n");
    tidy(&world, &name);
}

#[test]
fn p66_a_namespace_in_a_namespace_shows_no_more() {
    require_engine!("lima");
    let (world, name, own, _) = marked();
    world.user_config(&Sandbox::Lima.configuration("env_passthrough: [MARK]", ""));
    // What covers is taken away, what is mounted is mounted elsewhere, and processes are asked for their view.
    let script = format!(
        r#"cat > /tmp/read <<'END'
{READ}
END
        cat > /tmp/peel <<'END'
for attempt in 1 2 3; do
    for at in $(cut -d' ' -f2 /proc/self/mounts); do umount -l "$at"; umount "$at"; done
    for at in /mnt/workmux /run /tmp /var/tmp /dev/shm "$HOME" "$OWN" "$OWN/.." "$OWN/.git"; do umount -l "$at"; done
done
mkdir -p /root/a /srv/b
mount --bind / /root/a; mount --rbind / /srv/b; mount --bind /mnt /srv/b; mount --bind /home /root/a
mount -o remount,bind,rw "$OWN/.git"; mount -o remount,bind,rw "$MAIN"; mount -t tmpfs none "$MAIN/.git"
END
        echo entered > /tmp/entered
        OWN=$PWD MAIN={main} unshare -Urm sh -c '. /tmp/peel; rm -f /proc/self/nothing; cat /tmp/entered; sh /tmp/read /; sh /tmp/read /root/a; sh /tmp/read /srv/b; : > "$MAIN/.git/hooks/evil"; : > "$MAIN/evil"; : > "$OWN/../evil"; : > "$OWN/.git"' 2>/dev/null
        unshare -Urmpf --mount-proc sh -c 'for p in /proc/[0-9]*; do sh /tmp/read $p/root/mnt/workmux; sh /tmp/read $p/root/run; sh /tmp/read $p/cwd/..; done' 2>/dev/null
        for p in /proc/[0-9]*; do for at in root/mnt/workmux root/run root/home cwd/..; do MARK=$MARK sh /tmp/read $p/$at; done; done; true"#,
        main = world.main().display()
    );
    let git = workmux_tests::Snapshot::of(&world.git_dir());
    let run = world.shell(&["sh", "-c", &script]).env("MARK", MARK).dir(&own).run();
    let said: Vec<&str> = run.stdout.lines().filter(|line| *line != "entered").collect();
    assert_eq!(said, [""; 0], "{run}");
    assert!(run.stdout.contains("entered"), "such namespaces can be made: {run}");
    assert_eq!(workmux_tests::Snapshot::of(&world.git_dir()), git);
    assert!(!world.main().join("evil").exists() && !own.join("../evil").exists());
    assert!(own.join(".git").metadata().unwrap().len() > 0);
    tidy(&world, &name);
}

#[test]
fn processes_of_others_are_neither_seen_nor_ended() {
    require_engine!("lima");
    let (world, name, own, other) = marked();
    let waiting = world.waiting("agent", &other, "exit 9");
    let count = outside(&world, &name, "ls -d /proc/[0-9]* | wc -l");
    assert!(count.trim().parse::<u32>().unwrap() > 6, "{count}");
    let script = "tr '\\0' ' ' < /proc/1/cmdline; echo; cat /proc/[0-9]*/comm | sort -u; kill -9 -1; kill -9 1; kill -TERM 1; true";
    let run = world.shell(&["sh", "-c", script]).dir(&own).run();
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines[0].starts_with("/run/workmux/bin/workmux init "), "{run}");
    let own_names = ["cat", "sh", "sort", "workmux"];
    assert!(lines.len() > 2 && lines[1..].iter().all(|name| own_names.contains(name)), "{run}");
    assert_eq!(status(&world, &name), "Running");
    waiting.go_on().wait().code(9);
    // Two sandboxes do not meet in what processes of one user share.
    let first = world.waiting("shell", &own, "cat /tmp/met /dev/shm/met ~/met 2>/dev/null; true");
    world.shell(&["sh", "-c", "for d in /tmp /dev/shm ~; do echo $d > $d/met; done"]).dir(&other).run().ok();
    let home = format!("/home/{}.guest\n", world.given().user.name);
    assert_eq!(first.go_on().wait().ok().stdout, home, "their home is one");
    tidy(&world, &name);
}

#[test]
fn what_a_sandbox_leaves_in_its_home_runs_for_nobody_outside() {
    require_engine!("lima");
    let (world, name) = warm();
    let dir = world.worktree("topic");
    let canary = "touch /srv/canary";
    let script = format!(
        "for file in .bashrc .profile .bash_profile .bash_login .bash_logout .ssh/rc .ssh/environment .pam_environment; do \
         mkdir -p ~/.ssh ~/.config/systemd/user; echo '{canary}' > ~/$file; done; \
         mkdir -p ~/.local/bin; for p in sh env cat cp mv sudo id head readlink; do printf '#!/bin/sh\\n{canary}\\n' > ~/.local/bin/$p; chmod +x ~/.local/bin/$p; done"
    );
    world.shell(&["sh", "-c", &script]).dir(&dir).run().ok();
    outside(&world, &name, "true");
    // Another look from outside: a new mount, another start.
    lima(&world, "stop", &[&name, "-y"]).run().ok();
    world.worktree("second");
    world.shell(&["/bin/true"]).dir(world.home().join("project__worktrees/second")).run().ok();
    outside(&world, &name, "true");
    assert_eq!(outside(&world, &name, "ls /srv"), "");
}

fn shared(world: &World) -> PathBuf {
    let projects = world.home().join("src");
    world.user_config(
        &Sandbox::Lima.configuration("", &format!("isolation: shared, projects_dir: '{}'", projects.display())),
    );
    projects
}

fn repository(world: &World, main: &Path) -> PathBuf {
    world.folder(main);
    world.git(main, &["init", "--quiet"]).ok();
    world.git(main, &["commit", "--quiet", "--allow-empty", "--message=first"]).ok();
    let tree = main.with_file_name(format!("{}__worktrees", main.file_name().unwrap().to_str().unwrap())).join("topic");
    world.git(main, &["worktree", "add", "--quiet", "-b", "topic", tree.to_str().unwrap()]).ok();
    tree
}

#[test]
fn one_machine_for_everything_below_a_directory() {
    require_engine!("lima");
    let world = cold();
    let projects = shared(&world);
    let one = repository(&world, &projects.join("one"));
    let commit = "echo x > x; git add x; git commit -qm work; git log --format=%s | head -n 1";
    let run = world.agent(&["sh", "-c", commit]).dir(&one).run().ok();
    assert_eq!(run.stdout, "work\n");
    assert_eq!(only_machine(&world), "wm-42ef9897");
    // Also for those that are made later, while it runs.
    let two = repository(&world, &projects.join("deeper/two"));
    let starts = super::case::calls(&world, "start").len();
    assert_eq!(world.agent(&["sh", "-c", commit]).dir(&two).run().ok().stdout, "work\n");
    assert_eq!((super::case::calls(&world, "start").len(), only_machine(&world).as_str()), (starts, "wm-42ef9897"));
    assert_eq!(super::case::last_commit(&world, &two), "work");
    // Its sandboxes see no more than others do.
    world.write(two.join("draft"), MARK);
    world.write(projects.join("notes"), MARK);
    world.user_config(
        &world
            .read(world.home().join(".config/workmux/config.yaml"))
            .replace("sandbox: {", "sandbox: { env_passthrough: [MARK], "),
    );
    let run = world.shell(&["sh", "-c", READ]).env("MARK", MARK).dir(&one).run();
    assert_eq!(run.stdout, "", "{run}");
    let run = world.shell(&["sh", "-c", &format!("ls -A {}", projects.display())]).dir(&one).run().ok();
    assert_eq!(run.stdout, "one\none__worktrees\n");

    // One that lies elsewhere needs more of the host than the machine was started with.
    let other = world.worktree("topic");
    refused(&world, world.shell(&["true"]).dir(&other).run())
        .warns("was started without")
        .warns("sandbox stop wm-42ef9897");
    lima(&world, "stop", &["wm-42ef9897", "-y"]).run().ok();
    for dir in [&other, &one, &two] {
        world.shell(&["true"]).dir(dir).run().ok();
    }
    assert_eq!(only_machine(&world), "wm-42ef9897");
    world.assert_clean();
}

#[test]
fn p25_a_shared_machine_takes_the_users_word_also_for_worktrees() {
    require_engine!("lima");
    let world = cold();
    let projects = shared(&world);
    let one = repository(&world, &projects.join("one"));
    let config = world.home().join(".config/workmux/config.yaml");
    world.user_config(&world.read(&config).replace("accept_reduced_git_metadata_isolation: true", "cpus: 4"));
    let run = refused(&world, world.shell(&["true"]).dir(&one).run());
    run.warns(&format!("would be able to write '{}'", projects.display()))
        .warns("accept_reduced_git_metadata_isolation");
    assert_eq!(world.machines(), [] as [String; 0]);
}

#[test]
fn two_directories_of_one_name_have_two_machines() {
    require_engine!("lima");
    let world = cold();
    let trees = ["a/same", "b/same"].map(|path| repository(&world, &world.home().join(path)));
    for tree in &trees {
        world.shell(&["sh", "-c", "echo x > ~/x; test ! -e ~/seen; touch ~/seen"]).dir(tree).run().ok();
    }
    let machines = world.machines();
    assert!(machines.len() == 2 && machines.iter().all(|name| name.starts_with("wm-same-")), "{machines:?}");
    wait_until("both to run", || machines.iter().all(|name| status(&world, name) == "Running"));
}
