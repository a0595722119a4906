//! Host git beside a guest that is at work: a directory that becomes a link meanwhile leads nothing out of the checkout
//! (P9, P11).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use workmux_tests::{Run, Sandbox, World, require_engine, told, wait_until};

use super::scene::{OBEDIENT, Puppet, Witness, branches, on_each, scene, scene_with, subjects, tree};

on_each!(p11_no_merge_is_led_out, p11_no_worktree_is_made_where_a_guest_writes, p9_no_removal_is_led_out);

/// A program of the user's that pauses until the test lets it go on, and what it says when it does.
struct Pausing {
    program: PathBuf,
    begun: PathBuf,
    pipe: PathBuf,
}

impl Pausing {
    /// It passes its input on first, and pauses at all but what was there before.
    fn new(world: &World) -> Self {
        let of = |name: &str| world.home().join(name);
        let it = Self { program: of("bin/pause"), begun: of("begun"), pipe: of("go") };
        let script = format!(
            "#!/bin/sh\nin=$(cat)\nprintf %s \"$in\"\n\
             [ \"$in\" != first ] && [ -e '{}' ] || exit 0\n: > '{}'\nread line < '{}' || :\n",
            of("armed").display(),
            it.begun.display(),
            it.pipe.display()
        );
        world.write(&it.program, script);
        fs::set_permissions(&it.program, fs::Permissions::from_mode(0o755)).expect("a program of ours");
        world.program("mkfifo").arg(&it.pipe).run().ok();
        it
    }

    /// Runs it, does something while it pauses, and answers how it ended.
    fn meanwhile(&self, world: &World, run: Run, act: impl FnOnce()) -> workmux_tests::Finished {
        world.write(world.home().join("armed"), "");
        let running = run.start();
        wait_until("the program to pause", || self.begun.exists());
        act();
        drop(told(&self.pipe));
        running.wait()
    }
}

/// A merge into the checkout of a guest that puts a link in a directory's place while git writes there.
fn merged(on: Sandbox, mutant: &str) -> (World, workmux_tests::Finished) {
    let world = scene(on);
    let pausing = Pausing::new(&world);
    let main = world.main();
    world.write(world.home().join("out/kept"), "untouched");
    for name in ["1", "2", "3"] {
        world.write(main.join("d").join(name), "first");
    }
    world.write(main.join(".gitattributes"), "d/1 filter=pause\n");
    world.git(&main, &["add", "."]).ok();
    world.git(&main, &["commit", "-qm", "files"]).ok();
    world.git(&main, &["config", "filter.pause.smudge", pausing.program.to_str().expect("UTF-8")]).ok();
    let witness = Witness(&world);
    let own = Puppet::new(&world, "own");
    own.does("echo it has begun");
    world.workmux(&["add", "kid"]).run().ok();
    let kid = tree(&world, "kid");
    for name in ["1", "2", "3"] {
        world.write(kid.join("d").join(name), "second");
    }
    world.git(&kid, &["commit", "-qam", "kid"]).ok();
    let out = world.home().join("out").display().to_string();
    let merge = world.workmux(&["merge", "kid", "--into", "own"]).mutant(mutant);
    let finished = pausing.meanwhile(&world, merge, || {
        assert_eq!(own.does(&format!("mv d d.real && ln -s {out} d && echo swapped")), "swapped\n");
    });
    drop(witness);
    (world, finished)
}

fn p11_no_merge_is_led_out(on: Sandbox) {
    let (world, finished) = merged(on, "");
    let _witness = Witness(&world);
    finished.code(1).warns("could not be moved, and is as before").warns("cannot write d/1");
    let out = world.home().join("out");
    assert_eq!(fs::read_dir(&out).expect("it is there").count(), 1, "nothing came to lie outside");
    assert_eq!(subjects(&world, "own"), ["files", "ignore", "first"], "nothing is merged");
    assert_eq!(world.read(tree(&world, "own").join("d.real/2")), "first", "what was there is there");
    assert!(branches(&world).contains(&"kid".to_owned()));
    // Without the guard git writes there: this test can fail.
    if on == Sandbox::Bubblewrap {
        let (world, _) = merged(on, "p11_live");
        let left = fs::read_dir(world.home().join("out")).expect("it is there").count();
        assert!(left > 1, "git wrote outside");
    }
}

fn p11_no_worktree_is_made_where_a_guest_writes(on: Sandbox) {
    let world = scene_with(on, "", &format!("{OBEDIENT}worktree_dir: .trees\n"));
    let guest = world.waiting("shell", &world.main(), "true");
    world.workmux(&["add", "kid"]).run().code(1).warns("a sandbox can write in").warns("'worktree_dir'");
    assert_eq!(branches(&world), ["main"]);
    // A machine is given the directory itself, empty.
    assert!(fs::read_dir(world.main().join(".trees")).map_or(true, |all| all.count() == 0));
    guest.go_on().wait().ok();
    world.workmux(&["add", "kid"]).run().ok();
    assert!(world.main().join(".trees/kid/.git").is_file());
    // One that asks for another is told as much.
    world.workmux(&["remove", "kid"]).run().ok();
    let said = world.agent(&["sh", "-c", "workmux add kid -p :; true"]).run().ok();
    said.warns("let the user set 'worktree_dir' elsewhere");
    assert_eq!(branches(&world), ["main"]);
}

