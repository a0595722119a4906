//! A real agent, installed the way its users install it, starts inside a sandbox.

use std::time::Duration;

use workmux_tests::{Model, Sandbox, World, on_every_engine, require_engine, wait_until};

on_every_engine!(claude_code_from_npm_says_its_version_in_a_container);

/// An ordinary user's podman has no image to build on.
mod claude_code_in_an_image_just_built_does_its_work {
    use workmux_tests::Sandbox;

    #[test]
    fn docker() {
        if Sandbox::Docker.is_ready() {
            super::claude_code_in_an_image_just_built_does_its_work(Sandbox::Docker);
        }
    }

    #[test]
    fn podman() {
        if Sandbox::Podman.is_ready() {
            super::claude_code_in_an_image_just_built_does_its_work(Sandbox::Podman);
        }
    }
}

#[test]
fn claude_code_from_npm_says_its_version_inside() {
    require_engine!("bubblewrap");
    require_engine!("npm");
    let world = World::bubblewrap();
    let bin = world.install_claude();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display());
    let version = world.program(bin.join("claude")).arg("--version").env("PATH", &path).run().ok().stdout;
    assert!(version.contains("Claude Code"), "{version}");

    let dir = world.worktree("topic");
    let inside = world.agent(&["claude", "--version"]).dir(&dir).env("PATH", &path).run().ok();
    assert_eq!(inside.stdout, version);
    // As the configured agent, from a sub-directory, without a network.
    world.user_config("sandbox: { backend: bubblewrap, network: { policy: deny } }\nagent: claude --version\n");
    let folder = dir.join("sub dir");
    world.folder(&folder);
    let inside = world.workmux(&["sandbox", "agent"]).dir(&folder).env("PATH", &path).run().ok();
    assert_eq!(inside.stdout, version);
    world.assert_clean();
}

/// Outside a sandbox, and by the hooks that `setup` writes: what the agent does stands at its window.
#[test]
fn claude_code_on_the_host_tells_its_window_by_the_hooks_of_setup() {
    require_engine!("npm");
    require_engine!("tmux");
    let world = World::new();
    let bin = world.install_claude();
    world.workmux(&["setup", "claude", "--yes"]).run().ok();
    // What its first start would ask about.
    let answered = serde_json::json!({
        "hasCompletedOnboarding": true,
        "customApiKeyResponses": { "approved": ["anything"], "rejected": [] },
        "projects": { world.main().to_str().expect("UTF-8"): { "hasTrustDialogAccepted": true } },
    });
    world.write(world.home().join(".claude.json"), answered.to_string());

    let model = Model::start("touch made-by-agent && echo made-$((40 + 2))", "all is done");
    let tmux = world.tmux();
    let pane = tmux.ask(&["new-window", "-d", "-P", "-F", "#{pane_id}", "sh"]);
    let programs = world.given().program.parent().expect("it lies in a folder").display();
    tmux.type_line(
        &pane,
        &format!("cd '{}'; export PATH='{}':'{programs}':\"$PATH\"", world.main().display(), bin.display()),
    );
    let variables = "ANTHROPIC_API_KEY=anything CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 NO_PROXY='*'";
    tmux.type_line(&pane, &format!("ANTHROPIC_BASE_URL={} {variables} claude 'do it'", model.url()));
    let icon = || tmux.window_option(&pane, "@workmux_status");
    wait_until("the icon of an agent that works", || icon() == "🤖");
    // It wants to run a command, and says so after a few seconds in which nobody answered.
    wait_until("the icon of an agent that waits", || icon() == "💬");
    tmux.ask(&["send-keys", "-t", &pane, "Enter"]);
    wait_until("the icon of an agent that is done", || icon() == "✅");
    assert!(model.results().iter().any(|result| result.contains("made-42")), "{:?}", model.results());
}

/// An image brings its agents itself; here the host's is mounted into one.
fn claude_code_from_npm_says_its_version_in_a_container(on: Sandbox) {
    require_engine!("npm");
    let world = on.world();
    let bin = world.install_claude();
    let mounts = serde_json::json!([bin.parent()]);
    world.configure(&format!("extra_mounts: {mounts}, network: {{ policy: deny }}"));
    let claude = bin.join("claude");
    let inside = world.agent(&[claude.to_str().expect("UTF-8"), "--version"]).run().ok();
    assert!(inside.stdout.contains("Claude Code"), "{inside}");
    world.assert_clean();
}

/// The whole way: an image built here by the recipe, the agent in it, a model that has it commit, and its hooks.
fn claude_code_in_an_image_just_built_does_its_work(on: Sandbox) {
    require_engine!("tmux");
    let world = on.world();
    let image = format!("localhost/wm-agent-{}", on.name());
    world.configure_image(Some(&image), "claude", "");
    let built = world.workmux(&["sandbox", "build"]).within(Duration::from_secs(600)).run().ok();
    assert!(built.stdout.contains("\n  claude 1/"), "{built}");

    // What a user's settings say, and what `claude` is told by its environment.
    let hook = |word: &str| {
        let command = format!("workmux set-window-status {word}");
        serde_json::json!([{"hooks": [{"type": "command", "command": command}]}])
    };
    let settings = serde_json::json!({"hooks": {"UserPromptSubmit": hook("working"), "Stop": hook("done")}});
    world.write(world.home().join(".claude/settings.json"), settings.to_string());
    let dir = world.worktree("topic");
    let command = "cat /etc/hostname > made-by-agent && git add made-by-agent && git commit -qm 'by the agent' && \
                   echo committed-$((40 + 2))";
    let model = Model::start(command, "all is done");
    let env = format!(
        "env: {{ ANTHROPIC_BASE_URL: '{}', ANTHROPIC_API_KEY: anything, CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1' }}",
        model.url()
    );
    let sandbox = on.configuration_of(Some(&image), &env, "");
    world.user_config(&format!("{sandbox}agent: claude -p 'do it' --dangerously-skip-permissions\n"));

    let tmux = world.tmux();
    let pane = tmux.ask(&["new-window", "-d", "-P", "-F", "#{pane_id}", "-c", dir.to_str().expect("UTF-8"), "sh"]);
    tmux.type_line(&pane, &format!("{} sandbox agent; echo ended: $?", world.given().program.display()));
    let screen = tmux.wait_for_text(&pane, "ended: 0");
    assert!(screen.contains("all is done"), "{screen}");
    assert!(model.results().iter().any(|result| result.contains("committed-42")), "{:?}", model.results());
    // Its hooks ran in the sandbox and reached the window.
    wait_until("the icon of an agent that is done", || tmux.window_option(&pane, "@workmux_status") == "✅");
    // Its commit is on the branch, by the user's name.
    let log = world.git(&dir, &["log", "--format=%s by %an", "-1"]).ok().stdout;
    assert_eq!(log, "by the agent by Test\n");
    assert!(world.git(&dir, &["status", "--short"]).ok().stdout.is_empty());
    world.engine(&["rmi", "--force", &image]).ok();
    world.wait_until_clean();
}
