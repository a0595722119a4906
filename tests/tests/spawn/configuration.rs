//! What holds for an agent's agents is what held for it: frozen when it was started (P26), in a sandbox whatever the
//! configuration says (P31), and never more than it had itself (P32).

use serde_json::Value;
use workmux_tests::{Sandbox, World, require_engine};

use super::scene::{OBEDIENT, Puppet, Witness, json, on_both, on_each, record, scene_with, tree};

on_each!(p26_what_is_edited_during_a_run_changes_nothing);
on_both!(p32_no_generation_has_more_than_the_one_before);

fn frozen(world: &World, handle: &str) -> Value {
    json(world, record(world, handle).join("config.json"))
}

fn p26_what_is_edited_during_a_run_changes_nothing(on: Sandbox) {
    let world = scene_with(on, "", OBEDIENT);
    let _witness = Witness(&world);
    world.write(world.main().join("secret"), "the user's");
    let own = Puppet::new(&world, "own");
    let canary = world.home().join("canary");
    let evil = format!(
        "agent: touch {0}\nfiles: {{ copy: [secret], symlink: [secret] }}\npost_create: ['touch {0}']\n\
         pre_merge: ['touch {0}']\npre_remove: ['touch {0}']\nwindow_prefix: evil-\nworktree_prefix: evil-\n\
         worktree_dir: .evil\nbase_branch: evil\npanes: [{{ command: touch {0} }}, {{ command: <agent>, split: vertical }}]\n\
         sandbox: {{ enabled: false, network: {{ policy: allow }}, extra_mounts: ['{1}'], env: {{ EVIL: '1' }} }}\n",
        canary.display(),
        world.home().display()
    );
    // By the guest itself, and by whoever else.
    let said = own.does(&format!(
        "printf %s {} > .workmux.yaml; git add .workmux.yaml; git commit -qm evil; git branch evil main",
        workmux_tests::quoted(&evil)
    ));
    assert_eq!(said, "");
    world.project_config(&evil);
    let child = own.add(&world, "child");
    assert_eq!(child.does("echo \"<$EVIL>\"; ls secret 2>/dev/null; ls .workmux.yaml"), "<>\n.workmux.yaml\n");
    if on != Sandbox::Lima {
        assert_eq!(child.does("tail -n +3 /proc/net/dev | cut -d: -f1"), "    lo\n");
    }
    assert_eq!(frozen(&world, "child"), frozen(&world, "own"));
    let grand = child.add(&world, "grand");
    assert_eq!(grand.does("echo \"<$EVIL>\""), "<>\n");
    assert_eq!(frozen(&world, "grand"), frozen(&world, "own"));
    let said = own.does("workmux merge child --keep; workmux status");
    assert!(said.contains("✓ Merged") || said.contains("✓ Nothing"), "{said}");
    assert!(!canary.exists());
    // The user's own next command would ask about what is there by now.
    std::fs::remove_file(world.main().join(".workmux.yaml")).expect("it was there");
    world.workmux(&["remove", "--all", "--force"]).run().ok();
    assert!(!canary.exists());
}

