//! Building: two runs of the engine's own build, each in a private directory that holds only what goes into the image.
//!
//! Nothing here needs a newer builder than the oldest supported engine has, and none is asked for: the engine takes the
//! one it would take by itself.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use workmux_plugin_api::{Context, Error, ErrorKind, Result, Step, Tool, Word};

use super::failures::{self, About};
use super::freshness::Local;
use super::scratch::Scratch;
use super::{Wanted, recipe, tool};
use crate::engine::Engine;

/// What the first stage is called: another build begins with it, and agents' recipes name it.
const BASE: &str = "localhost/workmux-sandbox-base";
/// What it is built on.
const FROM: &str = "debian:trixie-slim";
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
    let name = wanted.image.name.as_str();
    if name.contains('@') || [BASE, FROM].iter().any(|taken| name.split(':').next() == taken.split(':').next()) {
        let message = format!("no image can be built under the name '{name}'");
        return Err(Error::new(ErrorKind::InvalidSettings, message)
            .hint("set 'sandbox.image' to a name of your own, such as 'my-sandbox'"));
    }
    let base = Stage {
        title: "base".to_owned(),
        text: recipe::BASE.replace(recipe::PROGRAM, "COPY workmux /usr/local/bin/workmux\n"),
        program: Some(program),
        tag: BASE,
        from: FROM,
        arguments: Vec::new(),
    };
    // The newest version of the agent, whatever an earlier build has left.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let given = wanted.table.build_args.iter().map(|(name, value)| format!("{name}={value}"));
    let own = Stage {
        title: agent.name.to_owned(),
        text: agent.text.to_owned(),
        program: None,
        tag: &wanted.image.name,
        from: BASE,
        arguments: given
            .chain([format!("BASE={BASE}"), format!("CACHE_BUST={now}")])
            .flat_map(|argument| ["--build-arg".to_owned(), argument])
            .chain(["--label".to_owned(), format!("{BUILT}={}", env!("CARGO_PKG_VERSION"))])
            .collect(),
    };
    let before = Local::find(cx, wanted.engine, &wanted.image.name).await?;
    base.build(cx, wanted, "1 of 2").await?;
    own.build(cx, wanted, "2 of 2").await?;
    if let Some(before) = before {
        remove_nameless(cx, wanted.engine, &before.id).await;
    }
    Ok(())
}

/// Removes an image that nothing is called by any more, with those below it that are only its own. What is in use stays.
async fn remove_nameless(cx: &Context, engine: Engine, id: &str) {
    if let Ok(Some(found)) = Local::find(cx, engine, id).await
        && found.is_nameless()
    {
        let _used = cx.run(tool(engine, &["rmi", id])).await;
    }
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
        let (mut step, mut tail, mut made) = (Counted::default(), Vec::new(), None);
        loop {
            match build.next(ALIVE).await? {
                Step::Printed { lines } => {
                    for line in &lines {
                        if let Some(next) = Counted::read(line) {
                            cx.progress(format!("{} {next}", self.title), next.number.saturating_sub(1), next.of);
                            step = next;
                        }
                        made = intermediate(line).map(str::to_owned).or(made);
                    }
                    tail.extend(lines);
                    tail.drain(..tail.len().saturating_sub(KEPT));
                }
                Step::Ended { code: Some(0) } => return Ok(()),
                Step::Ended { .. } => {
                    if let Some(made) = made {
                        remove_nameless(cx, wanted.engine, &made).await;
                    }
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
        fs::write(directory.join("Dockerfile"), &self.text).map_err(unfilled)?;
        if let Some(program) = self.program {
            fs::copy(program, directory.join("workmux")).map_err(unfilled)?;
            set_executable(&directory.join("workmux")).map_err(unfilled)?;
        }
        Ok(())
    }
}

fn unfilled(e: std::io::Error) -> Error {
    Error::internal("the build's directory could not be filled")
        .cause(e.to_string())
        .hint("make room, or set TMPDIR to a directory that has some (without it: /var/tmp)")
}

/// Builders that know no `--chmod` take a file's mode as it is.
fn set_executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// The image that a step has made, as builders without layers of their own kind tell: ` ---> 0b5f3e1d5d2c`, `--> …`.
fn intermediate(line: &str) -> Option<&str> {
    let id = line.trim_start_matches('-').strip_prefix("> ").filter(|_| line.starts_with("--"))?;
    (id.len() >= 10 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
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
    fn images_of_steps_are_told_from_words_about_them() {
        assert_eq!(intermediate("---> 0b5f3e1d5d2c"), Some("0b5f3e1d5d2c"));
        assert_eq!(intermediate("--> 0b5f3e1d5d2c"), Some("0b5f3e1d5d2c"));
        for line in [
            "---> Running in 0b5f3e1d5d2c",
            "---> Using cache",
            "--> Using cache 0b5f3e1d5d2c",
            "> 0b5f3e1d5d2c",
            "--> ",
        ] {
            assert_eq!(intermediate(line), None, "{line}");
        }
    }
}
