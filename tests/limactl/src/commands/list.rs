//! `list`: what there is, as JSON Lines, by a template, by name or as a table.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::say;
use crate::failure::{Failure, Result};
use crate::faults::Faults;
use crate::flags::Words;
use crate::log;
use crate::store::{Instance, Store};

/// What templates may name, and the key of the same in JSON.
const FIELDS: [(&str, &str); 19] = [
    ("Name", "name"),
    ("Hostname", "hostname"),
    ("Status", "status"),
    ("Dir", "dir"),
    ("VMType", "vmType"),
    ("Arch", "arch"),
    ("CPUs", "cpus"),
    ("Memory", "memory"),
    ("Disk", "disk"),
    ("Message", "message"),
    ("SSHLocalPort", "sshLocalPort"),
    ("SSHConfigFile", "sshConfigFile"),
    ("HostAgentPID", "hostAgentPID"),
    ("DriverPID", "driverPID"),
    ("SSHAddress", "sshAddress"),
    ("Protected", "protected"),
    ("LimaVersion", "limaVersion"),
    ("LimaHome", "LimaHome"),
    ("IdentityFile", "IdentityFile"),
];

/// The command.
pub(super) fn run(store: &Store, words: &Words) -> Result<i32> {
    let (quiet, as_json) = (words.on("quiet"), words.on("json"));
    let format = if as_json { "json" } else { words.text("format").unwrap_or("table") };
    if as_json && words.has("format") {
        return Err("option --json conflicts with option --format".into());
    }
    if quiet && format != "table" {
        return Err("option --quiet can only be used with '--format table'".into());
    }
    let faults = Faults::of_all(&store.home)?;
    thread::sleep(Duration::from_millis(faults.slow_list_ms));

    let all = store.names()?;
    let asked = words.texts();
    if all.is_empty() && (asked.is_empty() || !store.version.always_misses()) {
        log::warning("No instance found. Run `limactl create` to create an instance.");
        return Ok(0);
    }
    let mut missed = false;
    let mut names = if asked.is_empty() { all.clone() } else { asked };
    names.retain(|name| {
        let there = all.contains(name);
        if !there {
            log::warning(&format!("No instance matching {name} found."));
            missed = true;
        }
        there
    });
    let mut text = faults.garbage_before_json.map(|garbage| garbage + "\n").unwrap_or_default();
    if quiet {
        text.extend(names.iter().map(|name| format!("{name}\n")));
    } else {
        let instances = names.iter().map(|name| look(store, name)).collect::<Result<Vec<_>>>()?;
        for instance in instances.iter().filter(|instance| !instance.errors.is_empty()) {
            let name = store.version.quote(&instance.name);
            log::warning(&format!("instance {name} has errors: [{}]", instance.errors.join(" ")));
        }
        text.push_str(&printed(store, &instances, format)?);
    }
    say(&mut io::stdout(), &text);
    Ok(i32::from(missed))
}

/// One instance; what has no `lima.yaml` fails all of `list` in most releases.
fn look(store: &Store, name: &str) -> Result<Instance> {
    match store.inspect(name) {
        Err(failure) if failure.missing && store.version.lists_strays() => Ok(store.stray(name, failure.message)),
        Err(failure) => Err(format!("unable to load instance {name}: {}", failure.message).into()),
        found => found,
    }
}

fn printed(store: &Store, instances: &[Instance], format: &str) -> Result<String> {
    let mut text = String::new();
    let objects = instances.iter().map(|instance| object(store, instance));
    match format {
        "json" => {
            let pretty = io::stdout().is_terminal() && store.version.since(2, 0);
            for object in objects {
                let shown = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) };
                text.push_str(&shown.map_err(|e| Failure::new(e.to_string()))?);
                text.push('\n');
            }
        }
        "table" => text = table(instances),
        template if template.contains("{{") => {
            for object in objects {
                text.push_str(&filled(template, &Value::Object(object))?);
                text.push('\n');
            }
        }
        other => return Err(format!("fake-limactl has no format \"{other}\"").into()),
    }
    Ok(text)
}