/// The user has sandboxes off and asks for one by a flag; the configuration names commands for panes and steps.
#[test]
fn p31_an_agent_in_a_sandbox_starts_agents_in_sandboxes_and_nothing_on_the_host() {
    require_engine!("bubblewrap");
    require_engine!("tmux");
    let world = scene_with(Sandbox::Bubblewrap, "", "");
    let _witness = Witness(&world);
    let canary = |name: &str| world.home().join(format!("canary-{name}"));
    let places = ["pane", "post", "merge", "remove", "guest"];
    let rest = format!(
        "{OBEDIENT}panes: [{{ command: 'touch {}' }}, {{ command: <agent>, split: vertical }}, {{ split: vertical }}]\n\
         post_create: ['touch {}']\npre_merge: ['touch {}']\npre_remove: ['touch {}']\n",
        canary("pane").display(),
        canary("post").display(),
        canary("merge").display(),
        canary("remove").display()
    );
    let config = Sandbox::Bubblewrap.configuration("network: { policy: deny }, enabled: false", "");
    world.user_config(&(config + &rest));
    let tmux = world.tmux();
    let own = Puppet::by(&world, "own", world.workmux(&[]).envs(tmux.variables("test")));
    // The user's own window is as configured.
    workmux_tests::wait_until("the user's own commands to have run", || {
        canary("pane").exists() && canary("post").exists()
    });
    for place in ["pane", "post"] {
        std::fs::remove_file(canary(place)).expect("it is there");
    }
    let child = own.add(&world, "child");
    let touch = format!("touch {} 2>/dev/null; echo \"<$WM_SANDBOX_GUEST>\"", canary("guest").display());
    assert_eq!(child.does(&touch), "<1>\n");
    let grand = child.add(&world, "grand");
    assert_eq!(grand.does(&touch), "<1>\n");
    for handle in ["child", "grand"] {
        let kept = json(&world, record(&world, handle).join("record.json"));
        assert_eq!(kept["sandboxed"], true);
        assert_eq!(kept["windows"][0]["panes"].as_array().map(Vec::len), Some(1), "{kept}");
        let panes = tmux.ask(&["list-panes", "-t", &format!("test:=wm-{handle}"), "-F", "#{pane_id}"]);
        assert_eq!(panes.lines().count(), 1);
    }
    for (agent, file) in [(&child, "x"), (&grand, "y")] {
        agent.does(&format!("echo {file} > {file}; git add {file}; git commit -qm {file}"));
    }
    let said = own.does("workmux merge grand; workmux merge child");
    assert_eq!(said.matches("✓ Removed worktree").count(), 2, "{said}");
    for place in places {
        assert!(!canary(place).exists(), "{place}");
    }
    // Without the guard the child of a run that was forced is as the configuration says: this test can fail.
    for (name, mutant, said) in [("inside", "", "<1>\n"), ("outside", "p31_forced", "<>\n")] {
        let script = format!(
            "workmux add {name} -p {}; workmux wait {name}",
            workmux_tests::quoted(&format!("({touch}) > said"))
        );
        super::scene::guest(&world, &script).mutant(mutant).run().ok();
        assert_eq!(world.read(tree(&world, name).join("said")), said);
        assert_eq!(canary("guest").exists(), !mutant.is_empty());
    }
}

fn p32_no_generation_has_more_than_the_one_before(on: Sandbox) {
    let (allows, table) = match on {
        Sandbox::Bubblewrap => ("network: { policy: allow }", ""),
        _ => ("network: { policy: allow }", "memory: 1g, cpus: 2"),
    };
    let world = scene_with(on, "", "");
    let _witness = Witness(&world);
    let home = world.home().to_owned();
    world.write(home.join("shared/file"), "shared");
    let more =
        format!("{allows}, extra_mounts: ['{}'], env: {{ GIVEN: 'exactly $HOME' }}", home.join("shared").display());
    world.user_config(&(on.configuration(&more, table) + OBEDIENT));
    // What the project tightens at the start holds for good, also once its file is gone.
    let backend = if on.is_container() { ", container: { memory: 300m, excluded_files: [hidden] }" } else { "" };
    world.write(world.main().join("hidden"), "hidden");
    world.git(&world.main(), &["add", "hidden"]).ok();
    world.git(&world.main(), &["commit", "--quiet", "--message=hidden"]).ok();
    world.project_config(&format!("sandbox: {{ network: {{ policy: deny }}{backend} }}\n"));
    let own = Puppet::new(&world, "own");
    std::fs::remove_file(world.main().join(".workmux.yaml")).expect("it was there");
    let child = own.add(&world, "child");
    let grand = child.add(&world, "grand");
    assert_eq!(frozen(&world, "child"), frozen(&world, "own"));
    assert_eq!(frozen(&world, "grand"), frozen(&world, "own"));
    let probe = "tail -n +3 /proc/net/dev | cut -d: -f1; echo \"$GIVEN\"; cat hidden; \
                 cut -d' ' -f2 /proc/mounts | sed s,$(basename $PWD),TREE,g | sort -u; cat /sys/fs/cgroup/memory.max 2>/dev/null; true";
    let first = own.does(probe);
    assert!(first.starts_with("    lo\nexactly $HOME\n"), "{first}");
    if on.is_container() {
        assert!(!first.contains("\nhidden\n"), "{first}");
    }
    for (puppet, name) in [(&child, "child"), (&grand, "grand")] {
        let said = puppet.does(probe);
        let new: Vec<&str> = said.lines().filter(|line| !first.lines().any(|known| known == *line)).collect();
        assert_eq!(new, [""; 0], "{name} has what its parent has not");
    }
    // One sees nothing of another's worktree.
    assert!(tree(&world, "own").is_dir());
    let said = child.does(&format!("ls {} {} 2>&1", tree(&world, "own").display(), tree(&world, "grand").display()));
    assert_eq!(said.matches("No such file").count(), 2, "{said}");
    world.workmux(&["remove", "--all", "--force"]).run().ok();
    world.wait_until_clean();
}
