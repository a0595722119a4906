//! What a guest can ask for and what it cannot: flags and fields (P35), prompts to the byte, names that the host finds,
//! and where an agent's branch starts.

use serde_json::{Value, json};
use workmux_tests::{Sandbox, on_every_sandbox, over_tcp, quoted, require_engine};

use super::scene::{
    Witness, answers, branches, code, guest, journal, on_each, record, requests, scene, scene_with, subjects, traces,
    tree,
};

on_every_sandbox!(an_agent_has_another_one_work_talks_to_it_and_merges_it);
over_tcp!(an_agent_has_another_one_work_talks_to_it_and_merges_it);
on_each!(p35_other_flags_and_fields_are_refused_by_name, p5_prompts_arrive_byte_for_byte);

fn an_agent_has_another_one_work_talks_to_it_and_merges_it(on: Sandbox) {
    let world = scene(on);
    let _witness = Witness(&world);
    let topic = world.worktree("topic");
    let kid = "read a; echo heard-$a; read b; cat fresh > said; echo \"$a\" >> said; git add said; \
               git commit -qm 'by the kid'";
    let script = format!(
        "set -e; echo 'a moment ago' > fresh; git add fresh; git commit -qm 'a moment ago'; workmux add kid -p {}; \
         until workmux send kid 'first words' 2>/dev/null; do sleep 0.2; done; \
         until workmux capture kid | grep -q '^heard-first words'; do sleep 0.2; done; \
         workmux status; workmux send kid go on; workmux wait kid --timeout 30; workmux merge kid; cat said",
        quoted(kid)
    );
    let run = guest(&world, &script).dir(&topic).run().ok();
    run.clone().says("✓ Spawned agent: kid").says("kid  ").says("✓ Merged 'kid' into 'topic' (1 commit(s))");
    assert!(run.stdout.ends_with("a moment ago\nfirst words\n"), "{run}");
    assert_eq!(subjects(&world, "topic"), ["by the kid", "a moment ago", "ignore", "first"]);
    assert_eq!(branches(&world), ["main", "topic"]);
    assert!(!tree(&world, "kid").exists());
    assert!(world.git(&topic, &["status", "--porcelain"]).ok().stdout.is_empty());
    world.wait_until_clean();
}

/// Flags of the host's `add` that no request carries, with their short forms.
const FLAGS: [(&str, Option<&str>); 32] = [
    ("base", None),
    ("pr", None),
    ("with-changes", Some("w")),
    ("count", Some("n")),
    ("foreach", None),
    ("name", None),
    ("agent", Some("a")),
    ("wait", Some("W")),
    ("dry-run", None),
    ("layout", Some("l")),
    ("continue", Some("c")),
    ("fork", None),
    ("config", None),
    ("target-name", None),
    ("parent-session", None),
    ("mode", None),
    ("session", Some("s")),
    ("prompt-file-only", None),
    ("headless", None),
    ("json", None),
    ("remote", None),
    ("local", None),
    ("forge", None),
    ("patch", None),
    ("include-untracked", Some("u")),
    ("no-file-ops", Some("F")),
    ("no-pane-cmds", Some("C")),
    ("open-if-exists", Some("o")),
    ("max-concurrent", None),
    ("branch-template", None),
    ("backend", None),
    ("no-sandbox", None),
];

fn p35_other_flags_and_fields_are_refused_by_name(on: Sandbox) {
    let world = scene(on);
    let topic = world.worktree("topic");
    let before = traces(&world);
    let forms: Vec<(String, &str)> = FLAGS
        .iter()
        .flat_map(|(long, short)| {
            let short = short.map(|short| (format!("-{short} 1"), *long));
            [Some((format!("--{long} 1"), *long)), Some((format!("--{long}=1"), *long)), short].into_iter().flatten()
        })
        .collect();
    let calls: Vec<String> =
        forms.iter().map(|(form, _)| format!("workmux add kid -p x {form} 2>&1; echo \"code $?\"")).collect();
    let run = guest(&world, &calls.join("\n")).dir(&topic).run().ok();
    let said: Vec<&str> = run.stdout.lines().filter(|line| !line.starts_with("  ")).collect();
    assert_eq!(said.len(), 2 * forms.len(), "{run}");
    for (pair, (form, long)) in said.chunks(2).zip(&forms) {
        let start = format!("Error: --{long} is not supported from inside a sandbox");
        assert!(pair[0].starts_with(&start) && pair[1] == "code 1", "{form}: {pair:?}");
    }

    // Whoever does not ask our program is told the same by the host.
    let fields = FLAGS.iter().map(|(long, _)| long.replace('-', "_"));
    let more = ["sandbox", "hooks", "no_hooks", "env", "cwd", "command", "panes", "parent", "depth", "Prompt"];
    let asked: Vec<Value> = fields
        .chain(more.map(str::to_owned))
        .map(|field| {
            let mut request = json!({"type": "SpawnAgent", "prompt": "x", "branch_name": "kid"});
            request[field] = json!(true);
            request
        })
        .collect();
    for answer in answers(requests(&world, &asked).dir(&topic)) {
        assert_eq!(code(&answer), "bad_field", "{answer}");
    }
    assert_eq!(traces(&world), before);
    world.wait_until_clean();
}

