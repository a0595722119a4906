//! What a guest has put where the host writes: its branch is full of links, and so is the place for worktrees (P9, P11).

use workmux_tests::{Sandbox, Snapshot, World, require_engine};

use super::scene::{OBEDIENT, Puppet, Witness, guest, on_each, scene_with, tree};

on_each!(p9_no_link_of_a_guests_branch_leads_the_host_out);

/// A trap on the guest's branch, what it does to a spawn, and the configuration it is laid for.
const TRAPS: [(&str, bool); 6] = [
    ("ln -s OUT .workmux", false),
    ("mkdir .workmux; ln -s OUT/file .workmux/PROMPT-kid.md", true),
    ("mkdir .workmux; ln -s OUT/new .workmux/PROMPT-kid.md; ln -s OUT/ignore .workmux/.gitignore", true),
    ("ln -s OUT conf", false),
    ("mkdir conf; ln -s OUT conf/deep", false),
    ("mkdir -p conf/deep; ln -s OUT/file conf/.env; ln -s OUT/new conf/deep/x", true),
];

/// A world with something outside that must not change.
fn world(on: Sandbox) -> World {
    let world =
        scene_with(on, "", &format!("{OBEDIENT}files: {{ copy: [conf/.env, 'conf/**/x'], symlink: [conf/deep/y] }}\n"));
    for name in ["conf/.env", "conf/deep/x", "conf/deep/y"] {
        world.write(world.main().join(name), "the project's");
    }
    world.write(world.home().join("out/file"), "untouched");
    world
}

fn p9_no_link_of_a_guests_branch_leads_the_host_out(on: Sandbox) {
    let world = world(on);
    let _witness = Witness(&world);
    let out = world.home().join("out");
    let before = Snapshot::of(&out);
    let own = Puppet::new(&world, "own");
    let trapped = |own: &Puppet, trap: &str| {
        let trap = trap.replace("OUT", out.to_str().expect("UTF-8"));
        own.does(&format!(
            "git reset -q --hard main; git clean -qfdx -e .ask -e '.said*'; rm -rf .workmux conf; {trap}; \
             git add -f .workmux conf 2>/dev/null || git add -f .workmux 2>/dev/null || git add -f conf; git commit -qm trap; workmux add kid -p ': the prompt' || echo refused"
        ))
    };
    for (trap, works) in TRAPS {
        let said = trapped(&own, trap);
        assert_eq!(said.contains("Spawned agent: kid"), works, "{trap}: {said}");
        assert_eq!(before.changes(&Snapshot::of(&out)), [""; 0], "{trap}");
        if works {
            let kid = tree(&world, "kid");
            assert_eq!(world.read(kid.join(".workmux/PROMPT-kid.md")), ": the prompt", "{trap}");
            assert!(!kid.join(".workmux/PROMPT-kid.md").is_symlink());
            world.workmux(&["remove", "kid", "--force"]).run().ok();
        } else {
            assert!(!tree(&world, "kid").exists(), "{trap}");
        }
    }
    // Without the guard the first one leads out: this test can fail.
    let loose = Puppet::by(&world, "loose", world.workmux(&[]).mutant("p9_beneath"));
    trapped(&loose, TRAPS[0].0);
    assert_ne!(before.changes(&Snapshot::of(&out)), [""; 0]);
    world.workmux(&["remove", "--all", "--force"]).run().ok();
}

/// Where the main checkout is a guest's and worktrees go into it, the guest can lay a link there first.
#[test]
fn p9_the_place_for_worktrees_is_no_link() {
    require_engine!("bubblewrap");
    for planted in ["ln -s OUT .worktrees", "mkdir .worktrees; ln -s OUT .worktrees/kid", "mkfifo .worktrees"] {
        let world = scene_with(Sandbox::Bubblewrap, "", &format!("{OBEDIENT}worktree_dir: .worktrees\n"));
        world.write(world.home().join("out/file"), "untouched");
        let out = world.home().join("out");
        let before = Snapshot::of(&out);
        let planted = planted.replace("OUT", out.to_str().expect("UTF-8"));
        let run = guest(&world, &format!("{planted}; workmux add kid -p 'touch here'")).run().code(1);
        run.warns("the host failed to spawn the agent");
        assert_eq!(before.changes(&Snapshot::of(&out)), [""; 0], "{planted}");
        assert_eq!(super::scene::branches(&world), ["main"], "{planted}");
    }
}
