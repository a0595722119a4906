//! The verb `check`: what must be there before a machine can be made, each with its fix. Starts no machine.

use std::path::Path;

use workmux_plugin_api::{CheckRequest, Context, Error, ErrorKind, Finding};

use crate::{limactl, machine, settings, ssh};

pub(crate) async fn findings(cx: &Context, request: &CheckRequest) -> Vec<Finding> {
    let mut all = Vec::new();
    let mut add = |subject: &str, state: Result<String, Error>| {
        all.push(Finding { subject: subject.into(), state });
    };
    if let Err(e) = settings::read(&request.settings) {
        add("settings", Err(e));
    }
    let version = limactl::version(cx).await;
    let works = version.is_ok();
    add("limactl", version);
    add("ssh", ssh::program(cx).map(|path| path.display().to_string()));
    if cfg!(target_os = "linux") {
        add("qemu", qemu(cx));
    }
    if works {
        add("machines", machines(cx).await);
    }
    all
}

fn qemu(cx: &Context) -> Result<String, Error> {
    let name = if cfg!(target_arch = "aarch64") { "qemu-system-aarch64" } else { "qemu-system-x86_64" };
    let variable = name.to_uppercase().replace('-', "_");
    if std::env::var_os(&variable).is_some() {
        return Ok(format!("as {variable} says"));
    }
    let Some(path) = cx.tool(name) else {
        return Err(Error::new(ErrorKind::MissingTool, format!("'{name}' is not installed or not on PATH"))
            .hint("install QEMU, which Lima runs machines with: sudo apt install qemu-system qemu-utils"));
    };
    // Only asked whether it could be opened, never opened.
    let kvm =
        nix::unistd::access(Path::new("/dev/kvm"), nix::unistd::AccessFlags::R_OK | nix::unistd::AccessFlags::W_OK);
    let slow = if kvm.is_ok() { "" } else { ", without KVM: machines will be slow" };
    Ok(format!("{}{slow}", path.display()))
}

async fn machines(cx: &Context) -> Result<String, Error> {
    let all = limactl::list(cx, None).await?;
    let ours = all.iter().filter(|one| one.name.starts_with(crate::name::PREFIX)).count();
    Ok(format!("{ours} of workmux's in {}", machine::lima_home().display()))
}
