//! What is said about the directory the user stands in: its checkout, and the configuration in force there.

use super::finding::{Finding, without_values};
use crate::config::backend_table::BackendTable;
use crate::config::later;
use crate::git::GitError;
use crate::launch::survey::Survey;
use crate::text::quote;

/// The checkout and the files. `installed` = the names of backends, which own tables.
pub(super) fn findings(survey: &Survey, installed: &[String]) -> Vec<Finding> {
    let mut all: Vec<Finding> = repository(survey).into_iter().collect();
    all.extend(configuration(survey, installed));
    all.extend(agent(survey));
    all
}

/// The agent that would be started. Where an image has one it need not be on this machine.
fn agent(survey: &Survey) -> Option<Finding> {
    const SUBJECT: &str = "agent";
    Some(match survey.agent()? {
        (_, Some(path)) => Finding::good(SUBJECT, quote(path.as_os_str())),
        (program, None) => Finding::remark(SUBJECT, format!("'{program}' is not on your PATH"))
            .hint("install it, unless the image of your sandboxes has it; another one: 'agent' in your configuration"),
    })
}

fn repository(survey: &Survey) -> Option<Finding> {
    const SUBJECT: &str = "repository";
    match &survey.repository {
        Ok(repository) => {
            let kind = if repository.is_linked() { "a linked worktree" } else { "a main checkout" };
            Some(Finding::good(SUBJECT, format!("{}, {kind}", quote(repository.worktree.as_os_str()))))
        }
        // Sandboxes are of worktrees, but nothing is wrong with being elsewhere.
        Err(GitError::NotAWorktree(_)) => Some(Finding::remark(SUBJECT, "this directory is in none")),
        // That is said of git itself.
        Err(GitError::Tool(_)) => None,
        Err(GitError::Refused { what, fix }) => Some(Finding::bad(SUBJECT, what, fix)),
        Err(e) => Some(Finding::bad(SUBJECT, e.to_string(), "look at it by hand: git status")),
    }
}

fn configuration(survey: &Survey, installed: &[String]) -> Vec<Finding> {
    const SUBJECT: &str = "configuration";
    let loaded = match survey.loaded() {
        Ok(loaded) => loaded,
        Err(report) => return vec![Finding::failure(SUBJECT, report)],
    };
    let own = quote(loaded.global_file().as_os_str());
    let project = loaded.project_file().map(|file| quote(file.as_os_str()));
    let files = match (loaded.global_file().exists(), project) {
        (true, Some(project)) => format!("{own}, {project}"),
        (false, Some(project)) => format!("{project}; none of your own in {own}"),
        (true, None) => own,
        (false, None) => format!("none, everything is as it comes; yours would be {own}"),
    };
    let (stopping, others) = survey.mistakes();
    let quiet = |mistakes: Vec<String>| mistakes.iter().map(|said| without_values(said)).collect::<Vec<_>>();
    let (stopping, others) = (quiet(stopping), quiet(others));
    let mut all = Vec::new();
    all.push(if stopping.is_empty() {
        Finding::good(SUBJECT, files)
    } else {
        let hint = "correct the lines that are named; README.md lists the keys";
        Finding::bad(SUBJECT, counted(stopping.len(), "mistake", "mistakes"), hint).because(stopping)
    });
    let names: Vec<&str> = installed.iter().map(String::as_str).collect();
    let unknown: Vec<String> =
        loaded.warnings().iter().chain(&loaded.foreign_tables(&names)).map(ToString::to_string).collect();
    let remarks = [
        (others, "mistake that stops no sandbox", "mistakes that stop no sandbox"),
        (unknown, "unknown key", "unknown keys"),
        (survey.refusals(), "key of the project is not used", "keys of the project are not used"),
    ];
    for (examples, one, many) in remarks {
        if !examples.is_empty() {
            all.push(Finding::remark(SUBJECT, counted(examples.len(), one, many)).because(examples));
        }
    }
    for unserved in survey.config().map(later::unserved).unwrap_or_default() {
        all.push(if unserved.restricting {
            let hint = format!("take '{}' out of your configuration, or wait for it", unserved.key);
            Finding::bad(SUBJECT, unserved.message, hint)
        } else {
            Finding::remark(SUBJECT, unserved.message)
        });
    }
    all
}

/// What a run would only warn of in a backend's table.
pub(super) fn table(table: &BackendTable) -> Option<Finding> {
    let said = table.warnings.iter().map(ToString::to_string).chain(table.refusals.iter().map(ToString::to_string));
    let said: Vec<String> = said.collect();
    (!said.is_empty()).then(|| Finding::remark("settings", "not all of them are used").because(said))
}

fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
