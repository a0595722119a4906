//! `workmux init`: a configuration file with every key as a comment, which changes nothing until it is edited.

use workmux_tests::World;

#[test]
fn init_writes_both_files_once_and_they_change_nothing() {
    let world = World::new();
    let folder = world.main().join("folder");
    world.folder(&folder);
    let file = world.main().join(".workmux.yaml");
    world.workmux(&["init"]).dir(&folder).run().ok().says(&format!("✓ {}", file.display())).says("workmux doctor");
    world
        .workmux(&["init"])
        .dir(&folder)
        .run()
        .code(1)
        .warns(&file.display().to_string())
        .warns("workmux init --force");

    let written = world.read(&file);
    world.write(&file, "agent: codex\n");
    world.workmux(&["init", "--force"]).run().ok();
    assert_eq!(world.read(&file), written);
    assert!(written.lines().all(|line| line.is_empty() || line.starts_with('#')), "{written}");
    // Nothing is wrong with it.
    world.workmux(&["doctor"]).run().says("✓ configuration: ~/project/.workmux.yaml");
}

#[test]
fn init_of_the_users_file_needs_no_repository() {
    let world = World::without_repository();
    world.workmux(&["init"]).run().code(1).warns("git init");
    let run = world.workmux(&["init", "--global", "--force"]).run().ok();
    run.says("config.yaml");
    world.workmux(&["init", "--global"]).run().code(1).warns("workmux init --global --force");
}
