//! What an agent is told: every byte of it, from wherever the user gives it.

use std::fs;

use workmux_tests::{World, require_engine, wait_for};

use super::case::{Worktrees, world};

/// Keeps its last word, byte for byte.
const LISTENER: &str = "#!/bin/sh\nfor last; do :; done\nprintf %s \"$last\" > .workmux/new\n\
                        mv .workmux/new .workmux/heard\nexec cat\n";

/// A world whose agent listens.
fn listening() -> World {
    let mut world = world();
    world.put_program("claude", LISTENER);
    world
}

/// What the agent was told.
fn heard(world: &World, handle: &str) -> String {
    let file = world.tree(handle).join(".workmux/heard");
    wait_for("what an agent heard", || fs::read_to_string(&file).ok())
}

const HOSTILE: [&str; 7] = [
    "--help",
    "-D\n--config=x",
    "it's \"quoted\" `touch x` $(touch x) ${HOME} $HOME \\n %s !! ~",
    "  two\nlines\n\n",
    "{{ num }} {{x}} ünï 🤖 \t\u{7}\u{1b}[31m",
    "; exit 1 #",
    "<agent> #(touch x) #{pane_id}",
];

#[test]
fn p4_a_prompt_arrives_byte_for_byte() {
    require_engine!("bubblewrap");
    let world = listening();
    for (number, prompt) in HOSTILE.iter().enumerate() {
        let (plain, boxed, file) = (format!("plain-{number}"), format!("boxed-{number}"), format!("file-{number}"));
        world.add(&[&plain, "-p", prompt]).run().ok();
        world.add(&[&boxed, "-S", "--prompt", prompt]).run().ok();
        world.add(&[&file, "-P", "-"]).input(*prompt).run().ok();
        for handle in [plain, boxed, file] {
            assert_eq!(heard(&world, &handle), *prompt, "{handle}");
            let kept = world.tree(&handle).join(format!(".workmux/PROMPT-{handle}.md"));
            assert_eq!(world.read(kept), *prompt, "{handle}");
            let status = world.git(&world.tree(&handle), &["status", "--porcelain", "--ignored=no"]).ok();
            assert_eq!(status.stdout, "", "no git lists what is ours");
        }
    }
    world.workmux(&["remove", "--all", "--force"]).run().ok();
    world.assert_clean();
}

#[test]
fn p4_a_prompt_in_tmux_arrives_byte_for_byte() {
    require_engine!("tmux");
    let world = listening();
    let tmux = world.tmux();
    for (number, prompt) in HOSTILE.iter().enumerate() {
        let name = format!("w{number}");
        world.add(&[&name, "-b", "-p", prompt]).envs(tmux.variables("test:window")).run().ok();
        assert_eq!(heard(&world, &name), *prompt);
    }
}

#[test]
fn a_long_prompt_is_read_from_its_file() {
    require_engine!("bubblewrap");
    let world = listening();
    let largest = "x\n".repeat(512 * 1024);
    let file = world.home().join("prompt.md");
    world.write(&file, &largest);
    world.add(&["long/one", "-S", "-P", file.to_str().unwrap()]).run().ok();
    assert!(heard(&world, "long-one").contains(".workmux/PROMPT-long-one.md"));
    assert_eq!(world.read(world.tree("long-one").join(".workmux/PROMPT-long-one.md")), largest);
    world.workmux(&["remove", "long-one"]).run().ok();
    world.write(&file, largest + "x");
    world.add(&["x", "-P", file.to_str().unwrap()]).run().code(1).warns("larger than 1048576 bytes");
    world.write(&file, b"\xff");
    world.add(&["x", "-P", file.to_str().unwrap()]).run().code(1).warns("not valid UTF-8");
    world.add(&["x", "-P", "-"]).input(b"\xff".to_vec()).run().code(1).warns("not valid UTF-8");
    world.add(&["x", "-P", "/nonexistent"]).run().code(1).warns("/nonexistent");
    world.assert_nothing_made();
}

#[test]
fn a_prompt_is_written_in_the_users_editor() {
    let world = listening();
    let written = |script: &str| {
        let editor = format!("f() {{ {script}; }}; f");
        world.workmux(&["add", "topic", "-e"]).env("EDITOR", editor).env("VISUAL", "")
    };
    written("true").run().code(1).warns("there is no terminal").warns("--prompt");
    for (script, why) in [
        ("true", "the prompt is empty: nothing was made"),
        ("echo ' ' > \"$1\"", "the prompt is empty"),
        ("exit 4", "ended with"),
        ("rm \"$1\"", "cannot read"),
    ] {
        let mut pty = workmux_tests::Pty::start(written(script));
        pty.wait_for(why);
        assert_eq!(pty.wait().0, 1, "{script}");
    }
    world.assert_nothing_made();
    let mut pty = workmux_tests::Pty::start(written("printf 'What? '; read line; printf '%s\\n' \"$line\" > \"$1\""));
    pty.wait_for("What? ");
    pty.send("do $(touch x)\r");
    pty.wait_for("✓ Created worktree 'topic'");
    assert_eq!(pty.wait().0, 0);
    assert_eq!(heard(&world, "topic"), "do $(touch x)\n");
    assert_eq!(fs::read_dir(world.home().join("tmp")).unwrap().count(), 0, "no draft is left");
}

#[test]
fn one_prompt_and_only_for_an_agent() {
    let world = listening();
    world.add(&["x", "-p", "a", "-P", "b"]).run().code(2);
    world.add(&["x", "-p", "a", "-e"]).run().code(2);
    world.user_config("panes: [{ command: 'true' }]\n");
    world.add(&["x", "-p", "a"]).run().code(1).warns("there is a prompt and no pane that runs an agent");
    world.assert_nothing_made();
}
