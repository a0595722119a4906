//! A command in a sandbox is like one outside: its words, variables, directory, streams, codes and signals.

use nix::sys::signal::Signal;

use crate::kit::Verdict;
use crate::kit::scene::{Scene, run, said};

/// What shells, consoles and parsers like to change.
const ODD: [&str; 14] =
    ["", " ", "a  b", "it's", "\"", "$(touch /tmp/x)", "`id`", "a\nb", "\t", "-n", "--help", "*", "\\", "ü\u{202e}🦀"];
const INPUT: usize = 300_000;

pub(super) fn words(scene: &Scene) -> Verdict {
    let try_it = || {
        let print = ["sh", "-c", "for word; do printf '%s\\0' \"$word\"; done", "sh"];
        let words: Vec<&str> = print.into_iter().chain(ODD).collect();
        let output = run(&mut scene.sandbox("shell", &scene.one(), &words), b"")?;
        let arrived = said(&output)?;
        let wanted: String = ODD.map(|word| format!("{word}\0")).concat();
        equal("the words", &wanted, &arrived)
    };
    try_it().into()
}

pub(super) fn variables(scene: &Scene) -> Verdict {
    let value = ODD.concat();
    let try_it = || {
        let script = "printf '%s|%s' \"$KIT_PASSED\" \"${KIT_HIDDEN-unset}\"";
        let mut command = scene.sandbox("shell", &scene.one(), &["sh", "-c", script]);
        let arrived = said(&run(command.env("KIT_PASSED", &value), b"")?)?;
        equal("the variables", &format!("{value}|unset"), &arrived)
    };
    try_it().into()
}

pub(super) fn directory(scene: &Scene) -> Verdict {
    let dir = scene.one().join("a directory");
    let try_it = || {
        let arrived = said(&run(&mut scene.sandbox("shell", &dir, &["sh", "-c", "pwd; cat file"]), b"")?)?;
        equal("the directory", &format!("{}\ncommitted\n", dir.display()), &arrived)
    };
    try_it().into()
}

pub(super) fn streams(scene: &Scene) -> Verdict {
    // Every byte, and more of them than any buffer on the way holds.
    let input: Vec<u8> = (0..=255u8).cycle().take(INPUT).collect();
    let try_it = || {
        let script = "cat; echo to-standard-error >&2";
        let output = run(&mut scene.sandbox("shell", &scene.one(), &["sh", "-c", script]), &input)?;
        said(&output)?;
        if output.stdout != input {
            let same = output.stdout.iter().zip(&input).take_while(|(a, b)| a == b).count();
            return Err(format!(
                "of {INPUT} bytes {} came back, and the first {same} of them are the same",
                output.stdout.len()
            ));
        }
        match output.stderr_text() {
            text if text.ends_with("to-standard-error") => Ok(()),
            text => Err(format!("standard error held '{text}'")),
        }
    };
    try_it().into()
}

pub(super) fn codes(scene: &Scene) -> Verdict {
    let try_it = || {
        for code in [0, 1, 2, 42, 126, 127, 128, 137, 255] {
            let output = scene.script(&format!("exit {code}"))?;
            if output.status.code() != Some(code) {
                return Err(format!("{code} came back as {}: {}", output.status, output.stderr_text()));
            }
        }
        Ok(())
    };
    try_it().into()
}

pub(super) fn deaths(scene: &Scene) -> Verdict {
    let try_it = || {
        for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGABRT] {
            let output = scene.script(&format!("kill -{} $$", signal as i32))?;
            if output.status.code() != Some(128 + signal as i32) {
                return Err(format!("{signal} came back as {}: {}", output.status, output.stderr_text()));
            }
        }
        Ok(())
    };
    try_it().into()
}

pub(super) fn signals(scene: &Scene) -> Verdict {
    let try_it = || {
        // `wait` is the one place where a shell's trap cannot come too late.
        let mut begun = scene.begun("trap 'exit 44' TERM; sleep 1000 & wait")?;
        begun.signal(Signal::SIGTERM);
        let status = begun.end()?;
        // A signal that comes before the trap is set ends it.
        match status.code() {
            Some(44 | 143) => Ok(()),
            _ => Err(format!("it ended with {status}")),
        }
    };
    try_it().into()
}

pub(super) fn leftovers(scene: &Scene) -> Verdict {
    let try_it = || {
        let output = scene.script(&format!("{} sleep 0.2; exit 7", Scene::beating()))?;
        match output.status.code() {
            Some(7) => scene.stops_beating(),
            _ => Err(format!("it ended with {}: {}", output.status, output.stderr_text())),
        }
    };
    try_it().into()
}

fn equal(what: &str, wanted: &str, arrived: &str) -> Result<(), String> {
    if wanted == arrived { Ok(()) } else { Err(format!("{what} were {wanted:?}, and arrived as {arrived:?}")) }
}
