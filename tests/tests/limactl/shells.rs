//! `shell`: what reaches the guest and what comes back.

use nix::sys::signal::Signal;
use workmux_tests::{Process, Pty, wait_until};

use super::case::{Lima, Needs, contract, double, each_release};

/// A word that a shell makes nothing of comes out as one line with its bytes.
fn printed(lima: &Lima, words: &[&str]) -> String {
    let script = r#"for word; do printf '<%s>' "$word"; done"#;
    lima.shell("vm", &[&["sh", "-c", script, "sh"][..], words].concat()).run().ok().stdout
}

#[test]
fn words_arrive_as_they_were_given() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        let words = [
            "",
            " ",
            "two words",
            "it's",
            "\"quoted\"",
            "$HOME",
            "`id`",
            "$(id)",
            "a\nb",
            "\\",
            "*",
            "~",
            "é→🦀",
            "-x",
            "--",
            "a;b",
            "#c",
            "!d",
            "K=v w",
            "\t",
            "&&",
            "|",
            ">f",
        ];
        let expected: String = words.iter().map(|word| format!("<{word}>")).collect();
        assert_eq!(printed(lima, &words), expected);
    });
}

#[test]
fn a_double_dash_behind_the_name_is_dropped() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        lima.shell("vm", &["--", "echo", "--", "-n"]).run().ok().says("-- -n");
        lima.shell("vm", &["echo", "--workdir", "/nowhere"]).run().ok().says("--workdir /nowhere");
    });
}

#[test]
fn exit_codes_pass_through() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        for code in [0, 1, 2, 3, 17, 64, 100, 125, 126, 127, 128, 130, 137, 200, 254, 255] {
            lima.shell("vm", &["sh", "-c", &format!("exit {code}")]).run().code(code);
        }
        lima.shell("vm", &["no-such-program"]).run().code(127);
        lima.shell("vm", &["/etc/hosts"]).run().code(126);
    });
}

#[test]
fn death_by_a_signal_is_255() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        lima.shell("vm", &["sh", "-c", "kill -KILL $$"]).run().code(255);
        // A shell that outlives the command tells them apart.
        let script = r#""$@"; exit $?"#;
        lima.shell("vm", &["sh", "-c", script, "sh", "sh", "-c", "kill -KILL $$"]).run().code(137);
    });
}

#[test]
fn signals_work_in_a_guest_as_anywhere() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
            let script = format!("env --default-signal sleep 100 & kill -{signal} $!; wait $!");
            lima.shell("vm", &["sh", "-c", &script]).run().code(code);
        }
    });
}

#[test]
fn there_is_a_terminal_exactly_where_standard_output_is_one() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        lima.shell("vm", &["tty"]).run().code(1).says("not a tty");
        lima.limactl(&["--tty=true", "shell", "vm", "tty"]).run().code(1).says("not a tty");
        let mut pty =
            Pty::start(lima.shell("vm", &["sh", "-c", "tty; read line; echo got:$line; exit 5"]).unrecorded());
        pty.wait_for("/dev/pts/");
        pty.send("word\r");
        pty.wait_for("got:word");
        assert_eq!(pty.wait().0, 5);
        let pty = Pty::start(lima.limactl(&["--tty=false", "shell", "vm", "test", "-t", "1"]).unrecorded());
        assert_eq!(pty.wait().0, 0, "--tty has no say in it");
    });
}

#[test]
fn keys_reach_the_terminals_program() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        let mut pty =
            Pty::start(lima.shell("vm", &["sh", "-c", "trap 'echo caught; exit 6' INT; echo on; read _"]).unrecorded());
        pty.wait_for("on");
        pty.send("\x03");
        pty.wait_for("caught");
        assert_eq!(pty.wait().0, 6);
    });
}

#[test]
fn no_variable_goes_along() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        let run = |words: &[&str]| lima.shell("vm", words).env("SECRET", "s3").env("LANG", "C.UTF-8").run().ok();
        run(&["env"]).never_says("SECRET");
        assert_eq!(run(&["env", "K=v w", "sh", "-c", "echo $K"]).stdout, "v w\n");
        assert_eq!(run(&["K=v w", "L=it's", "sh", "-c", "echo $K $L"]).stdout, "v w it's\n");
    });
}

