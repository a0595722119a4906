//! Programs that are wrong on purpose.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use workmux_tests::{processes, wait_until};

use super::scene::{asks, does, fails, program, world};

/// A pause without end that no other test makes, so that it can be found.
fn pause(test: &str) -> String {
    let number = test.bytes().fold(0, |sum, byte| sum + u32::from(byte));
    format!("sleep 4321.{}{number}", std::process::id())
}

fn is_gone(pause: &str) {
    wait_until("the program to end", || !processes().iter().any(|process| process.words.contains(pause)));
}

#[test]
fn each_fault_of_a_program_costs_one_command_and_names_the_program() {
    let world = world();
    let name = program(&world).display().to_string();
    let answer = r#"ok '{"name":"one","home":""}'"#;
    for (script, reasons) in [
        ("kill -SEGV $$", &["a signal ended it, and it gave no answer"][..]),
        ("echo one >&2; echo two >&2; exit 3", &["it ended with code 3", "it wrote: one", "it wrote: two"]),
        ("exit 0", &["it gave no answer"]),
        ("exec >&-; exit 0", &["it gave no answer"]),
        ("echo hello", &["no JSON object", "hello"]),
        ("echo '[1,2]'", &["no JSON object"]),
        ("head -c 3000 /dev/urandom", &["no JSON object"]),
        (r#"printf '{"id":%s,"ok":{"name"' "$id""#, &["no JSON object"]),
        (r#"printf '{"id":%s,"ok":{"name"' "$id"; kill -9 $$"#, &["a signal ended it, and a line is no JSON object"]),
        (r#"printf '{"id":%s,"ok":"%s"}' "$id" "$(head -c 10000000 /dev/zero | tr '\0' x)""#, &["at most 1048576"]),
        ("yes", &["printed more than 16 MiB"]),
        ("yes >&2", &["printed more than 16 MiB"]),
        (r#"id=99999; ok '{}'"#, &["it answered question 99999, and was asked "]),
        (r#"echo '{"ok":{}}'"#, &["an answer has no 'id'"]),
        (r#"ok '{}'; ok '{}'"#, &["it answered twice"]),
        (r#"ok '{"name":"a"}'; exit 4"#, &["it ended with code 4 after its answer"]),
        (r#"ok '{"name":7}'"#, &["that is no answer to 'prepare'"]),
        ("ok null", &["that is no answer to 'prepare'"]),
        (r#"printf '{"id":%s,"error":"no"}' "$id""#, &["an 'error' is wrong"]),
    ] {
        does(&world, script, "");
        let finished = fails(&world, &format!("'{name}' did not answer 'prepare' as it should"));
        for reason in reasons {
            finished.clone().warns(reason);
        }
        finished.warns("Hint: try it by hand: echo ");
    }
    for (script, reasons) in [
        (r#"[ $verb = exec ] || { ok '{"name":"a"}'; exit; }; ok '{"session":{}}'"#, &["'exec'", "session"][..]),
        (r#"[ $verb = exec ] || { ok '{"name":"a"}'; exit; }; exit 5"#, &["'exec'", "it ended with code 5"]),
        (r#"[ $verb = exec ] || { ok '{"name":"a"}'; exit; }; ok '{"plan":{"program":"sh"}}'"#, &["not an absolute"]),
        (r#"ok '{"home":"/elsewhere","name":"a"}'"#, &["the guest's home is '/elsewhere'"]),
        ("ok '{}'", &["names its instance ''"]),
    ] {
        does(&world, script, "");
        for reason in reasons {
            fails(&world, "'bridge'").warns(reason);
        }
    }
    // Nothing of that is remembered.
    does(&world, answer, "");
    fails(&world, "'exec'");
}

#[test]
fn a_program_that_hangs_is_ended_with_all_that_it_started() {
    let world = world();
    let pause = pause("hangs");
    for script in ["PAUSE", "PAUSE & wait", "trap '' TERM; while :; do PAUSE; done", "ok '{}'; PAUSE"] {
        does(&world, &script.replace("PAUSE", &pause), ", timeout: 1");
        let started = Instant::now();
        fails(&world, "did not answer 'prepare' as it should").warns("did not finish within 1 s and was ended");
        assert!(started.elapsed() < Duration::from_secs(20), "{script}");
        is_gone(&pause);
    }
    // What it leaves behind when it has answered is ended as well.
    does(&world, &format!("{pause} & ok '{{\"name\":7}}'"), "");
    fails(&world, "that is no answer to 'prepare'");
    is_gone(&pause);
}

#[test]
fn a_signal_ends_the_program_that_is_being_asked() {
    let world = world();
    let (begun, pause) = (world.home().join("begun"), pause("signal"));
    does(&world, &format!("touch {}; {pause}", begun.display()), "");
    let run = world.shell(&["true"]).start();
    wait_until("the question", || begun.exists());
    run.signal(Signal::SIGTERM);
    run.wait().code(143);
    is_gone(&pause);
    world.assert_clean();
}

#[test]
fn a_programs_own_error_and_its_notes_are_shown_clean() {
    let world = world();
    let note = r#"echo '{"log":{"level":"warning","text":"slow\u001b[31m today"}}'; echo '{"progress":{"done":1}}'"#;
    let error = r#"{"kind":"refused","message":"no\u001b[2J room","causes":["full"],"hint":"make room"}"#;
    does(&world, &format!(r#"{note}; printf '%s\n' '{{"id":'$id',"error":{error}}}'"#), "");
    let run = fails(&world, "no").warns("room").warns("full").warns("Hint: make room").warns("slow");
    run.never_says("as it should");
}

#[test]
fn a_program_that_declares_nothing_usable_is_not_asked_again() {
    let world = world();
    let name = program(&world).display().to_string();
    let asked = world.home().join("asked");
    for (declaration, why) in [
        (r#"{"protocol":"0.1","isolation":"none","features":{"mounts":true}}"#, "it declares no boundary"),
        (r#"{"protocol":"0.1","isolation":"vm","features":{}}"#, "it declares no boundary"),
        (r#"{"protocol":"0.7","isolation":"vm","features":{"mounts":true}}"#, "it speaks protocol 0.7"),
        (r#"{"protocol":"0.1","isolation":"vm","features":{"mounts":true},"verbs":["x"]}"#, "the verb 'x'"),
        (r#"{"isolation":"vm"}"#, "that is no answer to 'describe'"),
        ("null", "that is no answer to 'describe'"),
    ] {
        let text = format!(
            "#!/bin/sh\nread -r line; echo >> {}; id=${{line#*'\"id\":'}}\n\
             printf '%s\\n' '{{\"id\":'${{id%%,*}}',\"ok\":{declaration}}}'\n",
            asked.display()
        );
        asks(&world, &text, "");
        fails(&world, &name).warns(why);
        assert_eq!(world.read(&asked), "\n", "{why}");
        std::fs::remove_file(&asked).unwrap();
    }
}

#[test]
fn a_program_gets_no_variable_but_those_of_the_manifest_and_a_question_without_secrets() {
    let world = world();
    let seen = world.home().join("seen");
    does(&world, &format!("env > {0}; echo \"$line\" >> {0}; exit 1", seen.display()), "");
    let run = world.agent(&["true"]).env("MY_TOKEN", "SENTINEL").env("LD_LIBRARY_PATH", "SENTINEL").run();
    run.code(125);
    let seen = world.read(&seen);
    assert!(seen.contains("HOME=") && seen.contains("\"verb\":\"prepare\""), "{seen}");
    assert!(!seen.contains("SENTINEL") && !seen.contains("WM_RPC_TOKEN"), "{seen}");
}
