//! What an honest backend is used like.

use workmux::plugins::{Exec, FindError, Registry, State, inspect};
use workmux_plugin_api::*;

use super::stage::{Stage, write};

#[tokio::test(flavor = "current_thread")]
async fn the_smallest_backend_is_found_loaded_and_called() {
    let stage = Stage::new();
    stage.install("minimal");
    let registry = Registry::new(stage.environment());
    let backend = registry.find("minimal").unwrap();
    let spec = SandboxSpec { slug: "x".into(), home: "/home/u".into(), ..SandboxSpec::default() };
    let settings = backend.settings(SettingsRequest::default()).await.unwrap().value;
    assert_eq!(backend.rpc_route(RouteRequest::default(), false).await.unwrap(), Route::Sockets);
    let request = PrepareRequest { spec: spec.clone(), settings: settings.clone(), dry_run: false, consented: false };
    let instance = backend.prepare(request).await.unwrap();
    assert_eq!(instance.name, "minimal-x");
    let command = GuestCommand { argv: vec!["/bin/true".into(), "a b".into()], ..GuestCommand::default() };
    let request = ExecRequest { spec, settings, instance, command, terminal: false };
    let Exec::Plan(plan) = backend.exec(request).await.unwrap() else { panic!("a plan") };
    assert_eq!((plan.program.to_str(), &plan.args[..]), (Some("/bin/true"), &["a b".into()][..]));
    assert_eq!(plan.cwd.to_str(), Some("/"), "an empty one means the root");
    backend.release(ReleaseRequest::default()).await.unwrap();
    assert!(backend.check(CheckRequest::default()).await.unwrap().is_empty());

    let error = backend.attach(AttachRequest::default()).await.err().unwrap();
    assert_eq!(error.error.kind, ErrorKind::Unsupported);
    assert!(error.to_string().starts_with("backend 'minimal': "), "{error}");
}

#[test]
fn p81_who_offers_a_capability_is_known_without_loading() {
    let stage = Stage::new();
    stage.install("minimal");
    stage.install("hostile");
    let registry = Registry::new(stage.environment());
    assert_eq!(registry.offering(Capability::Attach), ["hostile"]);
    assert_eq!(registry.offering(Capability::Images), ["hostile"]);
    assert_eq!(registry.offering(Capability::Instances), ["hostile"]);
    assert_eq!(registry.names(), ["hostile", "minimal"]);
}

#[test]
fn an_unknown_name_is_answered_with_the_installed_ones() {
    let stage = Stage::new();
    let registry = Registry::new(stage.environment());
    let hint = registry.find("acme").unwrap_err().hint().unwrap();
    assert!(hint.contains("no backend is installed"), "{hint}");
    assert!(inspect::list(&registry).contains(stage.at("data/workmux/plugins").to_str().unwrap()));

    stage.install("minimal");
    let registry = Registry::new(stage.environment());
    for name in ["acme", "../minimal", "/etc/passwd", "", "a\x1b[2J"] {
        let error = registry.find(name).unwrap_err();
        assert!(matches!(error, FindError::Unknown { .. }), "{error}");
        assert_eq!(error.hint().unwrap(), "installed: minimal");
        assert!(!error.to_string().contains('\x1b'));
    }
}

#[test]
fn the_default_is_the_first_whose_tool_is_there() {
    let stage = Stage::new();
    stage.install("minimal");
    stage.install("hostile");
    let beside = |tools: &str| {
        let text = include_str!("../../../tests/plugins/hostile/backend.toml");
        write(&stage.at("lib/workmux/plugins/hostile.toml"), format!("{text}\ntools = {tools}\n").as_bytes());
        Registry::new(stage.environment()).default_backend(&["acme", "hostile", "minimal"])
    };
    assert_eq!(beside("['no-such-tool']").as_deref(), Some("minimal"));
    assert_eq!(beside("['sh']").as_deref(), Some("hostile"));
    assert_eq!(beside("[]").as_deref(), Some("hostile"));
    assert_eq!(Registry::new(stage.environment()).default_backend(&["acme"]), None);
}

#[test]
fn a_library_is_tried_once_for_each_content() {
    let stage = Stage::new();
    let path = stage.install("minimal");
    let mut environment = stage.environment();
    let script = format!("echo x >> '{}'; echo 'workmux-trial: good'", stage.at("tries").display());
    environment.trial = ["/bin/sh", "-c", &script].map(Into::into).to_vec();
    let tries = || {
        Registry::new(environment.clone()).find("minimal").unwrap();
        std::fs::read_to_string(stage.at("tries")).unwrap().lines().count()
    };
    assert_eq!((tries(), tries()), (1, 1));
    let content = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    write(&path, &content);
    assert_eq!((tries(), tries()), (2, 2), "another file");
}

#[test]
fn listing_says_what_is_used_and_what_is_hidden() {
    let stage = Stage::new();
    let (used, hidden) = (stage.install("minimal"), stage.at("lib/system"));
    super::stage::make_dir(&hidden);
    let hidden = stage.install_as("minimal", "lib/system", "minimal");
    let mut environment = stage.environment();
    environment.system_dirs = vec![stage.at("lib/system")];
    let registry = Registry::new(environment);
    let all: Vec<_> = registry.all().into_iter().map(|l| (l.path, l.state)).collect();
    assert_eq!(all, [(used.clone(), State::Winner), (hidden, State::Shadowed { by: used.clone() })]);
    let json = serde_json::to_value(inspect::list_json(&registry)).unwrap();
    assert_eq!((&json[0]["state"], &json[1]["state"]), (&"winner".into(), &"shadowed".into()));
    assert_eq!(json[1]["shadowed-by"], used.to_str().unwrap());
    assert_eq!(json[0]["manifest"]["name"], "minimal");
    let text = inspect::list(&registry);
    assert!(text.lines().count() == 3 && text.contains("shadowed"), "{text}");
    let info = inspect::info(&registry, "minimal").unwrap();
    assert!(info.contains("isolation     none"), "{info}");
}