#[test]
fn p41_what_is_refused_before_it_is_looked_at_is_written_down_too() {
    require_engine!("bubblewrap");
    let world = scene(Sandbox::Bubblewrap);
    let answered = answers(requests(&world, &[json!({"type": "SpawnAgent", "prompt": "x", "bogus": 1})]));
    assert_eq!(code(&answered[0]), "bad_field");
    answers(requests(&world, &[json!({"type": "SpawnAgent", "branch_name": "-x", "prompt": "x"})]));
    let lines = journal(&world);
    let of = |request: &str| lines.iter().filter(|line| line["request"] == request).collect::<Vec<_>>();
    assert!(of("refused")[0]["result"].as_str().is_some_and(|why| why.contains("bogus")), "{lines:#?}");
    // What somebody looked at stands there once.
    assert_eq!((of("refused").len(), of("SpawnAgent").len()), (1, 1), "{lines:#?}");
}

fn p5_prompts_arrive_byte_for_byte(on: Sandbox) {
    // What the agent is given as its last word.
    let world = scene_with(on, "", "agent: \"sh -c 'printf %s \\\"$2\\\" > got' run\"\n");
    let _witness = Witness(&world);
    let topic = world.worktree("topic");
    let canary = world.home().join("canary");
    let touch = format!("touch {}", canary.display());
    let largest = |byte: &str, bytes: usize| byte.repeat(bytes / byte.len());
    let prompts = [
        format!("'\"$({touch})`{touch}`\\${{IFS}};{touch};#({touch})%s\n{{{{ branch }}}}\n---\nagent: evil\n---\n"),
        "--config=/etc/passwd".to_owned(),
        "\n\n-D\t\r\n\u{1b}[31mé\u{202e}👩\u{200d}💻 \n\n".to_owned(),
        largest("x", 100 * 1024),
        largest("é", 1024 * 1024 - 200),
    ];
    for (n, prompt) in prompts.iter().enumerate() {
        world.write(topic.join(format!("prompt-{n}")), prompt);
    }
    let calls: Vec<String> = (0..prompts.len()).map(|n| format!("workmux add kid-{n} -P prompt-{n}")).collect();
    let names: Vec<String> = (0..prompts.len()).map(|n| format!("kid-{n}")).collect();
    let script = format!(
        "set -e; {}; workmux add flag --prompt={} --background; workmux wait flag {}",
        calls.join("; "),
        quoted("--help"),
        names.join(" ")
    );
    guest(&world, &script).dir(&topic).run().ok();
    for (n, prompt) in prompts.iter().enumerate() {
        let dir = tree(&world, &format!("kid-{n}"));
        let kept = world.read(record(&world, &format!("kid-{n}")).join("prompt"));
        assert!(kept == *prompt, "the prompt {n} was kept as another text");
        let file = dir.join(format!(".workmux/PROMPT-kid-{n}.md"));
        assert!(world.read(file) == *prompt, "the prompt {n} lies in the worktree as another text");
        let got = world.read(dir.join("got"));
        match prompt.len() > 100 * 1024 {
            false => assert!(got == *prompt, "the agent got another prompt {n}: {got:?}"),
            true => assert!(got.contains(&format!(".workmux/PROMPT-kid-{n}.md")), "{got}"),
        }
        assert!(world.git(&dir, &["status", "--porcelain"]).ok().stdout.ends_with(" got\n"));
    }
    assert_eq!(world.read(tree(&world, "flag").join("got")), "--help");
    assert!(!canary.exists());

    // What no line can hold, and what no word can.
    world.write(topic.join("huge"), largest("x", 1024 * 1024 + 1));
    let run = guest(&world, "workmux add huge -P huge").dir(&topic).run().code(1);
    run.warns("Error:");
    let nul = "{\"type\":\"SpawnAgent\",\"prompt\":\"a\\u0000b\",\"branch_name\":\"nul\"}";
    let answered = answers(guest(&world, &workmux_tests::dial(&[nul])).dir(&topic));
    assert_eq!(code(&answered[0]), "bad_field");
    assert!(!tree(&world, "huge").exists() && !tree(&world, "nul").exists());
    world.wait_until_clean();
}

