//! Before anything runs: what a backend declares, what it refuses, what a dry run shows.

use serde_json::json;

use crate::kit::Verdict;
use crate::kit::scene::{Scene, run, said};

pub(super) fn declares(scene: &Scene) -> Verdict {
    let try_it = || {
        let mut command = scene.program(&scene.one());
        // A dry run loads it, and what it answers is compared with its manifest.
        command.args(["sandbox", "shell", "--dry-run", "--", "true"]);
        said(&run(&mut command, b"")?).map(drop)
    };
    try_it().into()
}

pub(super) fn unknown_key(scene: &Scene) -> Verdict {
    const KEY: &str = "kit_no_such_key";
    if let Err(e) = scene.configure(json!({(scene.manifest.name.clone()): {(KEY): 1}})) {
        return Verdict::Unverified(format!("{e:#}"));
    }
    let try_it = || {
        let output = scene.script("true")?;
        match output.stderr_text() {
            text if text.contains(KEY) => Ok(()),
            text => Err(format!("it ended with {} and said '{text}'", output.status)),
        }
    };
    try_it().into()
}

pub(super) fn dry_run(scene: &Scene) -> Verdict {
    let try_it = || {
        let show = || {
            let mut command = scene.program(&scene.one());
            command.args(["sandbox", "shell", "--dry-run", "--", "true"]);
            said(&run(&mut command, b"")?)
        };
        let before = scene.kept();
        let (first, second) = (show()?, show()?);
        if scene.kept() != before {
            return Err("it left something in workmux's directory of state".into());
        }
        // Names, ports and process numbers made for a run differ from the next one's.
        let lasting = |text: &str| {
            let words = text.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
            words.map(str::to_owned).collect::<Vec<_>>()
        };
        let (first, second) = (lasting(&first), lasting(&second));
        match first.iter().zip(&second).find(|(one, other)| one != other) {
            Some((one, other)) => Err(format!("where first was '{one}' then was '{other}'")),
            None if first.len() != second.len() => Err("one of them says more than the other".into()),
            None => Ok(()),
        }
    };
    try_it().into()
}

pub(super) fn runs(scene: &Scene) -> Verdict {
    scene.says("true").map(drop).into()
}
