//! Variables in both directions: what is meant for a guest arrives byte for byte, and nothing else does.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use workmux_tests::{Finished, Sandbox, World, on_every_sandbox, processes, require_engine, wait_until};

on_every_sandbox!(
    p30_values_reach_the_guest_byte_for_byte,
    p69_no_variable_passes_by_accident,
    p69_the_hosts_git_hears_nothing_of_the_callers_variables,
    p69_the_users_own_identity_signs_the_guests_commits_and_nothing_more_of_its_settings_is_there,
    p44_the_token_is_nowhere_but_in_its_guest
);

const ODD: &str = "a  b\n$(touch canary) `c` \"d\" 'e' \\ = ü\u{202e} #;|&\t~ ";

fn p30_values_reach_the_guest_byte_for_byte(on: Sandbox) {
    let world = World::on(on);
    let quoted = serde_json::to_string(ODD).unwrap();
    world.configure(&format!("env: {{ SET: {quoted}, EMPTY: '' }}, env_passthrough: [PASSED, ABSENT]"));
    let script = "for name in SET PASSED EMPTY; do eval \"printf '%s|' \\\"\\$$name\\\"\"; done; \
                  test -z \"${ABSENT+x}\" && test -n \"${EMPTY+x}\" && printf right";
    for command in ["shell", "agent"] {
        let words = ["sandbox", command, "--", "sh", "-c", script];
        let run = world.workmux(&words).env("PASSED", ODD).run().ok();
        assert_eq!(run.stdout, format!("{ODD}|{ODD}||right"), "{command}");
    }
    assert!(!world.main().join("canary").exists());
    // What cannot be a variable's name is refused with its place, before anything starts.
    for name in ["A-B", "1A", "A B", "A=B"] {
        world.user_config(&format!("sandbox:\n  backend: bubblewrap\n  env: {{ '{name}': x }}\n"));
        world.shell(&["true"]).run().code(125).warns("config.yaml:3: 'sandbox.env'");
    }
}

fn p69_no_variable_passes_by_accident(on: Sandbox) {
    let world = on.world();
    let sentinels = [
        "GITHUB_TOKEN",
        "NPM_TOKEN",
        "ANTHROPIC_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "SSH_AUTH_SOCK",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "BASH_ENV",
        "ENV",
        "PYTHONPATH",
        "NODE_OPTIONS",
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_CONFIG_GLOBAL",
        "GIT_SSH_COMMAND",
        "GIT_EXTERNAL_DIFF",
        "WM_RPC_TOKEN",
        "WM_RPC_HOST",
        "WM_SANDBOX_GUEST",
        "WORKMUX_SOMETHING",
        "DBUS_SESSION_BUS_ADDRESS",
        "DISPLAY",
        "TMUX",
        "TMUX_PANE",
        "http_proxy",
        "ODD-NAME",
        "SOMETHING_ELSE",
    ];
    for command in ["shell", "agent"] {
        // As the kernel shows it.
        let script = "tr '\\0' '\\n' < /proc/self/environ";
        let run = world.workmux(&["sandbox", command, "--", "sh", "-c", script]);
        let run = sentinels.iter().fold(run, |run, name| run.env(name, "/sentinel"));
        // Where engines are found; a wrong value would only keep a container from starting.
        let run = if on.is_container() {
            run
        } else {
            run.env("DOCKER_HOST", "/sentinel").env("XDG_RUNTIME_DIR", "/sentinel")
        };
        let run = run.run().ok();
        assert!(!run.stdout.contains("sentinel"), "{run}");
        let allowed = ["TERM", "COLORTERM", "HOME", "PATH", "USER", "LOGNAME", "SHELL", "LANG", "PWD"];
        // What engines and images set, and what tells this agent where it is.
        let image = ["HOSTNAME", "container", "IMAGE_SAYS", "IS_SANDBOX"];
        for line in run.stdout.lines() {
            let name = line.split('=').next().unwrap();
            let ours = name.starts_with("GIT_CONFIG_") || name == "WM_SANDBOX_GUEST" || name.starts_with("WM_RPC_");
            let images = on.is_container() && image.contains(&name);
            assert!(allowed.contains(&name) || ours || images, "{command}: {line}");
            assert!(command == "agent" || !name.starts_with("WM_RPC_"), "{line}");
        }
    }
}

