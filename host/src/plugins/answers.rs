//! A look at what a backend answered before anybody acts on it: bounds, shapes, and wishes that go too far.
//!
//! JSON of the right types comes in; what no backend may say is an error of that call. Paths, words and names stay as
//! they are: they are data, and whoever prints them cleans them.

use std::net::IpAddr;
use std::path::Path;

use workmux_plugin_api::{
    Ended, Error, ErrorKind, Features, Finding, Freshness, Image, Installed, Instance, InstanceInfo, LimitKind, Limits,
    Plan, Policy, Pulled, Recipe, Result, Route, Settings, Word,
};

use super::toolbox::valid_variable;

const MAX_NAME: usize = 255;
const MAX_STATE: usize = 256 * 1024;
const MAX_ITEMS: usize = 4096;
const MAX_NOTES: usize = 32;
const MAX_CAUSES: usize = 8;

/// An error as it may be printed.
pub(super) fn error(error: Error) -> Error {
    Error {
        kind: error.kind,
        message: crate::text::line(&error.message),
        causes: error.causes.iter().take(MAX_CAUSES).map(|cause| crate::text::line(cause)).collect(),
        hint: error.hint.as_deref().map(crate::text::line),
        remedy: error.remedy,
    }
}

pub(super) fn settings(mut answer: Settings) -> Result<Settings> {
    bounded("settings", answer.value.to_string().len(), MAX_STATE)?;
    bounded("refusals", answer.refusals.len(), MAX_ITEMS)?;
    bounded("masks", answer.demands.masks.len() + answer.demands.guest_masks.len(), MAX_ITEMS)?;
    for refusal in &mut answer.refusals {
        refusal.key = crate::text::line(&refusal.key);
        refusal.reason = crate::text::line(&refusal.reason);
    }
    for mask in &answer.demands.masks {
        let parts = Path::new(mask).components();
        if mask.is_empty() || mask.contains(['\0', '\n']) || !parts.clone().all(is_normal) {
            return Err(wrong(format!("demands a mask for '{}'", crate::text::line(mask))));
        }
    }
    for mask in &answer.demands.guest_masks {
        absolute("a mask", &mask.target)?;
    }
    Ok(answer)
}

pub(super) fn findings(mut answer: Vec<Finding>) -> Result<Vec<Finding>> {
    bounded("findings", answer.len(), MAX_ITEMS)?;
    for finding in &mut answer {
        finding.subject = crate::text::line(&finding.subject);
        finding.state = match std::mem::replace(&mut finding.state, Ok(String::new())) {
            Ok(text) => Ok(crate::text::line(&text)),
            Err(e) => Err(error(e)),
        };
    }
    Ok(answer)
}

