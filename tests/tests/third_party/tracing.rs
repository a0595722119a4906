//! `WORKMUX_TRACE=plugin`, and what a backend says itself: whose line it is, and nothing that is secret.

use workmux_tests::{Finished, World};

fn shell(world: &World, backend: &str, trace: &str, sin: &str) -> Finished {
    let words = ["sandbox", "shell", "--backend", backend, "--", "sh", "-c", "echo \"$PLAIN\""];
    world.workmux(&words).env("WORKMUX_TRACE", trace).env("WORKMUX_HOSTILE", sin).run()
}

#[test]
fn p80_a_trace_names_calls_and_no_values() {
    let world = World::new();
    let library = world.install_plugin("minimal");
    world.workmux(&["plugin", "trust"]).arg(library).run().ok();
    world.user_config("sandbox: { env: { PLAIN: hidden-value } }\n");

    let traced = shell(&world, "minimal", "plugin", "").ok();
    assert_eq!(traced.stdout, "hidden-value\n");
    assert!(!traced.stderr.contains("hidden-value"), "{traced}");
    for verb in ["load", "settings", "prepare", "exec", "release"] {
        let begins = format!("workmux: trace: plugin minimal {verb}: ");
        let line = traced.stderr.lines().find(|line| line.starts_with(&begins));
        assert!(line.is_some_and(|line| line.contains(" ms") && line.ends_with(", ok")), "{verb}: {traced}");
    }
    shell(&world, "minimal", "", "").ok().never_says("trace:");

    let file = world.home().join("trace");
    let quiet = shell(&world, "minimal", &format!("plugin:{}", file.display()), "").ok();
    quiet.never_says("trace:");
    let text = world.read(&file);
    assert!(text.lines().any(|line| line.contains(" plugin minimal prepare: ")), "{text}");
    assert!(!text.contains("hidden-value"), "{text}");

    shell(&world, "minimal", "everything", "").ok().warns("nothing is traced: WORKMUX_TRACE is 'everything'");
}

#[test]
fn what_a_backend_says_bears_its_name() {
    let world = World::new();
    let library = world.install_plugin("hostile");
    world.workmux(&["plugin", "trust"]).arg(library).run().ok();
    let said = shell(&world, "hostile", "plugin", "flood@prepare");
    // Its own lines are cleaned, and none can pass for another's.
    said.clone().warns("workmux: warning: hostile: line 0 xxx").never_says("\x1b");
    assert!(said.stderr.lines().any(|line| line.starts_with("workmux: trace: plugin hostile prepare: ")), "{said}");
    let failed = shell(&world, "hostile", "plugin", "panic@prepare").code(125);
    failed.warns("workmux: trace: plugin hostile prepare: ").warns(", failed (Panicked)");
}

#[test]
fn info_tells_the_settings_of_a_backend() {
    let world = World::new();
    let info = world.workmux(&["plugin", "info", "bubblewrap"]).run().ok();
    info.says("Settings, in the table 'sandbox.bubblewrap' of your configuration:")
        .says("  allow_root: true or false; default false\n      Run as root ")
        .says("  network: 'private' or 'host'; default 'private'; a project may set it to 'private' only\n")
        .says("came with the program");
}