fn p69_the_hosts_git_hears_nothing_of_the_callers_variables(on: Sandbox) {
    let world = on.world();
    let canary = world.home().join("canary");
    let touch = format!("touch {}", canary.display());
    let variables = [
        ("GIT_DIR", "/nonexistent"),
        ("GIT_EXTERNAL_DIFF", &touch),
        ("GIT_SSH_COMMAND", &touch),
        ("GIT_EDITOR", &touch),
        ("GIT_PAGER", &touch),
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "core.fsmonitor"),
        ("GIT_CONFIG_VALUE_0", &touch),
        ("GIT_TRACE", "/dev/stderr"),
    ];
    let run = world.agent(&["sh", "-c", "echo x > x && git add x && git commit -qm x && git log --format=%s"]);
    let run = run.envs(variables).run().ok();
    assert_eq!((run.stdout.as_str(), run.errors().as_str()), ("x\nfirst\n", ""));
    assert_eq!(world.git(&world.main(), &["log", "-1", "--format=%s"]).ok().stdout, "x\n");
    assert!(!canary.exists());
}

fn p69_the_users_own_identity_signs_the_guests_commits_and_nothing_more_of_its_settings_is_there(on: Sandbox) {
    let world = on.world();
    let extra = "[alias]\n\tboom = !touch canary\n[credential]\n\thelper = store\n[url \"https://u:secret@x/\"]\n\tinsteadOf = x:\n";
    let mut config = world.read(world.home().join(".gitconfig"));
    config.push_str(extra);
    world.write(world.home().join(".gitconfig"), config);
    let run = world.shell(&["git", "config", "--list", "--show-origin"]).run().ok();
    for part in ["user.name=Test", "user.email=test@example.invalid", "safe.directory="] {
        assert!(run.stdout.contains(part), "{run}");
    }
    run.never_says("secret").never_says("boom").never_says("credential");
}

fn p44_the_token_is_nowhere_but_in_its_guest(on: Sandbox) {
    let world = on.world();
    let dir = world.worktree("topic");
    let waiting = world.waiting("agent", &dir, "");
    // A second guest: it has a token of its own, and the first one's is not to be seen from it either.
    let second =
        world.agent(&["sh", "-c", "echo $WM_RPC_TOKEN; ps axe 2>/dev/null; cat /proc/*/environ 2>/dev/null; true"]);
    let second = second.run().ok();

    // What runs in an engine's containers or in a machine is no child of ours.
    let guest = if on == Sandbox::Bubblewrap { workmux_tests::family(waiting.pid()) } else { processes() };
    let home = format!("GIT_CONFIG_VALUE_0={}", dir.display());
    let environ = |pid: nix::unistd::Pid| std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let variable = |name: &str| {
        guest.iter().find_map(|process| {
            let environ = String::from_utf8_lossy(&environ(process.pid)).into_owned();
            let pairs = || environ.split('\0');
            pairs().find(|pair| *pair == home)?;
            pairs().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
        })
    };
    let token = variable("WM_RPC_TOKEN").expect("the guest has a token");
    assert_eq!(token.len(), 64);
    assert!(!second.stdout.contains(&token), "{second}");
    assert!(!second.stdout.starts_with(&token[..8]));

    let everywhere = || {
        for process in processes() {
            assert!(!process.words.contains(&token), "{process:?}");
        }
        let grep = world.program("grep").args(["-rlaFI", "-e", &token]).arg(world.home()).run();
        assert_eq!(grep.stdout, "", "{grep}");
        for process in processes().iter().filter(|p| p.words.contains("bwrap") || p.words.contains("workmux init")) {
            assert!(!String::from_utf8_lossy(&environ(process.pid)).contains(&token), "{process:?}");
        }
    };
    everywhere();
    // A token that is refused does not end up in the log either.
    let line = format!("{{\"token\":\"{}\"}}\n", token.chars().rev().collect::<String>());
    let answer = if on == Sandbox::Lima {
        let port: u16 = variable("WM_RPC_PORT").expect("the guest has a port").parse().unwrap();
        asked(std::net::TcpStream::connect(("127.0.0.1", port)).expect("everybody may knock"), &line)
    } else {
        let socket = std::fs::read_dir(world.state().join("runs")).unwrap().flatten();
        let socket = socket.map(|run| run.path().join("sock/rpc")).find(|path| path.exists()).expect("a socket");
        asked(std::os::unix::net::UnixStream::connect(&socket).expect("its own user may connect"), &line)
    };
    assert!(answer.contains("Invalid token") && !answer.contains(&token[..16]), "{answer}");
    let finished = waiting.go_on().wait().ok();
    assert!(!finished.stderr.contains(&token));
    wait_until("nothing to be left", || world.residue().is_empty());
    everywhere();
}

