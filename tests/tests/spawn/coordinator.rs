//! The whole way with a real agent: Claude Code in a sandbox has two others work, waits for them and merges what they
//! made. The model's answers are scripted, nothing else is.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use workmux_tests::{Model, Sandbox, pausing, require_engine, told, wait_until};

use super::scene::{Witness, branches, records, subjects, tree};

/// Three such agents at once are as much as a small machine can bear.
static ALONE: Mutex<()> = Mutex::new(());

mod a_claude_code_coordinator_has_two_others_work_and_merges_them {
    use workmux_tests::Sandbox;

    #[test]
    fn bubblewrap() {
        if Sandbox::Bubblewrap.is_ready() {
            super::a_claude_code_coordinator_has_two_others_work_and_merges_them(Sandbox::Bubblewrap);
        }
    }

    #[test]
    fn docker() {
        if Sandbox::Docker.is_ready() {
            super::a_claude_code_coordinator_has_two_others_work_and_merges_them(Sandbox::Docker);
        }
    }
}

/// Each of the others waits until the test has seen it at work.
fn work(name: &str) -> (String, String) {
    pausing(&format!(
        "echo {name} > {name}.txt && git add {name}.txt && git commit -qm 'by {name}' && echo made-{name}"
    ))
}

fn a_claude_code_coordinator_has_two_others_work_and_merges_them(on: Sandbox) {
    require_engine!("npm");
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let world = on.world();
    let _witness = Witness(&world);
    let bin = world.install_claude();
    let ((alpha, alphas_pipe), (beta, betas_pipe)) = (work("alpha"), work("beta"));
    let model = Model::play(
        &[
            (
                "task-of-the-coordinator",
                &[
                    "workmux add kid-a -p 'task-of-alpha' && workmux add kid-b --prompt='task-of-beta'",
                    "workmux wait kid-a kid-b --timeout 100 && workmux status --tree",
                    "workmux merge kid-a && workmux merge kid-b && git log --format=%s && ls",
                ],
            ),
            ("task-of-alpha", &[&alpha]),
            ("task-of-beta", &[&beta]),
        ],
        "all is done",
    );
    // A guest of bubblewrap's with a network of its own never reaches this machine.
    let table = if on == Sandbox::Bubblewrap { "network: host" } else { "" };
    let sandbox = format!(
        "extra_mounts: [{}], env: {{ ANTHROPIC_BASE_URL: '{}', ANTHROPIC_API_KEY: anything, \
         CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1', NO_PROXY: '*' }}",
        bin.parent().expect("npm's prefix").display(),
        model.url()
    );
    let agent = format!("agent: {}/claude -p\n", bin.display());
    world.user_config(&(on.configuration(&sandbox, table) + &agent));

    world.workmux(&["add", "coord", "-S", "-b", "-p", "task-of-the-coordinator"]).run().ok();
    wait_until("the coordinator to have asked for both", || !model.results().is_empty());
    let at_alpha = told(&tree(&world, "kid-a").join(alphas_pipe));
    let at_beta = told(&tree(&world, "kid-b").join(betas_pipe));
    let shown = world.workmux(&["status", "--tree"]).run().ok().stdout;
    let names: Vec<&str> = shown.lines().skip(1).filter_map(|line| line.split("  ").find(|w| !w.is_empty())).collect();
    assert_eq!(names, ["coord", "kid-a", "kid-b"], "{shown}");
    let indents: Vec<usize> = shown.lines().skip(1).map(|line| line.len() - line.trim_start().len()).collect();
    assert_eq!(indents, [0, 2, 2], "{shown}");
    assert_eq!(shown.matches("yes").count(), 3, "each in a sandbox: {shown}");
    drop((at_alpha, at_beta));

    let waited = world.workmux(&["wait", "coord", "--timeout", "50"]).run();
    assert_eq!(waited.code, Some(0), "{waited}\n{:#?}", model.results());
    let results = model.results();
    assert!(results.iter().any(|result| result.contains("made-alpha")), "{results:#?}");
    assert!(results.iter().any(|result| result.contains("made-beta")), "{results:#?}");
    // The coordinator itself saw all of it, in its sandbox.
    let last = results.last().expect("its last call");
    for seen in ["by alpha", "by beta", "first", "alpha.txt", "beta.txt", "README.md"] {
        assert!(last.contains(seen), "{seen}: {results:#?}");
    }
    assert_eq!(branches(&world), ["coord", "main"]);
    let mut made = subjects(&world, "coord");
    made.sort();
    assert_eq!(made, ["by alpha", "by beta", "first"]);
    assert!(world.git(&tree(&world, "coord"), &["status", "--porcelain"]).ok().stdout.is_empty());

    world.workmux(&["merge", "coord"]).within(Duration::from_secs(30)).run().ok();
    assert_eq!(branches(&world), ["main"]);
    for name in ["alpha", "beta"] {
        assert_eq!(world.read(world.main().join(format!("{name}.txt"))), format!("{name}\n"));
    }
    assert!(world.git(&world.main(), &["status", "--porcelain"]).ok().stdout.is_empty());
    assert_eq!(world.git(&world.main(), &["worktree", "list"]).ok().stdout.lines().count(), 1);
    assert_eq!(records(&world).len(), 0);
    world.wait_until_clean();
}
