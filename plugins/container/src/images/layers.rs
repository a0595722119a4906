//! How far a pull is, read from what the engine shows on a terminal.
//!
//! docker: `0b5f3e1d5d2c: Downloading [==>  ]  1.2MB/30MB`, `…: Pull complete`. podman:
//! `Copying blob 0b5f3e1d5d2c [==>---] 1.2MiB / 30MiB`, `Copying blob 0b5f3e1d5d2c done`. Lines of any other form say
//! nothing here.

use std::collections::BTreeMap;

/// All layers that were seen.
#[derive(Debug, Default)]
pub(super) struct Layers(BTreeMap<String, Layer>);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Layer {
    /// Bytes.
    done: u64,
    /// Bytes; 0 = not known yet.
    total: u64,
    fetched: bool,
    ready: bool,
    /// Bytes that were unpacked: a sign of life only.
    unpacked: u64,
}

impl Layers {
    /// Takes a line; whether it says that something moved.
    pub(super) fn take(&mut self, line: &str) -> bool {
        let Some((id, state)) = layer(line) else { return false };
        let layer = self.0.entry(id.to_owned()).or_default();
        let before = *layer;
        let known = !before.eq(&Layer::default());
        layer.read(state);
        !known || *layer != before
    }

    /// Whether everything that was spoken of is on this machine: what is left is unpacking.
    pub(super) fn all_fetched(&self) -> bool {
        !self.0.is_empty() && self.0.values().all(|layer| layer.fetched)
    }

    /// Whether something has to come that was not here before.
    pub(super) fn any_missing(&self) -> bool {
        self.0.values().any(|layer| !layer.ready)
    }

    /// In words.
    pub(super) fn text(&self) -> String {
        let (all, ready) = (self.0.len(), self.0.values().filter(|layer| layer.ready).count());
        format!("{ready} of {all} layer{}", if all == 1 { "" } else { "s" })
    }

    /// Bytes: those here, and all that are known of.
    pub(super) fn bytes(&self) -> (u64, u64) {
        self.0.values().fold((0, 0), |(done, total), layer| {
            (done + if layer.fetched { layer.total } else { layer.done.min(layer.total) }, total + layer.total)
        })
    }
}

impl Layer {
    fn read(&mut self, state: &str) {
        let amounts = amounts(state);
        if state.starts_with("Extracting") {
            self.fetched = true;
            self.unpacked = amounts.map_or(self.unpacked + 1, |(done, _)| done);
        } else if ["Pull complete", "Already exists", "done", "skipped"].iter().any(|word| state.starts_with(word)) {
            (self.fetched, self.ready) = (true, true);
        } else if ["Download complete", "Verifying Checksum"].iter().any(|word| state.starts_with(word)) {
            self.fetched = true;
        } else if let Some((done, total)) = amounts {
            // Amounts are rounded: what is shown as all need not be all.
            (self.done, self.total) = (done, total.max(self.total));
        }
    }
}

/// The layer a line is about, and the rest of it.
fn layer(line: &str) -> Option<(&str, &str)> {
    let is_id = |word: &str| word.len() >= 12 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let (id, state) = match line.strip_prefix("Copying blob ") {
        Some(rest) => rest.split_once(' ').unwrap_or((rest, "")),
        None => line.split_once(": ")?,
    };
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    is_id(id).then(|| (id, state.trim()))
}

/// `1.2MB/30MB`, or with blanks, at the end of a line or before other columns.
fn amounts(text: &str) -> Option<(u64, u64)> {
    let (before, after) = text.rsplit_once('/')?;
    // `… 1.2MiB / 30MiB | 5.0 MiB/s` ends with a speed.
    let (before, after) = if after.trim() == "s" { before.rsplit_once('/')? } else { (before, after) };
    let size = |word: Option<&str>| parse_size::parse_size(word?.trim_matches(['|', ']'])).ok();
    Some((size(before.split_whitespace().next_back())?, size(after.split_whitespace().next())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &[&str]) -> (Layers, Vec<bool>) {
        let mut layers = Layers::default();
        let moved = lines.iter().map(|line| layers.take(line)).collect();
        (layers, moved)
    }

    #[test]
    fn dockers_lines() {
        let (layers, moved) = all(&[
            "latest: Pulling from team/sandbox",
            "0b5f3e1d5d2c: Pulling fs layer",
            "1b5f3e1d5d2c: Already exists",
            "0b5f3e1d5d2c: Downloading [==>      ]  1.2MB/30MB",
            "0b5f3e1d5d2c: Downloading [==>      ]  1.2MB/30MB",
            "0b5f3e1d5d2c: Downloading  2.4MB/30MB",
        ]);
        assert_eq!(moved, [false, true, true, true, false, true]);
        assert_eq!((layers.text().as_str(), layers.bytes()), ("1 of 2 layers", (2_400_000, 30_000_000)));
        assert!(!layers.all_fetched());
        let (layers, _) = all(&[
            "0b5f3e1d5d2c: Downloading  2.4MB/30MB",
            "0b5f3e1d5d2c: Verifying Checksum",
            "0b5f3e1d5d2c: Extracting  1MB/30MB",
        ]);
        assert!(layers.all_fetched());
        assert_eq!((layers.text().as_str(), layers.bytes()), ("0 of 1 layer", (30_000_000, 30_000_000)));
        assert_eq!(all(&["0b5f3e1d5d2c: Pull complete"]).0.text(), "1 of 1 layer");
    }

    #[test]
    fn podmans_lines() {
        let (layers, moved) = all(&[
            "Trying to pull registry.example/x:1...",
            "Getting image source signatures",
            "Copying blob 0b5f3e1d5d2c [>---------] 0.0b / 30.0MiB",
            "Copying blob 0b5f3e1d5d2c [==>-------] 3.0MiB / 30.0MiB | 5.1 MiB/s",
            "Copying blob sha256:1b5f3e1d5d2c skipped: already exists",
            "Copying config 5f1a done",
        ]);
        assert_eq!(moved, [false, false, true, true, true, false]);
        assert_eq!((layers.text().as_str(), layers.bytes()), ("1 of 2 layers", (3 << 20, 30 << 20)));
        assert_eq!(all(&["Copying blob 0b5f3e1d5d2c done"]).0.text(), "1 of 1 layer");
    }

    #[test]
    fn p78_senseless_lines_say_nothing() {
        for line in ["", ": ", "/", "x: /", "0b5f3e1d5d2c", "Copying blob", "Copying blob ", "a: 1/2", "/s /s"] {
            assert!(!Layers::default().take(line), "{line:?}");
        }
        let (layers, _) = all(&["0b5f3e1d5d2c: Downloading 99999999999999999999999TB/1MB", "0b5f3e1d5d2c: x /s/s"]);
        assert_eq!(layers.bytes(), (0, 0));
    }
}