/// The removal of a worktree whose directory a guest exchanges meanwhile; what is left outside.
fn removed(on: Sandbox, mutant: &str) -> usize {
    // In a checkout a guest cannot exchange it: mounts of ours hold it in its place.
    let rest = "worktree_dir: ~/shared/trees\npre_remove: ['\"$HOME/bin/pause\" < /dev/null']\n";
    let shared = "extra_mounts: [{ host_path: ~/shared, writable: true }]";
    let world = scene_with(on, shared, &format!("{OBEDIENT}{rest}"));
    world.folder(&world.home().join("shared"));
    let pausing = Pausing::new(&world);
    world.workmux(&["add", "kid"]).run().ok();
    let out = world.home().join("out");
    for name in ["1", "2", "3"] {
        world.write(out.join("kid").join(name), "untouched");
    }
    let trees = world.home().join("shared/trees").display().to_string();
    let swap = format!("mv {trees} {trees}.real && ln -s {} {trees}", out.display());
    let guest = world.waiting("shell", &world.main(), &swap);
    let remove = world.workmux(&["remove", "kid", "--force"]).mutant(mutant);
    let finished = pausing.meanwhile(&world, remove, || drop(guest.go_on().wait().ok()));
    if mutant.is_empty() {
        finished.code(1).warns("could not be removed");
    }
    fs::read_dir(out.join("kid")).map_or(0, Iterator::count)
}

fn p9_no_removal_is_led_out(on: Sandbox) {
    assert_eq!(removed(on, ""), 3);
    if on == Sandbox::Bubblewrap {
        assert_eq!(removed(on, "p9_remove"), 0, "this test can fail");
    }
}

#[test]
fn p34_a_merge_beside_a_guest_spares_what_git_was_told_not_to_look_at() {
    require_engine!("bubblewrap");
    let world = scene(Sandbox::Bubblewrap);
    for name in ["1", "2"] {
        world.write(world.main().join("d").join(name), "first");
    }
    world.git(&world.main(), &["add", "."]).ok();
    world.git(&world.main(), &["commit", "-qm", "files"]).ok();
    let own = Puppet::new(&world, "own");
    // Where a file is to come there may be a directory without anything in it.
    own.does("mkdir -p new/file");
    let tree_of_own = tree(&world, "own");
    world.git(&tree_of_own, &["update-index", "--skip-worktree", "d/2"]).ok();
    world.write(tree_of_own.join("d/2"), "the user's");
    world.workmux(&["add", "kid"]).run().ok();
    let kid = tree(&world, "kid");
    for name in ["d/1", "d/2", "new/file"] {
        world.write(kid.join(name), "second");
    }
    world.git(&kid, &["add", "."]).ok();
    world.git(&kid, &["commit", "-qm", "kid"]).ok();
    let merge = || world.workmux(&["merge", "kid", "--into", "own"]).run();
    merge().code(1).warns("d/2 is changed where 'own' is checked out");
    assert_eq!(
        (world.read(tree_of_own.join("d/1")), world.read(tree_of_own.join("d/2"))),
        ("first".into(), "the user's".into())
    );
    world.write(tree_of_own.join("d/2"), "first");
    merge().ok().says("✓ Merged 'kid' into 'own'");
    assert_eq!(world.read(tree_of_own.join("new/file")), "second");
    assert_eq!(world.git(&tree_of_own, &["status", "--porcelain"]).ok().stdout, "");
}

#[test]
fn p9_no_link_that_a_guest_has_left_leads_a_new_worktree_out() {
    require_engine!("bubblewrap");
    let shared = "extra_mounts: [{ host_path: ~/shared, writable: true }]";
    for dir in ["~/shared/wt", "~/shared/wt/new/dir"] {
        let world = scene_with(Sandbox::Bubblewrap, shared, &format!("{OBEDIENT}worktree_dir: {dir}\n"));
        let victim = world.home().join("victim");
        world.folder(&victim);
        world.folder(&world.home().join("shared"));
        world
            .shell(&["ln", "-s", &victim.display().to_string(), &world.home().join("shared/wt").display().to_string()])
            .run()
            .ok();
        world.workmux(&["add", "kid"]).run().code(1).warns("cannot make the directory for worktrees");
        assert_eq!(fs::read_dir(&victim).expect("it is there").count(), 0);
        assert_eq!(branches(&world), ["main"]);
    }
}
