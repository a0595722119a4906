//! `copy`: `scp` between here and guests.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, Result};
use crate::flags::Words;
use crate::ssh;
use crate::store::{Status, Store};

/// The command.
pub(super) fn run(store: &Store, words: &Words) -> Result<i32> {
    match words.text("backend") {
        None | Some("auto" | "scp") => {}
        Some(other) => return Err(format!("fake-limactl copies with scp alone, not with \"{other}\"").into()),
    }
    let mut instances = Vec::new();
    let mut places: Vec<OsString> = Vec::new();
    for word in &words.rest {
        let parts: Vec<_> = word.as_bytes().split(|b| *b == b':').collect();
        let [name, path] = parts.as_slice() else {
            if parts.len() > 2 {
                return Err(format!("path \"{}\" contains multiple colons", word.display()).into());
            }
            places.push(word.clone());
            continue;
        };
        let name = String::from_utf8_lossy(name).into_owned();
        let quoted = store.version.quote(&name);
        let instance = store.inspect(&name).map_err(|failure| {
            let text =
                format!("instance {quoted} does not exist, run `limactl create {name}` to create a new instance");
            if failure.missing { Failure::new(text) } else { failure }
        })?;
        if instance.status == Status::Stopped {
            return Err(
                format!("instance {quoted} is stopped, run `limactl start {name}` to start the instance").into()
            );
        }
        let mut place =
            OsString::from(format!("scp://{}@127.0.0.1:{}/", instance.config()?.user.name, instance.ssh_port));
        place.push(OsStr::from_bytes(path));
        places.push(place);
        instances.push(instance);
    }
    instances.dedup_by(|one, other| one.name == other.name);
    let options = match instances.as_slice() {
        [instance] => ssh::options(&store.home, instance, instance.config()?),
        _ => ssh::common(&store.home),
    };
    let mut scp = Command::new("scp");
    scp.args(ssh::arguments(&options));
    for (name, flag) in [("verbose", "-v"), ("recursive", "-r")] {
        if words.on(name) {
            scp.arg(flag);
        }
    }
    scp.args(["-3", "--"]).args(places);
    let status = scp.status().map_err(|e| Failure::file("exec", Path::new("scp"), &e))?;
    Ok(status.code().unwrap_or(-1))
}
