//! The backend `bridge`: a program of the user's does the work, in any language, and is asked in JSON lines.
//!
//! This file is the contract's side: which verb asks what. A process answers one question and ends, so a program that
//! crashes or hangs costs one call and nothing is lost with it; what must be known later travels in the answers
//! ([`carried`]). How a question is asked is [`executable`]'s, what stands on a line [`line`]'s. Which programs may be
//! asked at all decides [`trust`], and what one declares about itself is held against what is demanded
//! ([`declaration`]).

mod carried;
mod declaration;
mod executable;
mod guest;
mod line;
mod trust;

use serde::Deserialize;
use serde_json::{Map, Value};
use workmux_plugin_api::*;

use carried::{Carried, Program, Table};
use declaration::Declaration;

#[derive(Default)]
struct Bridge;

/// What the program answers to `exec`. A word of its own, so that there can be others than plans.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum HowToRun {
    Plan(Plan),
}

#[async_trait]
impl Transport for Bridge {
    async fn rpc_route(&self, cx: &Context, mut request: RouteRequest) -> Result<Route> {
        let Carried { program, settings } = Carried::read(&request.settings)?;
        request.settings = settings;
        program.ask_if_known(cx, "rpc_route", &request).await.map(|route| route.unwrap_or(Route::Sockets))
    }

    async fn prepare(&self, cx: &Context, mut request: PrepareRequest) -> Result<Instance> {
        let Carried { program, settings } = Carried::read(&request.settings)?;
        program.declared.meets(&program.executable.path, &request.spec.policy)?;
        guest::place(&mut request.spec, &program.executable.path)?;
        request.settings = settings;
        let mut instance: Instance = program.ask(cx, "prepare", &request).await?;
        guest::at_home(&mut instance, &request.spec.home)?;
        program.sign(&mut instance)?;
        Ok(instance)
    }

    async fn exec(&self, cx: &Context, mut request: ExecRequest) -> Result<Exec> {
        let program = Program::of(&mut request.instance, &mut request.settings)?;
        guest::place(&mut request.spec, &program.executable.path)?;
        let HowToRun::Plan(plan) = program.ask(cx, "exec", &request).await?;
        Ok(Exec::Plan(plan))
    }

    async fn explain(&self, cx: &Context, mut request: ExplainRequest) -> Result<Option<Error>> {
        let program = Program::of(&mut request.instance, &mut request.settings)?;
        program.ask_if_known(cx, "explain", &request).await.map(Option::flatten)
    }

    async fn verify(&self, cx: &Context, mut request: VerifyRequest) -> Result<()> {
        let program = Program::of(&mut request.instance, &mut request.settings)?;
        program.ask_if_known::<_, Value>(cx, "verify", &request).await.map(drop)
    }

    async fn release(&self, cx: &Context, mut request: ReleaseRequest) -> Result<()> {
        let program = Program::of(&mut request.instance, &mut request.settings)?;
        program.ask_if_known::<_, Value>(cx, "release", &request).await.map(drop)
    }
}

#[async_trait]
impl Backend for Bridge {
    /// Asked before there are settings, so no program can be asked. This is the most that one could declare; what the
    /// one in use did not declare is refused in `prepare`, before anything is made.
    fn features(&self) -> Features {
        Features {
            mounts: true,
            masks: true,
            networks: vec![Network::Allow, Network::None],
            limits: vec![LimitKind::Memory, LimitKind::Cpus, LimitKind::Processes],
        }
    }

    async fn settings(&self, cx: &Context, request: SettingsRequest) -> Result<Settings> {
        // The user's part alone: whatever a schema says, no project names a program.
        let Table { executable, settings } = match Table::read(&request.user) {
            Ok(table) => table,
            Err(refusal) => return Ok(Settings { refusals: vec![refusal], ..Settings::default() }),
        };
        let declared: Declaration = executable.ask(cx, "describe", &Map::new()).await?;
        declared.acceptable(&executable.path)?;
        let program = Program { executable, declared };
        let theirs = SettingsRequest { user: settings.clone(), project: Map::new().into(), merged: settings.clone() };
        let judged: Option<Settings> = program.ask_if_known(cx, "settings", &theirs).await?;
        let mut answer = judged.unwrap_or(Settings { value: settings, ..Settings::default() });
        for refusal in &mut answer.refusals {
            refusal.key = format!("settings.{}", refusal.key);
        }
        answer.value = Carried { program, settings: answer.value }.into_value()?;
        Ok(answer)
    }

    async fn check(&self, cx: &Context, mut request: CheckRequest) -> Result<Vec<Finding>> {
        let Carried { program, settings } = Carried::read(&request.settings)?;
        let said =
            format!("'{}' declares isolation '{}'", program.executable.path.display(), program.declared.isolation);
        let mut findings = vec![Finding { subject: "program".into(), state: Ok(said) }];
        request.settings = settings;
        match program.ask_if_known::<_, Vec<Finding>>(cx, "check", &request).await {
            Ok(theirs) => findings.extend(theirs.into_iter().flatten()),
            Err(e) => findings.push(Finding { subject: "check".into(), state: Err(e) }),
        }
        Ok(findings)
    }
}

export_backend!(Bridge, manifest = include_str!("../backend.toml"));

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;

    /// The second lock is [`Table`], which looks at the user's part alone.
    #[test]
    fn a_project_may_set_no_key() {
        let manifest = Manifest::parse(include_str!("../backend.toml")).unwrap();
        let keys = manifest.config["properties"].as_object().unwrap();
        assert_eq!(keys.len(), 3);
        assert!(keys.values().all(|key| key["x-project"] == "no"), "{keys:?}");
    }

    #[test]
    fn the_examples_of_the_readme_are_understood() {
        fn is<T: DeserializeOwned>(value: &Value) {
            serde_json::from_value::<T>(value.clone()).map(drop).unwrap_or_else(|e| panic!("{value}: {e}"));
        }
        let (mut question, mut answers) = (Value::Null, 0);
        for text in include_str!("../README.md").lines() {
            if let Some(text) = text.strip_prefix("→ ") {
                question = serde_json::from_str(text).unwrap();
                let request = &question["request"];
                match question["verb"].as_str().unwrap() {
                    "describe" => is::<Map<String, Value>>(request),
                    "settings" => is::<SettingsRequest>(request),
                    "check" => is::<CheckRequest>(request),
                    "rpc_route" => is::<RouteRequest>(request),
                    "prepare" => is::<PrepareRequest>(request),
                    "exec" => is::<ExecRequest>(request),
                    "explain" => is::<ExplainRequest>(request),
                    "verify" => is::<VerifyRequest>(request),
                    "release" => is::<ReleaseRequest>(request),
                    other => panic!("{other}"),
                }
            }
            let Some(text) = text.strip_prefix("← ") else { continue };
            let said = line::read(text, question["id"].as_u64().unwrap());
            let ok = match said.answer.unwrap() {
                Some(line::Answer::Ok(ok)) => ok,
                Some(line::Answer::Error(_)) => continue,
                None => {
                    assert_eq!(said.notes.len(), 1);
                    continue;
                }
            };
            answers += 1;
            match question["verb"].as_str().unwrap() {
                "describe" => is::<Declaration>(&ok),
                "settings" => is::<Settings>(&ok),
                "check" => is::<Vec<Finding>>(&ok),
                "rpc_route" => is::<Route>(&ok),
                "prepare" => is::<Instance>(&ok),
                "exec" => is::<HowToRun>(&ok),
                "explain" => is::<Option<Error>>(&ok),
                _ => assert!(ok.is_null()),
            }
        }
        assert_eq!(answers, 12);
    }
}