#[test]
fn p37_the_host_names_a_branch_after_the_prompt_or_by_the_users_generator() {
    require_engine!("bubblewrap");
    let world = scene(Sandbox::Bubblewrap);
    let topic = world.worktree("topic");
    let script = "set -e; workmux add -A -p ': Please fix the login bug' -b; workmux add ignored -A -p ': fix the LOGIN bug'; \
                  workmux status";
    let run = guest(&world, script).dir(&topic).run().ok();
    run.says("✓ Spawned agent: (auto-named)").says("fix-login-bug-2").warns("the branch 'ignored' is not used");
    assert_eq!(branches(&world), ["fix-login-bug", "fix-login-bug-2", "main", "topic"]);

    // The generator is told the prompt and nothing else, and what it says is only a name.
    let before = traces(&world);
    let canary = world.home().join("canary");
    let hostile = [
        format!("echo '$(touch {0})'; touch {0}-ran", canary.display()),
        "echo -- -D".to_owned(),
        "echo main".to_owned(),
        "echo HEAD".to_owned(),
        "false".to_owned(),
    ];
    for command in hostile {
        let rest = format!("{}auto_name: {{ command: {} }}\n", super::scene::OBEDIENT, json!(command));
        world.user_config(&(Sandbox::Bubblewrap.configuration("network: { policy: deny }", "") + &rest));
        let run = guest(&world, "workmux add -A -p ': x'").dir(&topic).run();
        // The second 'main' is another branch.
        if command.ends_with("main") {
            run.ok();
            world.workmux(&["remove", "main-2", "--force"]).run().ok();
        } else {
            run.code(1).warns("the host failed to spawn the agent");
        }
        assert_eq!(
            traces(&world).iter().filter(|trace| !trace.contains("canary")).collect::<Vec<_>>(),
            before.iter().collect::<Vec<_>>(),
            "{command}"
        );
    }
    assert!(canary.with_file_name("canary-ran").exists() && !canary.exists());
}

#[test]
fn p36_what_would_need_a_person_is_an_error_at_once() {
    require_engine!("bubblewrap");
    let world = scene(Sandbox::Bubblewrap);
    let topic = world.worktree("topic");
    let before = traces(&world);
    let canary = world.home().join("canary");
    let editor = format!("touch {}", canary.display());
    let asked = [
        json!({"type": "SpawnAgent", "prompt": ""}),
        json!({"type": "SpawnAgent", "prompt": "", "branch_name": null}),
        json!({"type": "SpawnAgent", "prompt": " \n\t"}),
        json!({"type": "SpawnAgent", "prompt": "###"}),
        json!({"type": "SpawnAgent", "branch_name": "kid"}),
    ];
    let run = requests(&world, &asked).dir(&topic).env("VISUAL", &editor).env("EDITOR", &editor);
    for answer in answers(run.env("GIT_EDITOR", &editor)) {
        assert_eq!(answer["type"], "Error", "{answer}");
    }
    guest(&world, "workmux add").dir(&topic).run().code(2);
    assert!(!canary.exists());
    assert_eq!(traces(&world), before);
}

/// The base is the branch of the agent that asks.
#[test]
fn without_a_branch_there_is_nothing_to_start_from() {
    require_engine!("bubblewrap");
    let world = scene(Sandbox::Bubblewrap);
    let topic = world.worktree("topic");
    let before = traces(&world);
    let script = "set -e; git commit -q --allow-empty -m second; git checkout -q --detach; \
                  ! workmux add kid -p :; git checkout -q topic; \
                  GIT_SEQUENCE_EDITOR='sed -i s/^pick/edit/' git rebase -q -i HEAD~1 2>/dev/null; ! workmux add kid -p :; \
                  git rebase --continue; git checkout -q -b other; git commit -q --allow-empty -m third; workmux add kid -p :";
    let run = guest(&world, script).dir(&topic).run().ok();
    assert_eq!(run.stderr.matches("no branch is checked out in this worktree").count(), 2, "{run}");
    assert_eq!(
        subjects(&world, "kid"),
        ["third", "second", "ignore", "first"],
        "from the branch that is checked out now: {run}"
    );
    assert_ne!(traces(&world), before);
    world.workmux(&["remove", "kid", "--force"]).run().ok();
    world.wait_until_clean();
}