/// A route is a wish. `wide` = the user's own configuration allows to listen on all interfaces.
pub(super) fn route(answer: Route, wide: bool) -> Result<Route> {
    let Route::Tcp { bind, guest_host } = &answer else { return Ok(answer) };
    let unspecified = match bind {
        IpAddr::V4(ip) => ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_unspecified()),
    };
    if (bind.is_multicast() || (unspecified && !wide)) && !crate::mutant::off("p80_wishes") {
        return Err(Error::refused(format!("wants this host to listen on '{bind}', which anybody can reach"))
            .hint("tell the backend the address that its guests reach, or allow all interfaces in your own file"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || ".:-_%".contains(c);
    if guest_host.is_empty()
        || guest_host.len() > MAX_NAME
        || guest_host.starts_with('-')
        || !guest_host.chars().all(plain)
    {
        return Err(wrong(format!("names its guests' host '{}'", crate::text::line(guest_host))));
    }
    Ok(answer)
}

pub(super) fn instance(mut answer: Instance) -> Result<Instance> {
    let Instance { name, state, home, env, notes, inherit_env: _, image } = &mut answer;
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) || name.starts_with('-') {
        return Err(wrong(format!("names its instance '{}'", crate::text::line(name))));
    }
    bounded("state", state.to_string().len(), MAX_STATE)?;
    absolute("the guest's home", home)?;
    variables(env)?;
    image.iter().try_for_each(|image| image_name(&image.name))?;
    notes.truncate(MAX_NOTES);
    notes.iter_mut().for_each(|note| *note = crate::text::line(note));
    Ok(answer)
}

pub(super) fn image(answer: Image) -> Result<Image> {
    image_name(&answer.name)?;
    Ok(answer)
}

/// A name that becomes part of a file's name, and of messages.
fn image_name(name: &str) -> Result<()> {
    let odd = |c: char| c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with(['-', '.']) || name.contains(odd) {
        return Err(wrong(format!("names its image '{}'", crate::text::line(name))));
    }
    Ok(())
}

pub(super) fn pulled(answer: Pulled) -> Result<Pulled> {
    Ok(Pulled { id: answer.id.as_deref().map(crate::text::line), ..answer })
}

pub(super) fn freshness(answer: Freshness) -> Result<Freshness> {
    Ok(Freshness { id: answer.id.as_deref().map(crate::text::line), ..answer })
}

/// The text is written to a file as it is; the rest is shown.
pub(super) fn recipe(answer: Recipe) -> Result<Recipe> {
    let name = Path::new(&answer.file);
    let mut parts = name.components();
    let plain = parts.next().is_some_and(is_normal) && parts.next().is_none();
    if !plain || answer.file.contains(char::is_control) || answer.file.len() > MAX_NAME {
        return Err(wrong(format!("names its file '{}'", crate::text::line(&answer.file))));
    }
    bounded("bytes of a recipe", answer.text.len(), MAX_STATE)?;
    image_name(&answer.image)?;
    Ok(Recipe { build: crate::text::line(&answer.build), ..answer })
}

pub(super) fn installed(mut answer: Vec<Installed>) -> Result<Vec<Installed>> {
    bounded("places", answer.len(), MAX_ITEMS)?;
    for one in &mut answer {
        one.place = crate::text::line(&one.place);
        one.outcome = std::mem::replace(&mut one.outcome, Ok(())).map_err(error);
    }
    Ok(answer)
}

/// Names are data that goes back to the backend; what cannot be a name is no instance.
pub(super) fn instances(mut answer: Vec<InstanceInfo>) -> Result<Vec<InstanceInfo>> {
    bounded("instances", answer.len(), MAX_ITEMS)?;
    answer.retain(|one| {
        let name = &one.name;
        !name.is_empty() && name.len() <= MAX_NAME && !name.starts_with('-') && !name.chars().any(char::is_control)
    });
    answer.iter_mut().for_each(|one| one.status = crate::text::line(&one.status));
    Ok(answer)
}

pub(super) fn plan(mut plan: Plan) -> Result<Plan> {
    absolute("the program", &plan.program)?;
    if plan.cwd.as_os_str().is_empty() {
        plan.cwd = "/".into();
    }
    absolute("the directory", &plan.cwd)?;
    variables(&plan.env)?;
    bounded("arguments", plan.args.len(), MAX_ITEMS)?;
    bounded("companions", plan.companions.len(), 16)?;
    bounded("clean-up calls", plan.cleanup.len(), 64)?;
    for companion in &mut plan.companions {
        absolute("a companion", &companion.program)?;
        if companion.args.iter().any(|arg| arg.contains('\0')) {
            return Err(wrong("plans a companion with NUL in an argument"));
        }
        companion.purpose = crate::text::line(&companion.purpose);
    }
    for call in &plan.cleanup {
        let program = call.program.as_os_str().as_encoded_bytes();
        if program.is_empty() || program.contains(&0) || (program.contains(&b'/') && !call.program.is_absolute()) {
            return Err(wrong(format!(
                "plans to clean up with '{}'",
                crate::text::line(&call.program.to_string_lossy())
            )));
        }
    }
    Ok(plan)
}

pub(super) fn ended(answer: Ended) -> Result<Ended> {
    match (answer.code, answer.signal) {
        (Some(_), None) => Ok(answer),
        (None, Some(1..=64)) => Ok(answer),
        _ if crate::mutant::off("p78_answers") => Ok(answer),
        (code, signal) => Err(wrong(format!("reports an impossible end (code {code:?}, signal {signal:?})"))),
    }
}

/// The parts of a policy that a backend with these features cannot meet, in words.
pub(super) fn unmet(features: &Features, policy: &Policy) -> Vec<String> {
    let mut unmet = Vec::new();
    if crate::mutant::off("p79_claims") {
        return unmet;
    }
    if !features.networks.contains(&policy.network) {
        unmet.push(match policy.network {
            workmux_plugin_api::Network::None => "a sandbox without network".to_owned(),
            _ => "a sandbox with network".to_owned(),
        });
    }
    if !policy.masks.is_empty() && !features.masks {
        unmet.push("hidden files".into());
    }
    let Limits { memory, millicpus, processes } = policy.limits;
    for (limit, kind, words) in [
        (memory, LimitKind::Memory, "a memory limit"),
        (millicpus, LimitKind::Cpus, "a processor limit"),
        (processes, LimitKind::Processes, "a process limit"),
    ] {
        if limit.is_some_and(|limit| limit.required) && !features.limits.contains(&kind) {
            unmet.push(words.into());
        }
    }
    unmet
}

fn variables(env: &[(String, Word)]) -> Result<()> {
    bounded("variables", env.len(), MAX_ITEMS)?;
    match env.iter().find(|(name, _)| !valid_variable(name)) {
        Some((name, _)) => Err(wrong(format!("sets the variable '{}'", crate::text::line(name)))),
        None => Ok(()),
    }
}

fn absolute(what: &str, path: &Path) -> Result<()> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let steps_up = path.components().any(|part| matches!(part, std::path::Component::ParentDir));
    let plain = path.is_absolute() && !steps_up && !bytes.contains(&0) && !bytes.contains(&b'\n');
    if plain || crate::mutant::off("p78_answers") {
        return Ok(());
    }
    Err(wrong(format!(
        "says {what} is '{}', which is not an absolute path",
        crate::text::line(&path.to_string_lossy())
    )))
}

