//! `workmux completions`: each shell runs its script and is offered what is installed. Bash is on every machine; the
//! others are tried where they are.

#![expect(clippy::print_stderr, reason = "a skipped test must be heard")]

use std::path::PathBuf;

use workmux_tests::{Finished, World};

/// A world with a plugin of its user's, `workmux` on the search path, and nothing that a login would read.
struct Typing {
    world: World,
    script: PathBuf,
}

impl Typing {
    /// `None` = this shell is not installed here.
    fn with(shell: &str) -> Option<Self> {
        let world = World::new();
        let there = world.program("sh").args(["-c", &format!("command -v {shell}")]).run().code == Some(0);
        let script = world.home().join("script");
        world.write(&script, world.workmux(&["completions", shell]).run().ok().stdout);
        if !there {
            eprintln!("SKIPPED: there is no '{shell}' here");
        }
        there.then_some(Self { world, script })
    }

    /// Has the shell run a text that gets the script's path as its first word.
    fn run(&self, shell: &[&str], text: &str) -> Finished {
        let program = self.world.given().program.parent().expect("it lies in a folder").to_owned();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", program.display());
        let text = text.replace("SCRIPT", self.script.to_str().expect("UTF-8"));
        self.world.program(shell[0]).args(&shell[1..]).arg(text).env("PATH", path).run().ok()
    }
}

/// What bash offers for these words, the last of which is being typed.
fn bash(typing: &Typing, words: &[&str]) -> Vec<String> {
    let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let text = format!(
        "source SCRIPT\n\
         complete -p workmux >&2\n\
         COMP_WORDS=({}) COMP_CWORD={} COMP_TYPE=9\n\
         _clap_complete_workmux workmux \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words.len() - 1
    );
    let run = typing.run(&["bash", "--norc", "--noprofile", "-c"], &text);
    run.stdout.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn completions_in_bash_are_commands_flags_and_installed_backends() {
    let typing = Typing::with("bash").expect("bash is on every machine");
    let installed = bash(&typing, &["workmux", "sandbox", "agent", "--backend", ""]);
    assert!(installed.contains(&"bubblewrap".to_owned()), "{installed:?}");
    assert_eq!(bash(&typing, &["workmux", "sandbox", "agent", "--backend", "bub"]), ["bubblewrap"]);
    assert_eq!(bash(&typing, &["workmux", "sandbox", "shell", "--dry"]), ["--dry-run"]);
    assert_eq!(bash(&typing, &["workmux", "doc"]), ["doctor"]);
    assert!(!bash(&typing, &["workmux", ""]).iter().any(|word| word.starts_with("__")));
    // What stands after the dashes is the command's own business.
    assert_eq!(bash(&typing, &["workmux", "sandbox", "agent", "--", "--ba"]), [""; 0]);
}

#[test]
fn p72_completions_run_no_library_and_offer_none_that_is_not_trusted() {
    let typing = Typing::with("bash").expect("bash is on every machine");
    let library = typing.world.install_plugin("minimal");
    let offered = |words: &[&str]| bash(&typing, words).contains(&"minimal".to_owned());
    let (run, info) = (["workmux", "sandbox", "run", ".", "--backend", ""], ["workmux", "plugin", "info", ""]);
    // Its manifest can be looked at.
    assert_eq!((offered(&run), offered(&info)), (false, true));
    typing.world.workmux(&["plugin", "trust"]).arg(library).run().ok();
    assert_eq!((offered(&run), offered(&info)), (true, true));
    // Nothing of it ran: the first time it would have been tried.
    assert!(!typing.world.home().join(".cache/workmux").exists());
}

#[test]
fn completions_in_zsh_know_the_installed_backends() {
    let Some(typing) = Typing::with("zsh") else { return };
    // Outside of its editor zsh completes nothing: the two functions of its completion system are told what to print.
    let text = "compdef() { registered=$2 }\n\
                _describe() { print -l -- ${(P)@[-1]} }\n\
                source SCRIPT\n\
                words=(workmux sandbox agent --backend '') CURRENT=5\n\
                print registered $registered\n\
                _clap_dynamic_completer_workmux";
    typing.run(&["zsh", "-f", "-c"], text).says("registered workmux").says("bubblewrap:");
}

#[test]
fn completions_in_fish_know_the_installed_backends() {
    let Some(typing) = Typing::with("fish") else { return };
    let text = "source SCRIPT; complete -C 'workmux sandbox agent --backend '";
    typing.run(&["fish", "--no-config", "-c"], text).says("bubblewrap\t");
}

#[test]
fn completions_are_for_known_shells() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = world.workmux(&["completions", shell]).run().ok().says("workmux");
        script.never_says(world.home().to_str().expect("UTF-8"));
    }
    world.workmux(&["completions", "tcsh"]).run().code(2).warns("bash, zsh, fish");
    // The variable of the scripts with a shell that nobody knows: no command runs by mistake.
    let run = world.workmux(&["plugin", "list"]).env("WORKMUX_COMPLETE", "tcsh").run().code(1);
    assert_eq!(run.stdout, "");
}

#[test]
fn what_can_be_removed_and_stopped_is_offered_without_running_anything() {
    let typing = Typing::with("bash").expect("bash is on every machine");
    let world = &typing.world;
    let library = world.install_plugin("hostile");
    let offered = |words: &[&str]| bash(&typing, words);
    // Those of the program itself are not the user's to remove; one that is not trusted is.
    assert_eq!(offered(&["workmux", "plugin", "remove", ""]).first().map(String::as_str), Some("hostile"));
    assert!(!offered(&["workmux", "plugin", "remove", ""]).contains(&"bubblewrap".to_owned()));
    assert!(offered(&["workmux", "plugin", "info", ""]).contains(&"bubblewrap".to_owned()));

    world.workmux(&["plugin", "trust"]).arg(library).run().ok();
    let stop = ["workmux", "sandbox", "stop", ""];
    assert!(!offered(&stop).contains(&"hostile-1".to_owned()));
    let words = ["sandbox", "shell", "--backend", "hostile", "--", "true"];
    let run = world.workmux(&words).env("WORKMUX_HOSTILE", "forever@session").start();
    workmux_tests::wait_until("the instance", || offered(&stop).contains(&"hostile-1".to_owned()));
    // A record alone is enough: the backend is not even asked to load.
    let cache = world.home().join(".cache/workmux");
    std::fs::remove_dir_all(&cache).expect("the run tried it");
    assert!(offered(&stop).contains(&"hostile-1".to_owned()));
    assert!(!cache.exists());
    run.signal(nix::sys::signal::Signal::SIGTERM);
    run.wait().code(143);
    assert!(!offered(&stop).contains(&"hostile-1".to_owned()));
}
