//! Building: two runs of the engine's own build, each in a private directory that holds only what goes into the image.
//!
//! Nothing here needs a newer builder than the oldest supported engine has, and none is asked for: the engine takes the
//! one it would take by itself.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use workmux_plugin_api::{Context, Error, Result, Step, Tool, Word};

use super::failures::{self, About};
use super::scratch::Scratch;
use super::{Wanted, recipe, tool};
use crate::engine::Engine;

/// What the first stage is called: another build begins with it, and agents' recipes name it.
const BASE: &str = "localhost/workmux-sandbox-base";
/// On everything that a build makes, its steps included: what a failed one left is found by it.
const RECIPE: &str = "workmux.recipe";
/// On an image that was built here.
pub(super) const BUILT: &str = "workmux.built";
/// A build may be silent for longer than the host waits for a word.
const ALIVE: Duration = Duration::from_secs(30);
/// Lines that are kept for the reason of a failure.
const KEPT: usize = 40;
/// Longest step that is shown.
const LONGEST: usize = 70;

/// Builds both stages.
pub(super) async fn build(cx: &Context, wanted: &Wanted, agent: &recipe::Agent, program: &Path) -> Result<()> {
    let base = Stage {
        title: "base".to_owned(),
        text: recipe::BASE.replace(recipe::PROGRAM, "COPY workmux /usr/local/bin/workmux\n"),
        program: Some(program),
        tag: BASE,
        from: "debian:trixie-slim",
        arguments: Vec::new(),
    };
    // The newest version of the agent, whatever an earlier build has left.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let own = Stage {
        title: agent.name.to_owned(),
        text: agent.text.to_owned(),
        program: None,
        tag: &wanted.image.name,
        from: BASE,
        arguments: vec![
            "--build-arg".to_owned(),
            format!("BASE={BASE}"),
            "--build-arg".to_owned(),
            format!("CACHE_BUST={now}"),
            "--label".to_owned(),
            format!("{BUILT}={}", env!("CARGO_PKG_VERSION")),
        ],
    };
    let built = async {
        base.build(cx, wanted, "1 of 2").await?;
        own.build(cx, wanted, "2 of 2").await
    }
    .await;
    // Also what this build took the name from.
    let filter = format!("label={RECIPE}");
    let _kept = cx.run(tool(wanted.engine, &["image", "prune", "--force", "--filter", &filter])).await;
    built
}

/// One run of the engine's build.
pub(super) struct Stage<'a> {
    pub(super) title: String,
    pub(super) text: String,
    /// Goes into the directory as `workmux`.
    pub(super) program: Option<&'a Path>,
    pub(super) tag: &'a str,
    /// What it starts from, for messages.
    pub(super) from: &'a str,
    pub(super) arguments: Vec<String>,
}

impl Stage<'_> {
    pub(super) async fn build(&self, cx: &Context, wanted: &Wanted, place: &str) -> Result<()> {
        let scratch = Scratch::new()?;
        // Only this goes to the engine.
        let directory = scratch.path().join("context");
        fs::create_dir(&directory).map_err(unfilled)?;
        self.fill(&directory)?;
        let mut build = cx.start(scratch.keeps(wanted.engine, self.tool(wanted.engine, &directory))).await?;
        let (mut step, mut tail) = (Counted::default(), Vec::new());
        loop {
            match build.next(ALIVE).await? {
                Step::Printed { lines } => {
                    for line in &lines {
                        if let Some(next) = Counted::read(line) {
                            cx.progress(format!("{} {next}", self.title), next.number.saturating_sub(1), next.of);
                            step = next;
                        }
                    }
                    tail.extend(lines);
                    tail.drain(..tail.len().saturating_sub(KEPT));
                }
                Step::Ended { code: Some(0) } => return Ok(()),
                Step::Ended { .. } => {
                    let stage = match step.number {
                        0 => format!("stage '{}' ({place})", self.title),
                        _ => format!("stage '{}' ({place}) at step {step}", self.title),
                    };
                    return Err(failures::build(&About::of(wanted), &stage, self.from, &tail));
                }
                _ => cx.progress(format!("{} {step}", self.title), step.number.saturating_sub(1), step.of),
            }
        }
    }

    fn tool(&self, engine: Engine, directory: &Path) -> Tool {
        let file = directory.join("Dockerfile");
        // Without the first option the container of a failed step stays.
        let mut args: Vec<Word> = ["build", "--force-rm", "--tag", self.tag].map(Word::from).to_vec();
        args.extend(self.arguments.iter().map(|word| word.as_str().into()));
        args.extend([Word::from("--file"), file.into_os_string().into(), directory.as_os_str().to_owned().into()]);
        let env = [("DOCKER_CLI_HINTS", "false"), ("BUILDKIT_PROGRESS", "plain")];
        let env = env.map(|(name, value)| (name.to_owned(), Word::from(value))).to_vec();
        Tool { args, env, ..tool(engine, &[]) }
    }

    fn fill(&self, directory: &Path) -> Result<()> {
        // Every step of the build inherits it, so that it is also on what a failed one leaves.
        let (from, rest) = self.text.split_at(end_of_from(&self.text));
        fs::write(directory.join("Dockerfile"), format!("{from}LABEL {RECIPE}={}\n{rest}", self.title))
            .map_err(unfilled)?;
        if let Some(program) = self.program {
            fs::copy(program, directory.join("workmux")).map_err(unfilled)?;
            set_executable(&directory.join("workmux")).map_err(unfilled)?;
        }
        Ok(())
    }
}

