//! What the cases share: a Lima directory of its own, the `limactl` under test, and what is asked of them again and again.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;
use serde_json::{Value, json};
use workmux_tests::{Finished, Process, Run, Running, World, given, processes, wait_until};

use super::recording::Recording;

/// The releases that the stand-in plays.
pub(crate) const RELEASES: [&str; 5] = ["1.0.7", "1.2.3", "2.0.3", "2.1.4", "2.2.0"];
/// The one it plays unasked.
const NEWEST: &str = "2.2.0";

/// Which `limactl` is under test.
enum Subject {
    Double { release: String },
    Real { program: PathBuf },
}

/// A user with a Lima directory. All instances end with it.
pub(crate) struct Lima {
    world: World,
    subject: Subject,
    recording: RefCell<Recording>,
}

/// What a case needs of the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Files alone.
    Files,
    /// Instances that boot: a real `limactl` needs an image for that.
    Boot,
}

/// Holds every `limactl` there is to the case: the stand-in, also in each release that a real one was seen in, and a real
/// one where there is one.
pub(crate) fn contract(needs: Needs, case: impl Fn(&Lima)) {
    if !workmux_tests::engine("limactl") {
        return;
    }
    held(&Lima::double(NEWEST), &case);
    for release in Recording::releases().iter().filter(|release| *release != NEWEST) {
        held(&Lima::double(release), &case);
    }
    if let Some(program) = std::env::var_os("WORKMUX_TEST_LIMACTL")
        && (needs == Needs::Files || std::env::var_os("WORKMUX_TEST_LIMACTL_TEMPLATE").is_some())
    {
        held(&Lima::with(Subject::Real { program: program.into() }), &case);
    }
}

/// Holds the stand-in to the case in each release that it plays.
pub(crate) fn each_release(case: impl Fn(&Lima, &str)) {
    if !workmux_tests::engine("limactl") {
        return;
    }
    for release in RELEASES {
        held(&Lima::double(release), &|lima| case(lima, release));
    }
}

/// Holds the stand-in alone to the case: faults are its own.
pub(crate) fn double(case: impl Fn(&Lima)) {
    if workmux_tests::engine("limactl") {
        case(&Lima::double(NEWEST));
    }
}

fn held(lima: &Lima, case: &impl Fn(&Lima)) {
    case(lima);
    let (release, real) = match &lima.subject {
        Subject::Double { release } => (release.clone(), false),
        Subject::Real { .. } => (lima.version(), true),
    };
    lima.recording.take().close(&release, real);
}

impl Lima {
    fn double(release: &str) -> Self {
        Self::with(Subject::Double { release: release.to_owned() })
    }

    fn with(subject: Subject) -> Self {
        let world = World::without_repository();
        let lima = Self { world, subject, recording: RefCell::default() };
        lima.world.folder(&lima.home());
        lima.world.folder(&lima.shared());
        lima.world.write(lima.image(), vec![0; 1 << 20]);
        lima
    }

    /// The user's world.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// `$LIMA_HOME`; its name is short, since sockets lie in it.
    pub(crate) fn home(&self) -> PathBuf {
        self.world.home().join("l")
    }

    /// A directory to mount.
    pub(crate) fn shared(&self) -> PathBuf {
        self.world.home().join("shared")
    }

    fn image(&self) -> PathBuf {
        self.world.home().join("image")
    }

