//! `create`: a directory with `lima.yaml` and a disk. `start` makes instances the same way.

use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use super::DEFAULT;
use crate::config::{self, Config};
use crate::edits;
use crate::failure::{Failure, Result};
use crate::flags::Words;
use crate::log;
use crate::ssh;
use crate::store::{Instance, Store};

/// What stands for a disk image: as large as Lima's own tests have them.
const IMAGE_SIZE: u64 = 1 << 20;

/// The command.
pub(super) fn run(store: &Store, words: &Words) -> Result<i32> {
    let instance = load_or_create(store, words, true)?;
    check_errors(&instance)?;
    prepare(store, &instance)?;
    log::info(&format!("Run `limactl start {}` to start the instance.", instance.name));
    Ok(0)
}

/// What was read of an instance must be sound.
pub(super) fn check_errors(instance: &Instance) -> Result {
    if instance.errors.is_empty() {
        return Ok(());
    }
    Err(format!("errors inspecting instance: [{}]", instance.errors.join(" ")).into())
}

/// The instance that the words name, made where it is not there. `only`: it must not be.
pub(super) fn load_or_create(store: &Store, words: &Words, only: bool) -> Result<Instance> {
    let what = words.texts().pop().unwrap_or_default();
    let given = words.text("name").unwrap_or_default();
    if !given.is_empty() {
        store.valid(given)?;
    }
    let (name, text) = if what == "-" {
        if given.is_empty() {
            return Err("must pass instance name with --name when reading template from stdin".into());
        }
        if words.on("tty") {
            return Err("cannot use --tty=true when reading template from stdin".into());
        }
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|e| Failure::file("read", Path::new("/dev/stdin"), &e))?;
        (given.to_owned(), Some(text))
    } else if let Some(template) = what.strip_prefix("template:") {
        let template = template.trim_start_matches("//");
        if template != DEFAULT {
            return Err(format!("open templates/{template}.yaml: no such file or directory").into());
        }
        (if given.is_empty() { template } else { given }.to_owned(), None)
    } else if what.is_empty() || store.valid(&what).is_ok() {
        if !given.is_empty() && !what.is_empty() && given != what {
            let (what, given) = (store.version.quote(&what), store.version.quote(given));
            return Err(format!("instance name {what} and CLI flag --name={given} cannot be specified together").into());
        }
        let name =
            [what.as_str(), given, DEFAULT].into_iter().find(|name| !name.is_empty()).unwrap_or(DEFAULT).to_owned();
        match store.inspect(&name) {
            Ok(_) if only => return Err(already(store, &name)),
            Ok(instance) => {
                log::info(&format!("Using the existing instance {}", store.version.quote(&name)));
                return edited(store, instance, words);
            }
            Err(failure) if failure.missing => {}
            Err(failure) => return Err(failure),
        }
        if !what.is_empty() && what != DEFAULT {
            let quoted = store.version.quote(&name);
            log::info(&format!("Creating an instance {quoted} from template:default (Not from template:{name})"));
            log::warning(&format!(
                "This form is deprecated. Use `limactl create --name={name} template:default` instead"
            ));
        }
        (name, None)
    } else if what.starts_with("http://") || what.starts_with("https://") {
        return Err("fake-limactl fetches nothing".into());
    } else {
        let path = Path::new(&what);
        let text = std::fs::read_to_string(path).map_err(|e| Failure::file("open", path, &e))?;
        let stem = path.file_name().unwrap_or_default().to_string_lossy();
        let stem = stem.trim_end_matches(".yaml").trim_end_matches(".yml");
        (if given.is_empty() { stem } else { given }.to_owned(), Some(text))
    };
    store.valid(&name)?;
    if only && store.inspect(&name).is_ok() {
        return Err(already(store, &name));
    }
    let text = match text {
        Some(text) => text,
        None => default_template().to_string(),
    };
    make(store, &name, &text, words)
}

fn already(store: &Store, name: &str) -> Failure {
    Failure::new(format!("instance {} already exists", store.version.quote(name)))
}

/// Lima's default: its user's home, read-only, on Ubuntu.
fn default_template() -> Value {
    json!({
        "images": [{"location": "https://cloud-images.ubuntu.com/releases/server.img", "arch": std::env::consts::ARCH}],
        "mounts": [{"location": "~"}]
    })
}

/// Changes an instance that is there.
fn edited(store: &Store, instance: Instance, words: &Words) -> Result<Instance> {
    let path = instance.file("lima.yaml");
    let text = std::fs::read_to_string(&path).map_err(|e| Failure::file("open", &path, &e))?;
    let mut tree = config::parse(&text)?;
    if !edits::apply(&mut tree, words)? {
        return Ok(instance);
    }
    Config::fill(&tree, &instance.name, &store.version)?.validate()?;
    std::fs::write(&path, tree.to_string()).map_err(|e| Failure::file("open", &path, &e))?;
    store.inspect(&instance.name)
}

fn make(store: &Store, name: &str, text: &str, words: &Words) -> Result<Instance> {
    let dir = store.home.join(name);
    store.fits(name)?;
    let mut tree = config::parse(text)?;
    let text = if edits::apply(&mut tree, words)? { tree.to_string() } else { text.to_owned() };
    if !words.on("tty") {
        log::info("Terminal is not available, proceeding without opening an editor");
    }
    if dir.exists() {
        return Err(format!("instance {} already exists (\"{}\")", store.version.quote(name), dir.display()).into());
    }
    for key in config::unknown_keys(&tree) {
        log::warning(&format!("Non-strict YAML detected; please check for typos: unknown field \"{key}\""));
    }
    Config::fill(&tree, name, &store.version)?.validate()?;
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|e| Failure::file("open", &path, &e))
    };
    std::fs::create_dir_all(&dir).map_err(|e| Failure::file("mkdir", &dir, &e))?;
    write("lima.yaml", &text)?;
    write("cloud-config.yaml", "#cloud-config\n")?;
    write("lima-version", store.version.text())?;
    ssh::ensure_key(&store.home)?;
    store.inspect(name)
}

/// What `create` and `start` see to: images and disks.
pub(super) fn prepare(store: &Store, instance: &Instance) -> Result {
    let config = instance.config()?;
    let disks = store.version.disks();
    if disks.iter().all(|disk| instance.file(disk).exists()) {
        return Ok(());
    }
    // The first that can be had is enough.
    let missing = |location: &str| {
        let path = Path::new(location.trim_start_matches("file://"));
        let local = !location.contains("://") || location.starts_with("file://");
        (local && !path.is_file()).then(|| format!("open {}: no such file or directory", path.display()))
    };
    let why: Vec<_> = config.images.iter().map(|image| missing(&image.location)).collect();
    if why.iter().all(Option::is_some) {
        let why: Vec<_> = why.into_iter().flatten().collect();
        return Err(format!("failed to download the image: [{}]", why.join(" ")).into());
    }
    if store.faults(&instance.name)?.disk_full {
        return Err(format!("write {}: no space left on device", instance.file(disks[0]).display()).into());
    }
    for disk in disks {
        let path = instance.file(disk);
        let sparse = std::fs::File::create(&path).and_then(|file| file.set_len(IMAGE_SIZE));
        sparse.map_err(|e| Failure::file("open", &path, &e))?;
    }
    Ok(())
}