fn is_normal(part: std::path::Component<'_>) -> bool {
    matches!(part, std::path::Component::Normal(_))
}

fn bounded(what: &str, count: usize, most: usize) -> Result<()> {
    if count <= most {
        return Ok(());
    }
    Err(Error::new(ErrorKind::LimitHit, format!("answered with too many {what} ({count}, at most {most})")))
}

fn wrong(what: impl Into<String>) -> Error {
    Error::internal(what).hint("this is a fault of the backend: tell its author")
}

#[cfg(test)]
mod tests {
    use workmux_plugin_api::{Limit, Mask, MaskKind, Network};

    use super::*;

    #[test]
    fn p79_a_policy_that_the_features_do_not_cover_is_named() {
        let all = Features {
            mounts: true,
            masks: true,
            networks: vec![Network::Allow, Network::None],
            limits: vec![LimitKind::Memory, LimitKind::Cpus, LimitKind::Processes],
        };
        let limit = |required| Some(Limit { value: 1, required });
        let policy = |required| Policy {
            network: Network::None,
            masks: vec![Mask { target: "/w/.env".into(), kind: MaskKind::File }],
            limits: Limits { memory: limit(required), millicpus: limit(required), processes: limit(required) },
        };
        assert_eq!(unmet(&all, &policy(true)), [""; 0]);
        let words = ["a sandbox without network", "hidden files"];
        assert_eq!(unmet(&Features::default(), &policy(false)), words, "defaults are not demanded");
        let limits = ["a memory limit", "a processor limit", "a process limit"];
        assert_eq!(unmet(&Features::default(), &policy(true)), [&words[..], &limits].concat());
    }

    #[test]
    fn p80_listening_everywhere_needs_the_users_word() {
        let route_to = |bind: &str| Route::Tcp { bind: bind.parse().unwrap(), guest_host: "host.internal".into() };
        for bind in ["127.0.0.1", "172.17.0.1", "::1"] {
            assert_eq!(route(route_to(bind), false).unwrap(), route_to(bind));
        }
        for bind in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
            assert_eq!(route(route_to(bind), false).unwrap_err().kind, ErrorKind::Refused);
            route(route_to(bind), true).unwrap();
        }
        assert_eq!(route(Route::Sockets, false).unwrap(), Route::Sockets);
    }
}
