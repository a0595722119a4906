//! `--dry-run`: what would run, exactly quoted, secrets masked; nothing is started, nothing of the user's is changed.
//!
//! The git boundary and the run's directory are made in a temporary directory and thrown away; the text names the
//! places they would have.

use std::fmt::Write as _;
use std::path::Path;

use color_eyre::eyre::{Report, Result, WrapErr as _};
use workmux_guest::CONTROL_SOCKET;
use workmux_plugin_api::{
    Access, ExecRequest, Isolation, Plan, PrepareRequest, Purpose, Route, RouteRequest, SandboxSpec,
};

use super::guest_paths::GuestPaths;
use super::session::enter;
use super::wanted::{build_spec, extra_mounts, variables};
use super::{Place, Wish, agent, guest_program, reach, settings};
use crate::error::from_backend;
use crate::plugins::Exec;
use crate::routing::Chosen;
use crate::spec::{self, GitPart, Parts, Rpc, Variable};
use crate::supervisor::{Status, is_interactive};
use crate::surroundings::Surroundings;
use crate::text::quote;

/// Prints what would run.
pub(super) async fn show(wish: Wish, place: Place, chosen: Chosen<'_>, surroundings: &Surroundings) -> Result<u8> {
    let backend = chosen.load()?;
    let mounted = chosen.manifest().isolation != Isolation::None;
    let config = place.config()?.clone();
    let table = settings::table(chosen.manifest(), &place.loaded, surroundings, &place.repository, false)?;
    let answer = backend.settings(settings::request(&table)).await.map_err(|e| from_backend(&e))?;
    let settings = settings::accepted(chosen.name(), &table, answer)?;
    let request = RouteRequest { settings: settings.value.clone() };
    let route = backend.rpc_route(request, false).await.map_err(|e| from_backend(&e))?;
    let route = reach::route(route, &config);
    let command = agent::command(&wish, &config, surroundings);

    let temporary = tempfile::tempdir().wrap_err("cannot make a temporary directory")?;
    let state = temporary.path();
    let run_id = "0".repeat(32);
    let directory = state.join("runs").join(&run_id);
    let (sockets, scratch, stand_ins) = (directory.join("sock"), directory.join("scratch"), state.join("missing"));
    for part in [&sockets, &scratch] {
        crate::runs::private_directory(part)?;
    }
    let boundary =
        if mounted { Some(enter(&place.repository, state, &run_id).await?.map_err(Report::new)?) } else { None };
    // A run's own directories have names that nobody can guess; what is shown is the same each time.
    let by_chance: Vec<String> = boundary.iter().flat_map(|(b, _)| b.mounts()).filter_map(by_chance).collect();
    let shown = async {
        let git = boundary.as_ref().map(|(b, _)| b.mounts()).unwrap_or_default();
        let program = guest_program::find(surroundings)?;
        let paths = GuestPaths::new(mounted, &sockets, &program, &directory)?;
        let parts = Parts {
            git: git
                .into_iter()
                .map(|m| GitPart { source: m.source, target: m.target, writable: m.writable, shares: m.shares })
                .collect(),
            extra: extra_mounts(&config, surroundings),
            agent: if mounted {
                agent::files(command.row, &config, surroundings, &place.repository, Some(&stand_ins))?
            } else {
                Vec::new()
            },
            own: paths.mounts(&sockets, &program),
        };
        let spec =
            build_spec(&run_id, wish.purpose, &place, &config, &command, surroundings, parts, &settings, scratch)?;
        spec::enforceable(chosen.name(), &spec.policy, backend.features(), mounted)?;
        let request =
            PrepareRequest { spec: spec.clone(), settings: settings.value.clone(), dry_run: true, consented: false };
        let instance = backend.prepare(request).await.map_err(|e| from_backend(&e))?;
        let exec = ExecRequest {
            command: paths.first_process(&spec, reach::place(&route, paths.sockets(), CONTROL_SOCKET, 0)),
            settings: settings.value.clone(),
            instance: instance.clone(),
            terminal: is_interactive(),
            spec: spec.clone(),
        };
        let exec = backend.exec(exec).await.map_err(|e| from_backend(&e))?;
        let identity = boundary.as_ref().map(|(_, identity)| identity.clone()).unwrap_or_default();
        let address = match &route {
            Route::Tcp { guest_host, .. } => Some((guest_host.clone(), 0)),
            _ => None,
        };
        let rpc = (wish.purpose == Purpose::Agent).then_some(Rpc { token: "", address });
        let variables = variables(&place, &config, &command, &instance, &identity, rpc, paths.bin());
        let mut text = describe(chosen.name(), &instance.name, &command.argv, &variables, &spec, &exec);
        if let Route::Tcp { bind, .. } = &route {
            let _ok = writeln!(text, "\nguests reach workmux on '{bind}'; port 0 stands for free ones");
        }
        Ok::<_, Report>(text)
    }
    .await;
    if let Some((boundary, _)) = boundary {
        let _thrown_away = tokio::task::spawn_blocking(move || boundary.leave()).await;
    }
    let mut text = shown?;
    for name in by_chance {
        text = text.replace(&name, &"0".repeat(name.len()));
    }
    let text = text
        .replace(&*stand_ins.to_string_lossy(), "")
        .replace(&*state.to_string_lossy(), &surroundings.state.to_string_lossy());
    crate::ui::print(&text);
    Ok(0)
}

