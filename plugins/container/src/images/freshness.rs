//! Whether an image is the newest of its name: its identities, compared with those in what the registry answers.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use workmux_plugin_api::{Context, Error, Freshness, Result, Tool};

use super::build::BUILT;
use super::install::DEV;
use super::{Wanted, tool};
use crate::engine::Engine;

/// A registry that takes longer is asked another day.
const DEADLINE_MS: u64 = 20_000;

/// A local image; the two engines agree on these names.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Local {
    pub(super) id: String,
    digest: String,
    repo_digests: Option<Vec<String>>,
    repo_tags: Option<Vec<String>>,
    config: Config,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    labels: Option<BTreeMap<String, String>>,
}

impl Local {
    /// The image, if it is there.
    pub(super) async fn find(cx: &Context, engine: Engine, image: &str) -> Result<Option<Self>> {
        let output = cx.run(tool(engine, &["image", "inspect", image])).await?;
        if output.code != Some(0) {
            let missing = ["No such image", "image not known", "failed to find image"];
            if missing.iter().any(|part| output.stderr.contains(part)) {
                return Ok(None);
            }
            return Err(super::failures::question(&super::failures::About { engine, image }, &output.stderr));
        }
        let all: Vec<Self> = serde_json::from_str(&output.stdout).map_err(|e| {
            Error::internal(format!("'{}' answered something unreadable", engine.name())).cause(e.to_string())
        })?;
        Ok(all.into_iter().next())
    }

    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.config.labels.as_ref()?.get(name).map(String::as_str)
    }

    /// Nothing is called by it: only its identity leads here.
    pub(super) fn is_nameless(&self) -> bool {
        self.repo_tags.as_ref().is_none_or(Vec::is_empty)
    }

    /// Everything by which a registry may call it.
    fn names(&self) -> BTreeSet<&str> {
        let digests = self.repo_digests.iter().flatten().filter_map(|name| name.rsplit('@').next());
        let all = digests.chain([self.id.as_str(), self.digest.as_str()]);
        all.map(|name| name.strip_prefix("sha256:").unwrap_or(name)).filter(|name| name.len() == 64).collect()
    }
}

pub(super) async fn of(cx: &Context, wanted: &Wanted, ask_registry: bool) -> Result<Freshness> {
    let image = wanted.image.name.as_str();
    let Some(found) = Local::find(cx, wanted.engine, image).await? else { return Ok(Freshness::default()) };
    let local = found.label(BUILT).is_some() || found.label(DEV).is_some();
    let newest = match (ask_registry && !local, image.contains('@')) {
        (false, _) => None,
        // A name with a digest cannot stand for anything else.
        (true, true) => Some(true),
        (true, false) => remote(cx, wanted.engine, image)
            .await
            .map(|digests| digests.iter().any(|d| found.names().contains(d.as_str()))),
    };
    Ok(Freshness { id: Some(found.id), local, newest })
}

/// Every digest in what the registry says of the image; nothing where it could not be asked.
async fn remote(cx: &Context, engine: Engine, image: &str) -> Option<BTreeSet<String>> {
    // What such a name leads to is this machine, where docker itself does not insist on encryption.
    let loopback = ["127.", "localhost:", "[::1]"].iter().any(|start| image.starts_with(start));
    let mut asks = Vec::new();
    if engine == Engine::Docker {
        let mut words = vec!["manifest", "inspect", "--verbose"];
        words.extend(loopback.then_some("--insecure"));
        words.push(image);
        let env = vec![("DOCKER_CLI_EXPERIMENTAL".to_owned(), "enabled".into())];
        asks.push(Tool { env, ..tool(engine, &words) });
    } else {
        asks.push(tool(engine, &["manifest", "inspect", image]));
    }
    // Older versions of podman answer for some kinds of images only.
    if cx.tool("skopeo").is_some() {
        let place = format!("docker://{image}");
        let mut words = vec!["inspect", "--format", "{{.Digest}}"];
        words.extend(loopback.then_some("--tls-verify=false"));
        words.push(&place);
        asks.push(Tool { program: "skopeo".into(), ..tool(engine, &words) });
    }
    for ask in asks {
        let answer = cx.run(Tool { deadline_ms: DEADLINE_MS, ..ask }).await.ok().filter(|o| o.code == Some(0));
        if let Some(digests) = answer.map(|answer| digests(&answer.stdout)).filter(|digests| !digests.is_empty()) {
            return Some(digests);
        }
    }
    None
}

/// All SHA-256 digests in a text, without their prefix.
fn digests(text: &str) -> BTreeSet<String> {
    let is_digest = |digits: &&str| digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    text.split("sha256:").skip(1).filter_map(|rest| rest.get(..64)).filter(is_digest).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_by_each_of_its_digests() {
        let [id, list, other] = ["a", "b", "c"].map(|digit| digit.repeat(64));
        let text = format!(
            r#"[{{"Id": "sha256:{id}", "RepoDigests": ["h:1/x@sha256:{list}"], "Config": {{"Labels": {{"workmux.dev": "1"}}}}}}]"#
        );
        let found: Vec<Local> = serde_json::from_str(&text).unwrap();
        assert_eq!(found[0].names(), BTreeSet::from([id.as_str(), list.as_str()]));
        assert_eq!((found[0].label(DEV), found[0].label(BUILT)), (Some("1"), None));
        let answer = format!(
            r#"{{"Descriptor": {{"digest": "sha256:{list}"}}, "config": {{"digest": "sha256:{other}"}}, "x": "sha256:12"}}"#
        );
        assert_eq!(digests(&answer), BTreeSet::from([list, other]));
        assert!(digests("sha256:").is_empty() && digests(&format!("sha256:{}", "ä".repeat(64))).is_empty());
    }

    #[test]
    fn p78_a_senseless_answer_is_no_panic() {
        for text in ["[{}]", r#"[{"RepoDigests": null, "Config": {"Labels": null}}]"#] {
            let found: Vec<Local> = serde_json::from_str(text).unwrap();
            assert!(found[0].names().is_empty() && found[0].label(BUILT).is_none());
        }
    }
}