#[test]
fn nearly_every_variable_goes_along_where_that_is_asked_for() {
    double(|lima| {
        lima.boot("vm", "");
        let run = lima.limactl(&["shell", "--preserve-env", "vm", "sh", "-c", "echo $SECRET; echo $HOME; echo $XDG_X"]);
        let said = run.env("SECRET", "a 'b'").env("XDG_X", "x").run().ok().stdout;
        assert!(said.starts_with("a 'b'\n/home/") && said.ends_with("\n\n"), "{said}");
    });
}

#[test]
fn standard_streams_are_the_callers() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let said = lima.shell("vm", &["sh", "-c", "cksum; echo oops >&2"]).input(bytes.clone()).run().ok();
        let here = lima.world().program("cksum").input(bytes).run().ok().stdout;
        assert_eq!(said.stdout, here);
        said.warns("oops");
        assert_eq!(lima.shell("vm", &["cat"]).run().ok().stdout, "");
    });
}

#[test]
fn a_directory_is_gone_to_or_it_fails() {
    contract(Needs::Boot, |lima| {
        let shared = lima.shared();
        lima.boot("vm", &format!("mounts: [{{location: '{}', writable: true}}]", shared.display()));
        let run = |words: &[&str]| lima.limactl(&[&["shell"][..], words].concat());
        assert_eq!(run(&["--workdir", "/usr/lib", "vm", "pwd"]).run().ok().stdout, "/usr/lib\n");
        lima.world().folder(&shared.join("it's here"));
        let odd = shared.join("it's here");
        assert_eq!(
            run(&["--workdir", odd.to_str().unwrap(), "vm", "pwd"]).run().ok().stdout,
            format!("{}\n", odd.display())
        );
        run(&["--workdir", "/nowhere", "vm", "touch", "/tmp/ran"]).run().code(1).warns("/nowhere");
        run(&["vm", "test", "-e", "/tmp/ran"]).run().code(1);
        assert_eq!(run(&["vm", "pwd"]).dir(&odd).run().ok().stdout, format!("{}\n", odd.display()));
        let home = run(&["vm", "sh", "-c", "echo $HOME"]).run().ok().stdout;
        assert_eq!(run(&["vm", "pwd"]).dir(lima.world().home()).run().ok().stdout, home);
    });
}

#[test]
fn before_2_0_one_mount_was_enough_to_look_for_the_hosts_directory() {
    each_release(|lima, release| {
        lima.boot("vm", &format!("mounts: [{{location: '{}'}}]", lima.shared().display()));
        let here = lima.world().home().join("here");
        lima.world().folder(&here);
        let said = lima.shell("vm", &["pwd"]).dir(&here).run().ok();
        // Where it then goes is the host's home, which the guest has as the mount's parent.
        let tried = said.stderr.contains("cd: ") && said.stdout.trim() == lima.world().home().to_str().unwrap();
        assert_eq!(tried, release.starts_with('1'), "{release}: {said}");
    });
}

#[test]
fn a_guests_process_survives_its_client() {
    contract(Needs::Boot, |lima| {
        let shared = lima.shared();
        lima.boot("vm", &format!("mounts: [{{location: '{}', writable: true}}]", shared.display()));
        let pipe = shared.join("pipe");
        let script = format!("cd '{}'; mkfifo pipe; echo $$ > pid; read _ < pipe; echo on > went", shared.display());
        let client = lima.shell("vm", &["sh", "-c", &script]).start();
        let told = workmux_tests::told(&pipe);
        let pid = lima.world().read(shared.join("pid"));
        // With it goes its ssh: the whole process group.
        drop(client);
        lima.shell("vm", &["kill", "-0", pid.trim()]).run().ok();
        drop(told);
        wait_until("the guest's process to go on", || shared.join("went").exists());
    });
}

#[test]
fn a_signal_for_the_client_is_not_the_guests() {
    contract(Needs::Boot, |lima| {
        let shared = lima.shared();
        lima.boot("vm", &format!("mounts: [{{location: '{}', writable: true}}]", shared.display()));
        let (script, pipe) = workmux_tests::pausing("true");
        let dir = shared.to_str().unwrap();
        let client = lima.limactl(&["shell", "--workdir", dir, "vm", "sh", "-c", &script]).start();
        let told = workmux_tests::told(&shared.join(&pipe));
        client.signal(Signal::SIGTERM);
        wait_until("the client to end", || Process::find(client.pid()).is_none());
        assert!(shared.join(&pipe).exists());
        drop(told);
        assert_eq!(client.wait().signal, Some(15));
        wait_until("the guest's process to end", || !shared.join(&pipe).exists());
    });
}