/// The part of a mount's source below what all runs of the repository share.
fn by_chance(mount: crate::git::GitMount) -> Option<String> {
    let below = mount.source.strip_prefix(mount.shares.first()?).ok()?;
    Some(below.components().next()?.as_os_str().to_str()?.to_owned())
}

/// Prints a joining command.
pub(super) fn attached(exec: &Exec) -> Result<Status> {
    let mut text = String::new();
    runs(&mut text, exec);
    crate::ui::print(&text);
    Ok(Status::Exited(0))
}

fn describe(
    backend: &str,
    instance: &str,
    argv: &[std::ffi::OsString],
    variables: &[Variable],
    spec: &SandboxSpec,
    exec: &Exec,
) -> String {
    let mut text = String::new();
    let words: Vec<String> = argv.iter().map(|w| quote(w)).collect();
    // Writing to a string cannot fail.
    let _ok = writeln!(text, "sandbox '{}' of backend '{backend}'", crate::text::line(instance));
    let _ok = writeln!(text, "\ncommand (in {}):\n  {}", quote(spec.cwd.as_os_str()), words.join(" "));
    text.push_str("\nvariables:\n");
    for variable in variables {
        let value = if variable.secret { "******".to_owned() } else { quote(variable.value.as_os_str()) };
        let _ok = writeln!(text, "  {}={value}", variable.name);
    }
    text.push_str("\nmounts:\n");
    for mount in &spec.mounts {
        let access = if mount.access == Access::ReadWrite { "read-write" } else { "read-only " };
        let (source, target) = (quote(mount.source.as_os_str()), quote(mount.target.as_os_str()));
        let _ok = if source == target {
            writeln!(text, "  {access} {target}")
        } else {
            writeln!(text, "  {access} {target} from {source}")
        };
    }
    for mask in &spec.policy.masks {
        let _ok = writeln!(text, "  hidden     {}", quote(mask.target.as_os_str()));
    }
    let _ok = writeln!(
        text,
        "\nnetwork: {}",
        if spec.policy.network == workmux_plugin_api::Network::None { "none" } else { "allowed" }
    );
    runs(&mut text, exec);
    text
}

fn runs(text: &mut String, exec: &Exec) {
    match exec {
        Exec::Plan(plan) => program(text, "runs", plan),
        Exec::Session(session) => match &session.info().by_hand {
            Some(plan) => program(text, "the backend runs it itself; by hand", plan),
            None => text.push_str("\nruns: by the backend itself, without a program\n"),
        },
    }
}

fn program(text: &mut String, title: &str, plan: &Plan) {
    let line = |program: &Path, args: &mut dyn Iterator<Item = String>| {
        std::iter::once(quote(program.as_os_str())).chain(args).collect::<Vec<_>>().join(" ")
    };
    let _ok =
        writeln!(text, "\n{title}:\n  {}", line(&plan.program, &mut plan.args.iter().map(|a| quote(a.as_os_str()))));
    for companion in &plan.companions {
        let args = &mut companion.args.iter().map(|a| quote(a.as_ref()));
        let _ok = writeln!(
            text,
            "beside it ({}):\n  {}",
            crate::text::line(&companion.purpose),
            line(&companion.program, args)
        );
    }
    for call in &plan.cleanup {
        let args = &mut call.args.iter().map(|a| quote(a.as_os_str()));
        let _ok = writeln!(text, "afterwards:\n  {}", line(&call.program, args));
    }
}
