//! Containers that a crash left: listed, stopped and removed by what their labels say, never by their names.
//!
//! A container ends with its run, so as a rule there are none, or those of runs that are alive.

use serde::Deserialize;
use workmux_plugin_api::{
    Context, Error, ErrorKind, InstanceInfo, InstanceRequest, Instances, InstancesRequest, Level, Result, async_trait,
};

use crate::Container;
use crate::engine::Engine;
use crate::labels::{self, HOST, MANAGED, RUN, USER};
use crate::release::{ask, is_id, remove_ids};
use crate::settings::{self, Runtime};

#[async_trait]
impl Instances for Container {
    async fn list(&self, cx: &Context, request: InstancesRequest) -> Result<Vec<InstanceInfo>> {
        let (mut all, mut failures, engines) = (Vec::new(), Vec::new(), engines(cx, &request.settings)?);
        for engine in &engines {
            match listed(cx, *engine, None).await {
                Ok(found) => all.extend(found.into_iter().map(|one| one.info)),
                Err(e) => failures.push((engine, e)),
            }
        }
        if failures.len() == engines.len()
            && let Some((_, e)) = failures.pop()
        {
            return Err(e);
        }
        for (engine, e) in failures {
            let why = e.causes.last().unwrap_or(&e.message);
            cx.log(
                Level::Warning,
                format!("'{}' could not be asked, so its containers are not listed: {why}", engine.name()),
            );
        }
        Ok(all)
    }

    async fn stop(&self, cx: &Context, request: InstanceRequest) -> Result<()> {
        let (engine, one) = find(cx, &request).await?;
        if !one.info.running {
            return Ok(());
        }
        ask(cx, engine, &["stop", "--time", "2", &one.id]).await.map(drop)
    }

    async fn delete(&self, cx: &Context, request: InstanceRequest) -> Result<()> {
        let (engine, one) = match find(cx, &request).await {
            Err(e) if e.kind == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        if one.info.running && !request.force {
            return Err(Error::new(ErrorKind::Conflict, format!("'{}' runs", request.name)).hint("stop it first"));
        }
        remove_ids(cx, engine, &[&one.id]).await
    }
}

/// The configured engine, else all that are installed.
fn engines(cx: &Context, settings: &serde_json::Value) -> Result<Vec<Engine>> {
    let table = settings::read(settings)?;
    let all = match table.runtime {
        Some(Runtime::Docker) => vec![Engine::Docker],
        Some(Runtime::Podman) => vec![Engine::Podman],
        None => vec![Engine::Docker, Engine::Podman],
    };
    let installed: Vec<_> = all.into_iter().filter(|engine| cx.tool(engine.name()).is_some()).collect();
    if installed.is_empty() {
        // Says what to install.
        Engine::choose(&table, |name| cx.tool(name))?;
    }
    Ok(installed)
}

/// A container of ours.
struct Found {
    id: String,
    info: InstanceInfo,
}

async fn find(cx: &Context, request: &InstanceRequest) -> Result<(Engine, Found)> {
    let mut failed = None;
    for engine in engines(cx, &request.settings)? {
        match listed(cx, engine, Some(&request.name)).await {
            Ok(found) => {
                if let Some(one) = found.into_iter().find(|one| one.info.name == request.name) {
                    return Ok((engine, one));
                }
            }
            Err(e) => failed = Some(e),
        }
    }
    Err(failed.unwrap_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("there is no container '{}' of ours", request.name))
            .hint("list those there are: workmux sandbox prune --dry-run")
    }))
}

/// Those of this program on this machine; with one name only.
async fn listed(cx: &Context, engine: Engine, name: Option<&str>) -> Result<Vec<Found>> {
    let (managed, host) = (format!("label={MANAGED}"), format!("label={HOST}={}", labels::host()));
    let user = format!("label={USER}={}", labels::user());
    let mut words = vec!["ps", "--all", "--quiet", "--no-trunc"];
    for filter in [&managed, &host, &user] {
        words.extend(["--filter", filter]);
    }
    let named = name.map(|name| format!("name={name}"));
    if let Some(named) = &named {
        words.extend(["--filter", named]);
    }
    let ids = ask(cx, engine, &words).await?.stdout;
    let ids: Vec<&str> = ids.split_whitespace().filter(|id| is_id(id)).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut words = vec!["container", "inspect"];
    words.extend(&ids);
    // One that ended in between makes the whole answer a failure; the rest of it is there all the same.
    let text = crate::release::output(cx, engine, &words).await?.stdout;
    let all: Vec<Inspected> = serde_json::from_str(&text).map_err(|e| {
        Error::internal(format!("'{}' answered something unreadable", engine.name())).cause(e.to_string())
    })?;
    Ok(all.into_iter().map(Found::from).collect())
}

/// The parts of `inspect` that count; the two engines agree on these names.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Inspected {
    id: String,
    name: String,
    created: String,
    state: State,
    config: Config,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    status: String,
    running: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    labels: std::collections::BTreeMap<String, String>,
}

impl From<Inspected> for Found {
    fn from(inspected: Inspected) -> Self {
        let info = InstanceInfo {
            name: inspected.name.trim_start_matches('/').to_owned(),
            status: inspected.state.status,
            running: inspected.state.running,
            run: inspected.config.labels.get(RUN).cloned(),
            created: seconds(&inspected.created),
            ..InstanceInfo::default()
        };
        Self { id: inspected.id, info }
    }
}

/// Seconds since 1970 of a time such as `2026-01-31T12:34:56.789Z` or with an offset such as `+02:00`.
fn seconds(time: &str) -> Option<u64> {
    let time = time.parse::<jiff::Timestamp>().ok()?;
    u64::try_from(time.as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_engines_answers_are_read() {
        let text = r#"[{"Id": "ab", "Name": "/wm-x-012345", "Created": "2026-01-31T12:34:56.789012345Z",
            "State": {"Status": "exited", "Running": false}, "Config": {"Labels": {"workmux.run": "r"}}, "More": 1},
            {"Id": "cd", "Name": "wm-y-012345", "Created": "2026-01-31T14:34:56+02:00", "State": {"Running": true}}]"#;
        let all: Vec<Found> =
            serde_json::from_str::<Vec<Inspected>>(text).unwrap().into_iter().map(Found::from).collect();
        assert_eq!((all[0].info.name.as_str(), all[0].info.run.as_deref()), ("wm-x-012345", Some("r")));
        assert!(!all[0].info.running && all[1].info.running);
        assert_eq!(all[0].info.created, Some(1_769_862_896));
        assert_eq!(all[0].info.created, all[1].info.created);
        assert_eq!(seconds("yesterday"), None);
    }
}