fn unfilled(e: std::io::Error) -> Error {
    Error::internal("the build's directory could not be filled").cause(e.to_string())
}

/// Builders that know no `--chmod` take a file's mode as it is.
fn set_executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn end_of_from(text: &str) -> usize {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        if line.starts_with("FROM ") {
            return at;
        }
    }
    0
}

/// A step, as builders tell of it: `Step 3/8 : RUN …`, `STEP 3/8: RUN …`, `#7 [3/8] RUN …`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Counted {
    number: u64,
    of: u64,
    what: String,
}

impl Counted {
    fn read(line: &str) -> Option<Self> {
        let numbers = |text: &str| {
            let (number, of) = text.split_once('/')?;
            Some((number.trim().parse::<u64>().ok()?, of.trim().parse::<u64>().ok()?))
        };
        let (counted, what) = match line.strip_prefix("Step ").or_else(|| line.strip_prefix("STEP ")) {
            Some(rest) => rest.split_once(':')?,
            None => {
                let (_, rest) = line.strip_prefix('#')?.split_once(" [")?;
                let (counted, what) = rest.split_once(']')?;
                (counted.rsplit(' ').next()?, what)
            }
        };
        let (number, of) = numbers(counted)?;
        let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
        Some(Self { number, of, what })
    }
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut what: String = self.what.chars().take(LONGEST).collect();
        if what.len() < self.what.len() {
            what.push('…');
        }
        write!(f, "{}/{}: {what}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_all_builders_are_read() {
        for line in
            ["Step 3/8 : RUN  make it", "STEP 3/8: RUN make it", "#7 [3/8] RUN make it", "#7 [base 3/8] RUN make it"]
        {
            assert_eq!(Counted::read(line).map(|s| s.to_string()).as_deref(), Some("3/8: RUN make it"), "{line}");
        }
        for line in
            ["", "Step", "STEP x/y: z", "#7 0.123 text", "# [", "#1 [internal] load build definition", "Step 1/: x"]
        {
            assert_eq!(Counted::read(line), None, "{line}");
        }
        let long = Counted::read(&format!("Step 1/1 : RUN {}", "ä".repeat(200))).unwrap().to_string();
        assert!(long.chars().count() < 80 && long.ends_with('…'), "{long}");
    }

    #[test]
    fn every_step_of_a_build_bears_the_label() {
        let directory = tempfile::tempdir().unwrap();
        let stage = Stage {
            title: "base".into(),
            text: "# why\nARG BASE=x\nFROM ${BASE}\nRUN true\n".into(),
            program: None,
            tag: "t",
            from: "x",
            arguments: Vec::new(),
        };
        stage.fill(directory.path()).unwrap();
        let text = fs::read_to_string(directory.path().join("Dockerfile")).unwrap();
        assert_eq!(text, "# why\nARG BASE=x\nFROM ${BASE}\nLABEL workmux.recipe=base\nRUN true\n");
    }
}