#[test]
fn there_are_so_many_sessions_on_one_connection() {
    contract(Needs::Boot, |lima| {
        let shared = lima.shared();
        lima.boot("vm", &format!("mounts: [{{location: '{}', writable: true}}]", shared.display()));
        let dir = shared.to_str().unwrap();
        let holding: Vec<_> = (0..10)
            .map(|_| {
                let (script, pipe) = workmux_tests::pausing("true");
                let client = lima.limactl(&["shell", "--workdir", dir, "vm", "sh", "-c", &script]).start();
                (client, workmux_tests::told(&shared.join(pipe)))
            })
            .collect();
        // It works all the same, over a connection of its own.
        lima.shell("vm", &["echo", "eleventh"]).run().ok().says("eleventh").warns("refused by peer");
        for (client, told) in holding {
            drop(told);
            client.wait().ok();
        }
        assert_eq!(lima.shell("vm", &["echo", "again"]).run().ok().stderr, "");
    });
}

#[test]
fn what_is_not_there_has_no_shell() {
    contract(Needs::Files, |lima| {
        lima.shell("nope", &["true"]).run().code(1).warns("does not exist").warns("limactl create nope");
    });
}

#[test]
fn a_stopped_instance_has_no_shell_and_2_0_3_does_not_say_so() {
    each_release(|lima, release| {
        lima.create("vm", "");
        let finished = lima.shell("vm", &["echo", "ran"]).run().never_says("ran");
        match release {
            "2.0.3" => assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), "")),
            "1.2.3" => assert_eq!(finished.code, Some(1)),
            _ => drop(finished.code(1).warns("stopped")),
        }
        assert_eq!(lima.status("vm"), "Stopped");
    });
}

#[test]
fn a_shell_can_start_its_instance() {
    double(|lima| {
        lima.create("vm", "");
        lima.limactl(&["shell", "--start", "vm", "echo", "up"]).run().ok().says("up");
        assert_eq!(lima.status("vm"), "Running");
    });
}

#[test]
fn a_broken_instance_has_no_port() {
    double(|lima| {
        lima.boot("vm", "");
        let agent = lima.process("vm", "ha.pid");
        nix::sys::signal::kill(agent.pid, Signal::SIGKILL).unwrap();
        wait_until("the host agent to end", || !agent.lives());
        lima.shell("vm", &["true"]).run().code(255).warns("Bad port '0'");
    });
}

#[test]
fn it_is_a_login_shell_of_the_guests_user() {
    each_release(|lima, release| {
        lima.boot("vm", "");
        let said = lima.shell("vm", &["sh", "-c", "id -un; echo $HOME; hostname; echo $PATH"]).run().ok().stdout;
        let user = &lima.world().given().user.name;
        let suffix = if release >= "2.1" { "guest" } else { "linux" };
        let expected = format!("{user}\n/home/{user}.{suffix}\nlima-vm\n/usr/local/sbin:/usr/local/bin:");
        assert!(said.starts_with(&expected), "{said}");
        lima.shell("vm", &["test", "-e", &format!("/home/{user}.linux/.ssh/authorized_keys")]).run().ok();
        lima.shell("vm", &["shopt", "-q", "login_shell"]).run().ok();
        // Before 2.0 the shell was told so in a way that dash does not know.
        let dash = lima.limactl(&["shell", "--shell", "/usr/bin/dash", "vm", "echo", "ran"]).run();
        assert_eq!(dash.code == Some(0), release >= "2", "{dash}");
    });
}

#[test]
fn many_shells_at_once_do_not_mix() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        let started: Vec<_> =
            (0..8).map(|n| lima.shell("vm", &["sh", "-c", &format!("echo {n}; exit {n}")]).start()).collect();
        for (n, one) in started.into_iter().enumerate() {
            assert_eq!(one.wait().code(n as i32).stdout, format!("{n}\n"));
        }
    });
}
