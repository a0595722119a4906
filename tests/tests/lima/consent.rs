//! A machine that can write git's own files takes the user's word, which no project can give.

use workmux_tests::{Pty, Sandbox, require_engine};

use super::scene::{Scene, exists};

const KEY: &str = "accept_reduced_git_metadata_isolation";

/// Nobody has agreed to anything.
fn unasked() -> Scene {
    let scene = Scene::new();
    let silent = Sandbox::Lima.configuration("", "").replace(&format!("{KEY}: true"), &format!("{KEY}: false"));
    scene.user_config(&silent);
    scene
}

#[test]
fn p25_the_main_checkout_takes_the_users_word() {
    require_engine!("lima");
    let scene = unasked();
    let run = scene.shell(&["true"]).run().code(125);
    assert_eq!(run.stdout, "");
    let run = run.warns(&format!("'{}', with git's own files in it", scene.main().display()));
    run.warns(&format!("'sandbox.lima.{KEY}: true'")).warns("workmux add");
    // An answer on a pipe is nobody's.
    scene.shell(&["true"]).input("y\n").run().code(125).warns(KEY);
    // Nobody else may give it.
    scene.project_config(&format!("sandbox: {{ lima: {{ {KEY}: true }} }}\n"));
    scene.shell(&["true"]).run().code(125);
    std::fs::remove_file(scene.main().join(".workmux.yaml")).unwrap();
    assert_eq!((scene.machines(), scene.count("create")), (vec![], 0));

    // A worktree has no need of it.
    scene.shell(&["true"]).dir(scene.worktree("topic")).run().ok();
    let name = scene.machine();
    assert!(!exists(scene.remembered(&name).join("consent")));
    scene.shell(&["true"]).run().code(125).warns(KEY);
    scene.assert_clean();
}

#[test]
fn p25_a_person_is_asked_once() {
    require_engine!("lima");
    let scene = unasked();
    let shell = || Pty::start(scene.shell(&["sh", "-c", "echo it \"works\""]));
    for answer in ["n\n", "\n", "\u{4}"] {
        let mut pty = shell();
        pty.wait_for("[y/N]");
        pty.send(answer);
        let (code, shown) = pty.wait();
        assert_eq!(code, 125, "{shown}");
        assert!(!shown.contains("it works"), "{shown}");
    }
    assert_eq!((scene.machines(), scene.count("create")), (vec![], 0));
    let mut pty = shell();
    let question = pty.wait_for("[y/N]");
    assert!(question.contains("git's own files"), "{question}");
    pty.send("y\n");
    pty.wait_for("it works");
    assert_eq!(pty.wait().0, 0);
    let (code, shown) = shell().wait();
    assert_eq!((code, shown.contains("[y/N]")), (0, false), "{shown}");
    // Also where nobody could be asked.
    assert_eq!(scene.shell(&["echo", "works"]).run().ok().stdout, "works\n");
    let name = scene.machine();
    assert_eq!(scene.read(scene.remembered(&name).join("consent")), "accepted-v1\n");

    // The word was given for this machine.
    scene.prune(&["--force"]).ok().says(&format!("✓ Deleted '{name}'\n"));
    scene.shell(&["true"]).run().code(125).warns(KEY);
    scene.assert_clean();
}

#[test]
fn p25_what_is_no_record_of_ours_is_no_consent() {
    require_engine!("lima");
    let scene = unasked();
    scene.shell(&["true"]).dir(scene.worktree("topic")).run().ok();
    let consent = scene.remembered(&scene.machine()).join("consent");
    for text in ["", "accepted-v2\n"] {
        scene.write(&consent, text);
        scene.shell(&["true"]).run().code(125).warns("is no record of a consent").warns("remove it");
    }
}

#[test]
fn a_closed_network_is_refused() {
    require_engine!("lima");
    let scene = Scene::new();
    let closed = Sandbox::Lima.configuration("network: { policy: allow }", "").replace("policy: allow", "policy: deny");
    scene.user_config(&closed);
    for command in ["shell", "agent"] {
        let run = scene.workmux(&["sandbox", command, "--", "true"]).run().code(125);
        assert_eq!(run.stdout, "");
        run.warns("network").warns("lima").warns("Hint: ");
    }
    assert_eq!(scene.machines(), [] as [String; 0]);
}

#[test]
fn nobody_joins_a_run_in_a_machine() {
    require_engine!("lima");
    let scene = Scene::warm();
    let running = scene.waiting("shell", &scene.main(), "true");
    for backend in [&["--backend", "lima"][..], &[]] {
        let words = [&["sandbox", "shell", "--exec"], backend, &["--", "true"]].concat();
        let run = scene.workmux(&words).run().code(125);
        assert_eq!(run.stdout, "");
        run.warns("'sandbox shell --exec' is not provided by backend 'lima'").warns("Hint: ");
    }
    running.go_on().wait().ok();
    scene.assert_clean();
}

#[test]
fn p25_a_link_is_no_record_and_an_interrupted_question_no_answer() {
    require_engine!("lima");
    let scene = unasked();
    let mut pty = Pty::start(scene.shell(&["true"]));
    pty.wait_for("[y/N]");
    pty.send("\u{3}");
    assert_eq!(pty.wait().0, 130);
    assert_eq!((scene.machines(), exists(scene.state().join("backends/lima/machines"))), (vec![], false));
    scene.assert_clean();

    scene.shell(&["true"]).dir(scene.worktree("topic")).run().ok();
    let name = scene.machine();
    let consent = scene.remembered(&name).join("consent");
    let elsewhere = scene.home().join("accepted");
    scene.write(&elsewhere, "accepted-v1\n");
    scene.program("ln").arg("-s").args([&elsewhere, &consent]).run().ok();
    scene.refused(scene.shell(&["true"]).run()).warns("is no record of a consent");
    std::fs::remove_file(&consent).unwrap();

    // What takes the word also takes another start of a machine that was made for worktrees.
    let mut pty = Pty::start(scene.shell(&["true"]));
    pty.wait_for("[y/N]");
    pty.send("y\r");
    let (code, seen) = pty.wait();
    assert!(code == 125 && seen.contains(&format!("workmux sandbox stop {name}")), "{seen}");
    assert!(seen.contains(&format!("'{}', writable", scene.main().display())), "{seen}");
    scene.stop(&[&name, "--yes"]).ok();
    scene.shell(&["true"]).run().ok();
    scene.assert_clean();
}

#[test]
fn p25_a_shared_machine_takes_the_word_for_worktrees_too() {
    require_engine!("lima");
    let scene = unasked();
    let shared = Sandbox::Lima.configuration("", "isolation: shared, projects_dir: '~/src'");
    scene.user_config(&shared.replace(&format!("{KEY}: true"), &format!("{KEY}: false")));
    let (main, tree) = (scene.repository("src/one"), scene.home().join("src/topic"));
    scene.git(&main, &["worktree", "add", "--quiet", "-b", "topic", tree.to_str().unwrap()]).ok();
    let run = scene.refused(scene.shell(&["true"]).dir(&tree).run());
    run.warns(&format!("would be able to write '{}'", scene.home().join("src").display())).warns(KEY);
    assert_eq!((scene.machines(), scene.count("create")), (vec![], 0));
}