    /// An instance's directory.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.home().join(name)
    }

    /// What `--version` says.
    pub(crate) fn version(&self) -> String {
        let said = self.limactl(&["--version"]).unrecorded().run().ok().stdout;
        said.trim().trim_start_matches("limactl version ").to_owned()
    }

    /// `limactl`, about to run.
    pub(crate) fn limactl(&self, words: &[&str]) -> Call<'_> {
        let program = match &self.subject {
            Subject::Double { .. } => given().limactl.as_ref().expect("the engine was asked for"),
            Subject::Real { program } => program,
        };
        let run = self.world.program(program).args(words).env("LIMA_HOME", self.home());
        let run = match &self.subject {
            Subject::Double { release } => run.env("FAKE_LIMA_VERSION", release),
            Subject::Real { .. } => run,
        };
        Call { lima: self, words: words.iter().map(|word| (*word).to_owned()).collect(), run }
    }

    /// Runs it.
    pub(crate) fn run(&self, words: &[&str]) -> Finished {
        self.limactl(words).run()
    }

    /// The text of a configuration that a real `limactl` takes too, with more keys.
    pub(crate) fn yaml(&self, more: &str) -> String {
        let template =
            std::env::var_os("WORKMUX_TEST_LIMACTL_TEMPLATE").filter(|_| matches!(self.subject, Subject::Real { .. }));
        let base = template.map_or_else(
            // Else a real one would fetch what runs containers.
            || {
                format!(
                    "images: [{{location: '{}'}}]\ncontainerd: {{system: false, user: false}}\n",
                    self.image().display()
                )
            },
            |path| fs::read_to_string(path).expect("the template can be read"),
        );
        format!("{base}{more}\n")
    }

    /// A file with that text.
    pub(crate) fn template(&self, more: &str) -> String {
        let path = self.world.home().join("template.yaml");
        self.world.write(&path, self.yaml(more));
        path.to_str().expect("UTF-8").to_owned()
    }

    /// Creates an instance.
    #[track_caller]
    pub(crate) fn create(&self, name: &str, more: &str) {
        let template = self.template(more);
        self.run(&["create", "--tty=false", "--name", name, &template]).ok();
    }

    /// Creates and starts one.
    #[track_caller]
    pub(crate) fn boot(&self, name: &str, more: &str) {
        self.create(name, more);
        self.run(&["start", "--tty=false", name]).ok();
    }

    /// `limactl shell NAME WORDS`, about to run.
    pub(crate) fn shell(&self, name: &str, words: &[&str]) -> Call<'_> {
        self.limactl(&[&["shell", name][..], words].concat())
    }

    /// What `list --json` says of each.
    #[track_caller]
    pub(crate) fn list(&self) -> Vec<Value> {
        objects(&self.run(&["list", "--json"]).ok().stdout)
    }

    /// What it says of one.
    #[track_caller]
    pub(crate) fn look(&self, name: &str) -> Value {
        let all = self.list();
        all.into_iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("'{name}' is not listed"))
    }

    /// Its status.
    #[track_caller]
    pub(crate) fn status(&self, name: &str) -> String {
        self.look(name)["status"].as_str().expect("a status").to_owned()
    }

    /// Waits until it has this status.
    #[track_caller]
    pub(crate) fn wait_for_status(&self, name: &str, status: &str) {
        // How often it is asked is chance, and stands in no recording.
        wait_until(&format!("'{name}' to be '{status}'"), || {
            let all = objects(&self.limactl(&["list", "--json"]).unrecorded().run().ok().stdout);
            all.iter().any(|one| one["name"] == name && one["status"] == status)
        });
    }

    /// The process that a file of an instance names.
    #[track_caller]
    pub(crate) fn process(&self, name: &str, file: &str) -> Process {
        let text = fs::read_to_string(self.dir(name).join(file)).expect("the file with the process id");
        Process::find(Pid::from_raw(text.trim().parse().expect("a number"))).expect("the process runs")
    }

    /// Has things go wrong with an instance.
    pub(crate) fn fault(&self, name: &str, faults: Value) {
        self.world.write(self.dir(name).join("fake.json"), faults.to_string());
    }

    /// Nothing goes wrong with it any more.
    pub(crate) fn mend(&self, name: &str) {
        self.fault(name, json!({}));
    }

    /// What still runs below this user's home.
    pub(crate) fn left(&self) -> Vec<String> {
        let home = self.world.home().to_str().expect("UTF-8");
        processes().into_iter().filter(|process| process.words.contains(home)).map(|process| process.words).collect()
    }
}

/// JSON Lines.
fn objects(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).expect("one object on each line")).collect()
}

/// A command about to run; how it ended goes into the recording.
pub(crate) struct Call<'a> {
    lima: &'a Lima,
    words: Vec<String>,
    run: Run,
}

impl Call<'_> {
    /// With a variable.
    pub(crate) fn env(self, name: &str, value: &str) -> Self {
        Self { run: self.run.env(name, value), ..self }
    }

    /// Without this variable.
    pub(crate) fn without(self, name: &str) -> Self {
        Self { run: self.run.without(name), ..self }
    }

    /// In this folder.
    pub(crate) fn dir(self, folder: &Path) -> Self {
        Self { run: self.run.dir(folder), ..self }
    }

    /// With this on its standard input.
    pub(crate) fn input(self, bytes: impl Into<Vec<u8>>) -> Self {
        Self { run: self.run.input(bytes), ..self }
    }

    /// To its end.
    pub(crate) fn run(self) -> Finished {
        let finished = self.run.run();
        let words: Vec<_> = self.words.iter().map(String::as_str).collect();
        self.lima.recording.borrow_mut().note(&words, &finished, self.lima.world.home());
        finished
    }

    /// Beside the test.
    pub(crate) fn start(self) -> Running {
        self.run.start()
    }

    /// What the recording says nothing of.
    pub(crate) fn unrecorded(self) -> Run {
        self.run
    }
}

impl Drop for Lima {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.home()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if Path::new(&entry.path()).is_dir() && !name.starts_with('_') {
                let _whatever_it_was = self.limactl(&["stop", "-f", &name]).unrecorded().into_command().output();
            }
        }
    }
}
