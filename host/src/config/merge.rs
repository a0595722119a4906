//! From files to one value per key: command line over project (as far as it may) over the user's file over defaults.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::approvals::Question;
use super::files::Layer;
use super::keys::{self, Case, KEYS, Key, Project};
use super::node::{Node, Tree, Wrong};
use super::report::{Place, Problem, Refusal, Warning, nearest};
use super::rules::{Rule, Unit, Verdict, apply};
use super::types::Config;
use crate::text;

/// Stands for the user's own list in a list of the project.
const GLOBAL: &str = "<global>";

/// What merging found out.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// Keys somebody set, decided.
    pub(super) values: BTreeMap<&'static str, Value>,
    /// Keys that wait for the user.
    pub(super) pending: Vec<Pending>,
    pub(super) problems: Vec<Problem>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) warnings: Vec<Warning>,
    /// The backends' tables by name, untouched.
    pub(super) tables: BTreeMap<String, Tables>,
}

/// One backend's table, from both sides.
#[derive(Debug, Default, Clone)]
pub(super) struct Tables {
    pub(super) user: Option<Layer>,
    pub(super) project: Option<Layer>,
}

type Side = fn(&mut Tables) -> &mut Option<Layer>;

/// A value of the project that counts once the user confirmed it.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) key: &'static str,
    pub(super) question: Question,
    pub(super) value: Value,
}

/// Merges what was read.
pub(super) fn merge(
    user: Option<&Layer>,
    project: Option<&Layer>,
    command_line: &BTreeMap<String, Value>,
    global_path: &Path,
    main_root: Option<&Path>,
) -> Merged {
    let mut merged = Merged::default();
    let mut user_keys = merged.sort(user, |tables| &mut tables.user);
    let project_keys = merged.sort(project, |tables| &mut tables.project);
    merged.check_user(user, &mut user_keys);

    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let default = |path: &str| defaults.pointer(&format!("/{}", path.replace('.', "/"))).cloned().unwrap_or_default();
    let value = |keys: &BTreeMap<&'static str, Node>, path: &str| keys.get(path).map(Node::value);
    for key in KEYS {
        let said = command_line.get(key.path).cloned();
        merged.values.extend(said.or_else(|| value(&user_keys, key.path)).map(|value| (key.path, value)));
    }
    for key in KEYS.iter().filter(|key| !command_line.contains_key(key.path)) {
        let own = user_keys.get(key.path);
        let (Some(layer), Some(raw)) = (project, project_keys.get(key.path)) else { continue };
        let place = Place { file: layer.file.clone(), line: raw.line };
        let node = with_global(raw, own);
        let wanted = node.value();
        let values = &merged.values;
        let now = |path: &str| values.get(path).cloned().unwrap_or_else(|| default(path));
        let case = Case {
            wanted: &wanted,
            now: &now,
            user: &|path| value(&user_keys, path),
            project: &|path| value(&project_keys, path),
            main_root,
        };
        let rule = match rule_of(key, &node, &case) {
            Ok(rule) => rule,
            Err(Wrong { line, message }) => {
                let place = Place { file: layer.file.clone(), line };
                merged.problems.push(Problem { key: key.path.to_owned(), place, message });
                continue;
            }
        };
        let current = now(key.path);
        match apply(rule, &wanted, Some(&current), Unit::Number) {
            Verdict::Use(value) => merged.accept(key.path, value),
            Verdict::Ask => {
                // The user confirms what the project says, not what a list of their own adds to it.
                let question = Question::new(key.path, place, &raw.value());
                merged.pending.push(Pending { key: key.path, question, value: wanted });
            }
            Verdict::Refuse(reason) => {
                let set_in = global_path.to_owned();
                merged.refusals.push(Refusal { key: key.path.to_owned(), place, reason, set_in });
            }
        }
    }
    merged
}

/// Which rule holds for this value; a value that nothing could make acceptable is judged before it is checked.
fn rule_of(key: &Key, node: &Node, case: &Case) -> Result<Rule<'static>, Wrong> {
    match key.project {
        Project::May(Rule::No) => Ok(Rule::No),
        Project::May(rule) => (key.check)(node).map(|()| rule),
        Project::Depends(judge) => (key.check)(node).map(|()| judge(case)),
    }
}

