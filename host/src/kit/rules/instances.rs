//! What outlives a run, where a backend says that something does: listed, stopped, deleted.

use workmux_plugin_api::{Capability, InstanceInfo};

use crate::kit::Verdict;
use crate::kit::scene::{Scene, until};

const SOON: std::time::Duration = std::time::Duration::from_secs(15);

fn applies(scene: &Scene, try_it: impl FnOnce() -> Result<(), String>) -> Verdict {
    match scene.manifest.capabilities.contains(&Capability::Instances) {
        true => try_it().into(),
        false => Verdict::NotApplicable("its manifest names no capability 'instances'".into()),
    }
}

/// The one of a command that runs now.
fn running(scene: &Scene) -> Result<InstanceInfo, String> {
    let all = scene.instances()?;
    let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
    let found = all.iter().find(|one| one.running);
    found.cloned().ok_or_else(|| format!("of those that are listed none runs: {}", names.join(", ")))
}

pub(super) fn listed(scene: &Scene) -> Verdict {
    applies(scene, || {
        let _runs = scene.begun("sleep 1000")?;
        let names = |all: Vec<InstanceInfo>| all.into_iter().map(|one| one.name).collect::<Vec<_>>();
        let one = running(scene)?;
        let again = names(scene.instances()?);
        if again.iter().filter(|name| **name == one.name).count() == 1 {
            Ok(())
        } else {
            Err(format!("'{}' is not listed once: {}", one.name, again.join(", ")))
        }
    })
}

pub(super) fn stopped(scene: &Scene) -> Verdict {
    applies(scene, || {
        let mut begun = scene.begun("sleep 1000")?;
        let one = running(scene)?;
        scene.stop(&one.name).map_err(|why| format!("the first time: {why}"))?;
        begun.end()?;
        let there = |all: &[InstanceInfo]| all.iter().any(|now| now.name == one.name);
        // One that goes with its run is not there to be stopped again.
        if let Err(why) = scene.stop(&one.name)
            && there(&scene.instances()?)
        {
            return Err(format!("the second time: {why}"));
        }
        match scene.instances()?.iter().find(|now| now.name == one.name) {
            Some(now) if now.running => Err(format!("'{}' runs after it was stopped", one.name)),
            _ => Ok(()),
        }
    })
}

pub(super) fn deleted(scene: &Scene) -> Verdict {
    applies(scene, || {
        let mut begun = scene.begun("sleep 1000")?;
        let one = running(scene)?;
        if scene.delete(&one.name, false).is_ok() {
            return Err(format!("'{}' runs, and was deleted without force", one.name));
        }
        if begun.is_over() {
            return Err("being asked to delete it without force ended the command".into());
        }
        for time in ["first", "second"] {
            scene.delete(&one.name, true).map_err(|why| format!("the {time} time: {why}"))?;
        }
        begun.end()?;
        until(SOON, "it is still listed", || {
            scene.instances().is_ok_and(|all| all.iter().all(|now| now.name != one.name))
        })
    })
}
