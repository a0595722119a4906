//! A backend's own table, `sandbox.<backend>`: judged here by the backend's schema, before its code sees anything.
//!
//! The host knows none of these keys. It knows the schema's rules about projects, checks types, and keeps the place of
//! every key, so that what the backend refuses later can still be said with file and line.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::approvals::{Approvals, Question};
use super::files::Layer;
use super::node::{Node, Tree, Wrong};
use super::report::{Place, Problem, Refusal, Warning, nearest};
use super::rules::{Rule, Verdict, apply};
use super::{Loaded, refusal_of, schema};
use crate::text;

/// A table, ready for its backend.
#[derive(Debug)]
pub struct BackendTable {
    /// The user's part.
    pub user: Value,
    /// What the project added or changed, as far as it may.
    pub project: Value,
    /// Both.
    pub merged: Value,
    /// What the project wanted and did not get.
    pub refusals: Vec<Refusal>,
    /// Keys the backend does not have, and rules of its schema that are none.
    pub warnings: Vec<Warning>,
    places: BTreeMap<String, Place>,
}

impl BackendTable {
    /// Where a key was set, the project's place first; its path is relative to the table.
    pub fn place(&self, key: &str) -> Option<&Place> {
        self.places.get(key)
    }
}

/// Judges the table of the backend `name` by `schema`. Values of the wrong type are the error: all of them, in one.
pub fn merge_backend_table(
    name: &str,
    schema: &Value,
    loaded: &Loaded,
    approvals: &mut dyn Approvals,
) -> Result<BackendTable, Vec<Problem>> {
    let mut judge = Judge {
        prefix: format!("sandbox.{name}"),
        global_path: loaded.global_file(),
        approvals,
        problems: Vec::new(),
        table: BackendTable {
            user: Map::new().into(),
            project: Map::new().into(),
            merged: Map::new().into(),
            refusals: Vec::new(),
            warnings: Vec::new(),
            places: BTreeMap::new(),
        },
    };
    let tables = loaded.merged.tables.get(name).cloned().unwrap_or_default();
    if let Some(Layer { file, root }) = &tables.user {
        judge.user(&[], root, schema, file);
    }
    judge.table.merged = judge.table.user.clone();
    if let Some(Layer { file, root }) = &tables.project {
        judge.project(&[], root, schema, file);
    }
    if judge.problems.is_empty() { Ok(judge.table) } else { Err(judge.problems) }
}

struct Judge<'a> {
    prefix: String,
    global_path: &'a Path,
    approvals: &'a mut dyn Approvals,
    problems: Vec<Problem>,
    table: BackendTable,
}

impl Judge<'_> {
    fn user(&mut self, path: &[&str], node: &Node, schema: &Value, file: &Arc<Path>) {
        self.each(path, node, schema, file, |judge, path, node, schema, place| {
            if is_branch(schema) {
                judge.user(path, node, schema, &place.file);
            } else if judge.checks(path, node, schema, &place.file) {
                put(&mut judge.table.user, path, node.value());
            }
        });
    }

    fn project(&mut self, path: &[&str], node: &Node, schema: &Value, file: &Arc<Path>) {
        self.each(path, node, schema, file, |judge, path, node, schema, place| {
            if is_branch(schema) {
                return judge.project(path, node, schema, &place.file);
            }
            let rule = schema::rule(schema).unwrap_or_else(|said| {
                let message = format!(
                    "the backend's schema has the unknown rule {} for '{}'; taken as 'no'",
                    text::line(&said),
                    judge.full(path)
                );
                judge.table.warnings.push(Warning { place: place.clone(), message });
                Rule::No
            });
            if rule != Rule::No && !judge.checks(path, node, schema, &place.file) {
                return;
            }
            judge.decide(path, node, rule, schema, place);
        });
    }

    fn decide(&mut self, path: &[&str], node: &Node, rule: Rule, schema: &Value, place: Place) {
        let wanted = node.value();
        let current = get(&self.table.merged, path).or_else(|| schema.get("default"));
        let reason = match apply(rule, &wanted, current, schema::unit(schema)) {
            Verdict::Use(value) => return self.accept(path, value),
            Verdict::Refuse(reason) => reason,
            Verdict::Ask => {
                let question = Question::new(&self.full(path), place.clone(), &wanted);
                match refusal_of(self.approvals.answer(&question)) {
                    None => return self.accept(path, wanted),
                    Some(reason) => reason.to_owned(),
                }
            }
        };
        let set_in = self.global_path.to_owned();
        self.table.refusals.push(Refusal { key: self.full(path), place, reason, set_in });
    }

    fn accept(&mut self, path: &[&str], value: Value) {
        put(&mut self.table.project, path, value.clone());
        put(&mut self.table.merged, path, value);
    }

    /// Calls `visit` for every key of a mapping that the schema has and that is set; warns about the others.
    fn each(
        &mut self,
        path: &[&str],
        node: &Node,
        schema: &Value,
        file: &Arc<Path>,
        mut visit: impl FnMut(&mut Self, &[&str], &Node, &Value, Place),
    ) {
        let map = match &node.tree {
            Tree::Map(map) => map,
            Tree::Null => return,
            _ => {
                return self.problem(
                    path,
                    file,
                    Wrong::new(node.line, format!("must be a mapping, and is {}", node.kind())),
                );
            }
        };
        for (name, inner) in map {
            let path = [path, &[name.as_str()]].concat();
            let place = Place { file: file.clone(), line: inner.line };
            match schema::property(schema, name) {
                None => self.unknown(&path, schema, place),
                Some(_) if inner.tree == Tree::Null => {}
                Some(schema) => {
                    self.table.places.insert(path.join("."), place.clone());
                    visit(self, &path, inner, schema, place);
                }
            }
        }
    }

    fn checks(&mut self, path: &[&str], node: &Node, schema: &Value, file: &Arc<Path>) -> bool {
        let wrong = schema::check(node, schema).err();
        let fine = wrong.is_none();
        wrong.into_iter().for_each(|wrong| self.problem(path, file, wrong));
        fine
    }

    fn problem(&mut self, path: &[&str], file: &Arc<Path>, wrong: Wrong) {
        let place = Place { file: file.clone(), line: wrong.line };
        self.problems.push(Problem { key: self.full(path), place, message: wrong.message });
    }

    fn unknown(&mut self, path: &[&str], schema: &Value, place: Place) {
        let mut message = format!("unknown key '{}'", text::line(&self.full(path)));
        let known = schema::properties(schema).into_iter().flat_map(|map| map.keys().map(String::as_str));
        if let Some((name, above)) = path.split_last()
            && let Some(meant) = nearest(name, known)
        {
            let meant = [above, &[meant]].concat();
            message += &format!("; did you mean '{}'?", text::line(&self.full(&meant)));
        }
        self.table.warnings.push(Warning { place, message });
    }

    fn full(&self, path: &[&str]) -> String {
        std::iter::once(self.prefix.as_str()).chain(path.iter().copied()).collect::<Vec<_>>().join(".")
    }
}

/// A mapping whose keys have rules of their own; with a rule itself it is judged whole.
fn is_branch(schema: &Value) -> bool {
    schema.get("x-project").is_none() && schema::properties(schema).is_some()
}

fn get<'a>(table: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(table, |value, name| value.get(name))
}

fn put(table: &mut Value, path: &[&str], value: Value) {
    let mut place = table;
    for name in path {
        if !place.is_object() {
            *place = Map::new().into();
        }
        place = &mut place[*name];
    }
    *place = value;
}