/// All that is said to this line.
fn asked(mut stream: impl std::io::Read + std::io::Write, line: &str) -> String {
    stream.write_all(line.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// What a guest of an earlier run can have left in its checkout for the host to find: programs under the names that a
/// run starts, and every file in which one of those looks for its configuration.
const PLANTED: &str = r#"
    set -e
    plant() { printf '#!/bin/sh\necho "$0 $*" >> "%s"\nexit 1\n' "$CANARY" > "$1"; chmod 755 "$1"; }
    mkdir -p bin tools .config/git .config/tmux etc
    for name in git bwrap pasta passt tmux prlimit unshare nsenter sh env cat ps sleep workmux workmux-guest; do
        for folder in . bin tools; do plant "$folder/$name"; done
    done
    plant planted
    run="$PWD/planted"
    printf '[core]\n\tfsmonitor = %s\n\thooksPath = %s/bin\n\tpager = %s\n\teditor = %s\n\tsshCommand = %s\n\talternateRefsCommand = %s\n' \
        "$run" "$PWD" "$run" "$run" "$run" "$run" > .gitconfig
    printf '[diff]\n\texternal = %s\n[diff "x"]\n\ttextconv = %s\n[filter "x"]\n\tclean = %s\n\tsmudge = %s\n[merge "x"]\n\tdriver = %s\n' \
        "$run" "$run" "$run" "$run" "$run" >> .gitconfig
    printf '[credential]\n\thelper = %s\n[gpg]\n\tprogram = %s\n[commit]\n\tgpgSign = true\n' "$run" "$run" >> .gitconfig
    cp .gitconfig .config/git/config; cp .gitconfig etc/gitconfig; cp .gitconfig .lfsconfig
    echo 'README.md filter=x diff=x merge=x' > .gitattributes
    echo "run-shell '$run'" > .tmux.conf; cp .tmux.conf .config/tmux/tmux.conf; cp .tmux.conf tmux.conf
    echo "$run" > .profile; cp .profile .bashrc; cp .profile .env; cp .profile .envrc; cp .profile .bwraprc
    # The user's repository takes some of its settings from the checkout, as teams do.
    git config include.path ../.gitconfig
"#;

/// Runs both commands in a checkout that was prepared so, under a search path that leads into it.
fn among_planted_files(world: &World, mutant: &str) -> Vec<Finished> {
    let canary = world.home().join("canary");
    world.program("sh").args(["-c", PLANTED]).env("CANARY", &canary).run().ok();
    let tmux = world.tmux();
    let work = "echo work > work; git add work; \
                git -c core.fsmonitor= -c core.hooksPath=/dev/null -c commit.gpgSign=false commit -qm work; \
                echo more >> README.md";
    ["shell", "agent"]
        .map(|command| {
            let run = world.workmux(&["sandbox", command, "--", "/bin/sh", "-c", work]);
            let run = run.env("PATH", ":.:bin:./tools:../project/bin:/usr/local/bin:/usr/bin:/bin:");
            // What programs read before their own configuration.
            let run = run.env("BASH_ENV", "./planted").env("ENV", "./planted").env("LD_PRELOAD", "./planted");
            run.envs(tmux.variables("test")).mutant(mutant).run()
        })
        .into()
}

#[test]
fn p12_no_program_or_configuration_comes_from_a_checkout() {
    require_engine!("bubblewrap");
    require_engine!("tmux");
    let world = World::bubblewrap();
    let canary = world.home().join("canary");
    for finished in among_planted_files(&world, "") {
        assert!(!canary.exists(), "{}\n{finished}", world.read(&canary));
        // The loader's complaint, of the user's own program alone: what that starts does not inherit the variable.
        let complaints = finished.stderr.matches("'./planted' from LD_PRELOAD").count();
        assert_eq!(complaints, 1, "{finished}");
        finished.ok();
    }
    let log = world.program("git").args(["-c", "core.fsmonitor=", "log", "--format=%s", "-1"]).run().ok();
    assert_eq!(log.stdout, "work\n", "the guest's work arrived all the same");

    let world = World::bubblewrap();
    among_planted_files(&world, "p12_search_path");
    assert!(world.home().join("canary").exists(), "with the guard off the planted programs must run");
}
