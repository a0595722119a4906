//! The guest's paths, decided here once for programs in every language: a program gets mounts whose targets are plain,
//! absolute and safe to make, and a mask for each place at which something hidden can be seen. So it can take both as
//! they are, and the traps of mounting ([`Placing`]) are not there for it to fall into.

use std::path::{Component, Path};

use workmux_plugin_api::{Access, Error, Instance, Mask, Placing, Result, SandboxSpec};

/// Resolves and checks what is mounted and masked; `program` must be out of the guest's reach.
pub(crate) fn place(spec: &mut SandboxSpec, program: &Path) -> Result<()> {
    // It lies where the user's does, so that paths in an agent's files keep their meaning.
    let plain = |home: &Path| home.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if !spec.home.is_absolute() || !plain(&spec.home) || spec.home == Path::new("/") {
        spec.home = "/home/user".into();
    }
    let mut placing = Placing::new(&spec.home);
    for mount in &mut spec.mounts {
        *mount = placing.mount(mount)?;
        if mount.access == Access::ReadWrite && program.starts_with(&mount.source) {
            let (program, source) = (program.display(), mount.source.display());
            return Err(Error::refused(format!("the guest could change '{program}', because it can write '{source}'"))
                .hint("move the program out of there"));
        }
    }
    let mut masks = Vec::new();
    for mask in &spec.policy.masks {
        masks.extend(placing.cover(mask)?.into_iter().map(|target| Mask { target, kind: mask.kind }));
    }
    spec.policy.masks = masks;
    Ok(())
}

/// A program need not say where the home is, and may not say anything else: mounts lie in it already.
pub(crate) fn at_home(instance: &mut Instance, home: &Path) -> Result<()> {
    if instance.home.as_os_str().is_empty() {
        instance.home = home.to_owned();
    }
    if instance.home == home {
        return Ok(());
    }
    let (said, home) = (instance.home.display(), home.display());
    Err(Error::internal(format!("the program says the guest's home is '{said}', and mounts lie in '{home}'")))
}

#[cfg(test)]
mod tests {
    use workmux_plugin_api::{ErrorKind, MaskKind, Mount, Policy};

    use super::*;

    #[test]
    fn a_program_sees_no_tilde_and_every_place_of_a_mask() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), "").unwrap();
        let mut spec = SandboxSpec {
            home: "/home/ann".into(),
            mounts: vec![Mount::read_write(dir.path(), "/wt"), Mount::read_only(dir.path(), "~/copy")],
            policy: Policy {
                masks: vec![Mask { target: "/wt/key".into(), kind: MaskKind::File }],
                ..Policy::default()
            },
            ..SandboxSpec::default()
        };
        let again = spec.clone();
        place(&mut spec, Path::new("/opt/program")).unwrap();
        assert_eq!(spec.mounts[1].target, Path::new("/home/ann/copy"));
        let masks: Vec<_> = spec.policy.masks.iter().map(|m| m.target.to_str().unwrap()).collect();
        assert_eq!(masks, ["/wt/key", "/home/ann/copy/key"]);
        let error = place(&mut again.clone(), &dir.path().join("program")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused);
        assert!(error.message.contains("the guest could change"), "{error}");
    }

    #[test]
    fn a_home_that_is_none_is_replaced_and_no_other_is_answered() {
        for (home, becomes) in [("/", "/home/user"), ("/a/../b", "/home/user"), ("/root", "/root")] {
            let mut spec = SandboxSpec { home: home.into(), ..SandboxSpec::default() };
            place(&mut spec, Path::new("/p")).unwrap();
            assert_eq!(spec.home, Path::new(becomes));
        }
        let mut instance = Instance::default();
        at_home(&mut instance, Path::new("/home/ann")).unwrap();
        assert_eq!(instance.home, Path::new("/home/ann"));
        assert!(at_home(&mut instance, Path::new("/root")).is_err());
    }
}