fn object(store: &Store, instance: &Instance) -> Map<String, Value> {
    let config = instance.config.as_ref();
    let mut object = Map::new();
    let mut set = |key: &str, value: Value| {
        // As Go omits what is empty, where it does.
        let empty = match &value {
            Value::Null => true,
            Value::Number(n) => n.as_f64() == Some(0.0),
            Value::String(s) => s.is_empty(),
            Value::Array(a) => a.is_empty(),
            _ => false,
        };
        if !empty || ["name", "hostname", "status", "dir", "vmType", "arch", "limaVersion"].contains(&key) {
            object.insert(key.to_owned(), value);
        }
    };
    set("name", json!(instance.name));
    set("hostname", json!(instance.hostname()));
    set("status", json!(instance.status.text()));
    set("dir", json!(instance.dir));
    set("vmType", json!(config.map_or("", |c| c.vm_type.as_str())));
    set("arch", json!(config.map_or("", |c| c.arch.as_str())));
    set("cpus", json!(config.map(|c| c.cpus)));
    set("memory", json!(config.map(|c| c.memory)));
    set("disk", json!(config.map(|c| c.disk)));
    set("message", json!(config.map(|c| c.message.as_str())));
    set("sshLocalPort", json!(instance.ssh_port));
    set("sshConfigFile", json!(instance.file("ssh.config")));
    set("hostAgentPID", json!(instance.host_agent));
    set("driverPID", json!(instance.driver));
    let errors =
        instance.errors.iter().map(|error| if store.version.tells_errors() { json!(error) } else { json!({}) });
    set("errors", errors.collect());
    set("config", config.map_or(Value::Null, |c| c.shown.clone()));
    set("sshAddress", json!("127.0.0.1"));
    set("protected", json!(instance.protected));
    set("limaVersion", json!(instance.made_by));
    set("param", config.filter(|c| !c.param.is_empty()).map_or(Value::Null, |c| json!(c.param)));
    set("HostOS", json!("linux"));
    set("HostArch", json!(std::env::consts::ARCH));
    set("LimaHome", json!(store.home));
    set("IdentityFile", json!(store.home.join("_config/user")));
    object
}

/// A template whose fields are filled in.
fn filled(template: &str, object: &Value) -> Result<String> {
    let (mut text, mut rest) = (String::new(), template);
    while let Some((before, behind)) = rest.split_once("{{") {
        let (inside, after) = behind.split_once("}}").ok_or(Failure::new("template: format:1: unclosed action"))?;
        let name = inside.trim();
        let field = name.strip_prefix('.').and_then(|name| FIELDS.iter().find(|(field, _)| *field == name));
        let Some((_, key)) = field else {
            let place = format!("template: format:1:{}", template.len() - rest.len() + before.len() + 2);
            return Err(format!(
                "{place}: executing \"format\" at <{name}>: can't evaluate field in type store.FormatData"
            )
            .into());
        };
        text.push_str(before);
        let _infallible = match &object[*key] {
            // Go prints the zero of what JSON omits.
            Value::Null
                if ["SSHLocalPort", "HostAgentPID", "DriverPID", "CPUs", "Memory", "Disk"].contains(&&name[1..]) =>
            {
                write!(text, "0")
            }
            Value::Null => Ok(()),
            Value::String(value) => write!(text, "{value}"),
            value => write!(text, "{value}"),
        };
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

fn table(instances: &[Instance]) -> String {
    let gib = |bytes: Option<u64>| bytes.map_or_else(String::new, |bytes| format!("{}GiB", bytes >> 30));
    let mut rows = vec![["NAME", "STATUS", "SSH", "CPUS", "MEMORY", "DISK", "DIR"].map(str::to_owned)];
    rows.extend(instances.iter().map(|instance| {
        let config = instance.config.as_ref();
        [
            instance.name.clone(),
            instance.status.text().to_owned(),
            format!("127.0.0.1:{}", instance.ssh_port),
            config.map_or_else(String::new, |c| c.cpus.to_string()),
            gib(config.map(|c| c.memory)),
            gib(config.map(|c| c.disk)),
            instance.dir.display().to_string(),
        ]
    }));
    let widths: Vec<_> = (0..7).map(|at| rows.iter().map(|row| row[at].len()).max().unwrap_or(0) + 4).collect();
    let line = |row: &[String; 7]| {
        let cells: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_know_their_fields_alone() {
        let object = json!({"name": "vm", "status": "Stopped", "protected": false});
        assert_eq!(filled("{{.Name}} {{ .Status }}:{{.SSHLocalPort}}", &object).unwrap(), "vm Stopped:0");
        assert!(filled("{{.Nope}}", &object).is_err());
        assert!(filled("{{.Name", &object).is_err());
    }
}
