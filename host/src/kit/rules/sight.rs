//! What a sandbox sees and may change: looked at from inside.

use std::fs;

use serde_json::json;
use workmux_plugin_api::Isolation;

use crate::kit::Verdict;
use crate::kit::scene::{Scene, run, said};

/// A backend without isolation promises nothing of what is seen, or of what goes on.
pub(super) fn open(scene: &Scene) -> Option<Verdict> {
    let open = scene.manifest.isolation == Isolation::None;
    open.then(|| Verdict::NotApplicable("its manifest says that it does not isolate".into()))
}

pub(super) fn writes(scene: &Scene) -> Verdict {
    let try_it = || {
        scene.says("mkdir -p new && printf inside > new/file && rm -f 'a directory/file'")?;
        let (there, gone) = (scene.one().join("new/file"), scene.one().join("a directory/file"));
        let result = match fs::read_to_string(&there) {
            Ok(text) if text == "inside" && !gone.exists() => Ok(()),
            Ok(text) => Err(format!("the file holds '{text}', or what was removed is there")),
            Err(e) => Err(format!("the new file: {e}")),
        };
        scene.git(&scene.one(), &["checkout", "--quiet", "--", "."]).map_err(|e| format!("{e:#}"))?;
        result
    };
    try_it().into()
}

pub(super) fn commits(scene: &Scene) -> Verdict {
    let try_it = || {
        scene.says("git commit --quiet --allow-empty -m 'from inside' && git log -1 --format=%s")?;
        let last = scene.git(&scene.one(), &["log", "-1", "--format=%s"]).map_err(|e| format!("{e:#}"))?;
        if last == "from inside" { Ok(()) } else { Err(format!("the last commit on the host is '{last}'")) }
    };
    try_it().into()
}

pub(super) fn read_only(scene: &Scene) -> Verdict {
    if let Some(verdict) = open(scene) {
        return verdict;
    }
    let dir = scene.mounted();
    let place = dir.display().to_string();
    let try_it = || {
        let script = "cat \"$0/file\"; (echo x > \"$0/file\") 2>/dev/null; (: > \"$0/new\") 2>/dev/null; \
                      chmod 777 \"$0\" 2>/dev/null; true";
        let words = ["sh", "-c", script, &place];
        let output = run(&mut scene.sandbox("shell", &scene.one(), &words), b"")?;
        if said(&output)? != "mounted\n" {
            return Err(format!("it is not there: {}", output.stderr_text()));
        }
        let changed = fs::read(dir.join("file")).unwrap_or_default() != b"mounted\n" || dir.join("new").exists();
        if changed { Err("it was written".into()) } else { Ok(()) }
    };
    try_it().into()
}

pub(super) fn secrets(scene: &Scene) -> Verdict {
    if let Some(verdict) = open(scene) {
        return verdict;
    }
    let try_it = || {
        for place in [scene.secret(), scene.two().join("of-the-other")] {
            let words = ["sh", "-c", "cat \"$0\" 2>/dev/null; true", &place.to_string_lossy()];
            let output = run(&mut scene.sandbox("shell", &scene.one(), &words), b"")?;
            if said(&output)?.contains("secret") {
                return Err(format!("'{}' was read", place.display()));
            }
        }
        Ok(())
    };
    try_it().into()
}

pub(super) fn hooks(scene: &Scene) -> Verdict {
    if let Some(verdict) = open(scene) {
        return verdict;
    }
    let git = scene.main().join(".git");
    let try_it = || {
        let script = "for dir in \"$0\" \"$(git rev-parse --git-common-dir)\"; do mkdir -p \"$dir/hooks\"; \
                      echo 'touch /tmp/x' > \"$dir/hooks/post-checkout\"; printf '[core]\\n\\tpager = x\\n' >> \"$dir/config\"; \
                      done 2>/dev/null; true";
        let words = ["sh", "-c", script, &git.to_string_lossy()];
        let before = fs::read(git.join("config")).map_err(|e| e.to_string())?;
        run(&mut scene.sandbox("shell", &scene.one(), &words), b"")?;
        match fs::read(git.join("config")) {
            Ok(after) if after == before && !git.join("hooks/post-checkout").exists() => Ok(()),
            _ => Err("the repository's configuration or its hooks were changed".into()),
        }
    };
    try_it().into()
}

pub(super) fn network(scene: &Scene) -> Verdict {
    if let Err(e) = scene.configure(json!({"network": {"policy": "deny"}})) {
        return Verdict::Unverified(format!("{e:#}"));
    }
    let output = match scene.script("cat /proc/net/dev") {
        Ok(output) => output,
        Err(why) => return Verdict::Fail(why),
    };
    if output.status.code() == Some(125) && output.stderr_text().contains("network") {
        return Verdict::Pass;
    }
    let text = match said(&output) {
        Ok(text) => text,
        Err(why) => return Verdict::Fail(why),
    };
    let devices = text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    match devices.filter(|name| *name != "lo").collect::<Vec<_>>().as_slice() {
        [] => Verdict::Pass,
        others => Verdict::Fail(format!("it has the network devices {}", others.join(", "))),
    }
}