/// The project's list with the user's in place of `<global>`.
fn with_global(node: &Node, own: Option<&Node>) -> Node {
    let Tree::List(list) = &node.tree else { return node.clone() };
    let own: &[Node] = match own.map(|own| &own.tree) {
        Some(Tree::List(own)) => own,
        _ => &[],
    };
    let is_global = |item: &Node| matches!(&item.tree, Tree::Text(text) if text == GLOBAL);
    let items = list.iter().flat_map(|item| if is_global(item) { own } else { std::slice::from_ref(item) });
    Node { line: node.line, tree: Tree::List(items.cloned().collect()) }
}

impl Merged {
    /// Takes a value of the project.
    pub(super) fn accept(&mut self, key: &'static str, value: Value) {
        let value = match (key, value, self.values.get(key)) {
            ("layouts", Value::Object(new), Some(Value::Object(old))) => {
                old.clone().into_iter().chain(new).collect::<Map<_, _>>().into()
            }
            (_, value, _) => value,
        };
        self.values.insert(key, value);
        // A project that says panes means panes, whatever windows the user has elsewhere, and the other way round.
        match key {
            "panes" => drop(self.values.remove("windows")),
            "windows" => drop(self.values.remove("panes")),
            _ => {}
        }
    }

    /// The keys of a file that the host knows; the rest is said or set aside.
    fn sort(&mut self, layer: Option<&Layer>, side: Side) -> BTreeMap<&'static str, Node> {
        let mut known = BTreeMap::new();
        if let Some(layer) = layer {
            self.sort_below("", &layer.root, layer, side, &mut known);
        }
        known
    }

    fn sort_below(
        &mut self,
        prefix: &str,
        node: &Node,
        layer: &Layer,
        side: Side,
        known: &mut BTreeMap<&'static str, Node>,
    ) {
        let Tree::Map(map) = &node.tree else {
            if node.tree != Tree::Null {
                let place = Place { file: layer.file.clone(), line: node.line };
                let message = format!("must be a mapping, and is {}", node.kind());
                self.problems.push(Problem { key: prefix.to_owned(), place, message });
            }
            return;
        };
        for (name, node) in map {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            if let Some(key) = keys::find(&path) {
                // Nothing after the colon means not set.
                if node.tree != Tree::Null {
                    known.insert(key.path, node.clone());
                }
            } else if keys::below(&path).next().is_some() {
                self.sort_below(&path, node, layer, side, known);
            } else if prefix == "sandbox" && matches!(node.tree, Tree::Map(_) | Tree::Null) {
                *side(self.tables.entry(name.clone()).or_default()) =
                    Some(Layer { file: layer.file.clone(), root: node.clone() });
            } else {
                self.unknown(prefix, name, Place { file: layer.file.clone(), line: node.line });
            }
        }
    }

    fn unknown(&mut self, prefix: &str, name: &str, place: Place) {
        let full =
            |name: &str| if prefix.is_empty() { text::line(name) } else { format!("{prefix}.{}", text::line(name)) };
        let mut message = format!("unknown key '{}'", full(name));
        if let Some(meant) = nearest(name, keys::below(prefix)) {
            message += &format!("; did you mean '{}'?", full(meant));
        } else if prefix.is_empty() && keys::below("sandbox").any(|known| known == name) {
            message += &format!("; did you mean 'sandbox.{name}'?");
        }
        self.warnings.push(Warning { place, message });
    }

    /// Drops what the user wrote wrongly, each with its problem.
    fn check_user(&mut self, layer: Option<&Layer>, known: &mut BTreeMap<&'static str, Node>) {
        let Some(layer) = layer else { return };
        for key in KEYS {
            let Some(node) = known.remove(key.path) else { continue };
            let node = with_global(&node, None);
            match (key.check)(&node) {
                Ok(()) => drop(known.insert(key.path, node)),
                Err(Wrong { line, message }) => {
                    let place = Place { file: layer.file.clone(), line };
                    self.problems.push(Problem { key: key.path.to_owned(), place, message });
                }
            }
        }
    }
}

/// The configuration these values make.
pub(super) fn assemble(
    values: &BTreeMap<&'static str, Value>,
    tables: &BTreeMap<String, Tables>,
) -> Result<Config, serde_json::Error> {
    let mut root = serde_json::to_value(Config::default())?;
    for (path, value) in values {
        let mut place = &mut root;
        for part in path.split('.') {
            place = &mut place[part];
        }
        *place = value.clone();
    }
    let mut config: Config = serde_json::from_value(root)?;
    for (name, sides) in tables {
        let user = sides.user.as_ref().map(|layer| layer.root.value()).filter(|value| !value.is_null());
        config.sandbox.tables.insert(name.clone(), user.unwrap_or_else(|| Map::new().into()));
    }
    Ok(config)
}
