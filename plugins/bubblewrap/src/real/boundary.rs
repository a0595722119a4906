//! Files, users and processes, seen from inside.

use std::fs;

use workmux_plugin_api::{Limit, Mask, MaskKind, Mount, User};

use super::harness::{Bench, guest_user, tool};

const ROOT: User = User { uid: 0, gid: 0 };

/// Prints `LABEL=yes` or `LABEL=no` for a shell condition.
fn ask(questions: &[(&str, &str)]) -> String {
    questions
        .iter()
        .map(|(label, test)| format!("if {test}; then echo {label}=yes; else echo {label}=no; fi\n"))
        .collect()
}

#[test]
fn p13_the_worktree_is_there_and_the_rest_of_the_home_is_not() {
    let Some(bench) = Bench::new("wt") else { return };
    bench.file(&bench.spec.home.join(".ssh/id"), "secret");
    bench.file(&bench.root().join("beside"), "secret");
    let said = bench.answer("cat tracked; pwd; echo new > made; ls -A ~; ls -A ..; ls -A ../..; id -u; whoami");
    let (home, uid) = (&bench.spec.home, bench.spec.user.uid);
    let who = said.lines().last().unwrap().to_owned();
    assert_eq!(
        said,
        format!(
            "tracked\n{}\nwt\nwt\n{}\n{uid}\n{who}",
            bench.spec.worktree.display(),
            home.file_name().unwrap().to_str().unwrap()
        )
    );
    assert_eq!(fs::read_to_string(bench.spec.worktree.join("made")).unwrap(), "new\n");
}

#[test]
fn a_guest_has_no_capability_no_way_to_one_and_cannot_change_the_machine() {
    let Some(bench) = Bench::new("wt") else { return };
    let said = bench.answer(
        "grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status; unshare --user true 2>/dev/null && echo nested; \
         for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /usr/bin /etc /etc/passwd / /sys; do \
         [ -w $f ] && echo writable $f; done; for d in /root /boot /var/log /sys /run/docker.sock /etc/shadow \
         /etc/gitconfig /etc/environment /dev/net; do [ -e $d ] && echo visible $d; done; true",
    );
    assert_eq!(said, "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000");
}

#[test]
fn p66_masks_hide_at_every_place_and_read_only_mounts_hold() {
    let Some(mut bench) = Bench::new("wt") else { return };
    let wt = bench.spec.worktree.clone();
    bench.file(&wt.join(".env"), "secret");
    bench.file(&wt.join("private/key"), "secret");
    bench.file(&wt.join("shared/data"), "data");
    let copy = bench.root().join("copy");
    bench.spec.mounts.extend([
        Mount::read_only(&wt, &copy),
        Mount::read_only(wt.join("shared"), wt.join("shared")),
        Mount::read_only(wt.join("shared"), "~/shared"),
    ]);
    bench.spec.policy.masks = vec![
        Mask { target: wt.join(".env"), kind: MaskKind::File },
        Mask { target: wt.join("private"), kind: MaskKind::Directory },
    ];
    let said = bench.answer(&format!(
        "copy='{}'; cat .env private/key \"$copy/.env\" \"$copy/private/key\" 2>/dev/null; cat shared/data ~/shared/data; {}",
        copy.display(),
        ask(&[
            ("mask", "echo x 2>/dev/null > .env"),
            ("remove", "rm -rf private .env 2>/dev/null"),
            ("in-mask", "echo x 2>/dev/null > private/x"),
            ("read-only", "echo x 2>/dev/null > shared/data"),
            ("at-home", "echo x 2>/dev/null > ~/shared/data"),
            ("unmount", "umount .env 2>/dev/null"),
            ("remount", "mount -o remount,rw shared 2>/dev/null"),
        ])
    ));
    assert_eq!(said, "datadatamask=no\nremove=no\nin-mask=no\nread-only=no\nat-home=no\nunmount=no\nremount=no");
    assert_eq!(fs::read_to_string(wt.join(".env")).unwrap(), "secret");
}

#[test]
fn p67_odd_paths_work_everywhere() {
    for name in ["a b", "a,b", "a'b\"c", "a:b", "a=b", "ü 名", "-x", "$(id)", "a\\b", "*?"] {
        let Some(mut bench) = Bench::new(name) else { return };
        let wt = bench.spec.worktree.clone();
        bench.directory(&wt.join(name));
        bench.file(&wt.join(name).join("file"), "");
        bench.spec.cwd = wt.join(name);
        bench.spec.mounts.push(Mount::read_only(wt.join(name), wt.join(name)));
        bench.spec.mounts.push(Mount::read_only(wt.join("tracked"), format!("~/{name}.file")));
        let script = "pwd; ls; cat ~/*.file; [ -w . ] || echo read-only";
        let wanted = format!("{}\nfile\ntracked\nread-only", wt.join(name).display());
        assert_eq!(bench.answer(script), wanted, "{name}");
    }
}

#[test]
fn a_worktree_works_below_every_top_directory() {
    for parent in ["/tmp", "/var/tmp", "/usr/src", "/home", "/root", "/opt", "/srv", "/run", "/dev/shm"] {
        let may = nix::unistd::access(parent, nix::unistd::AccessFlags::W_OK).is_ok();
        if !may {
            continue;
        }
        // Only root passes root's own directory.
        let user = if parent == "/root" { ROOT } else { guest_user() };
        let Some(mut bench) = Bench::below(std::path::Path::new(parent), "wt", user) else { return };
        // The home is elsewhere than the worktree, as it often is.
        bench.spec.home = "/home/somebody".into();
        bench.table.allow_root = true;
        assert_eq!(bench.answer("cat tracked && echo x > new && echo ~"), "tracked\n/home/somebody", "{parent}");
    }
}

#[test]
fn root_is_refused_and_if_allowed_has_no_capabilities() {
    let refusal = crate::policy::check_user(ROOT, &crate::settings::Table::default()).unwrap_err();
    assert!(refusal.hint.unwrap().contains("allow_root"));
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let Some(mut bench) = Bench::below(&std::env::temp_dir(), "wt", ROOT) else { return };
    bench.table.allow_root = true;
    let said = bench.answer(
        "grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status; for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger \
         /proc/sys/vm/overcommit_memory /usr/bin /etc/passwd; do [ -w $f ] && echo writable $f; done; [ -w . ] && echo ok",
    );
    assert_eq!(said, "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nok");
}

#[test]
fn p65_the_process_limit_counts_the_sandbox_alone() {
    let Some(mut bench) = Bench::new("wt") else { return };
    let Some(_prlimit) = tool("prlimit") else { return };
    // The shell ends when the kernel refuses it a process.
    let script = "n=0; while [ $n -lt 40 ]; do sleep 60 & n=$((n+1)); echo; done";
    let started = |bench: &Bench| bench.run(script).out.lines().count();
    assert_eq!(started(&bench), 40);
    bench.spec.policy.limits.processes = Some(Limit { value: 12, required: true });
    let mut outside: Vec<_> = (0..12)
        .map(|_| {
            let mut sleep = std::process::Command::new("/bin/sleep");
            sleep.arg("60");
            bench.as_guest(&mut sleep);
            sleep.spawn().unwrap()
        })
        .collect();
    let inside = started(&bench);
    for child in &mut outside {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!((6..12).contains(&inside), "{inside} processes started under a limit of 12");
}

#[test]
fn the_end_of_the_first_process_is_the_end_of_all_and_its_code_is_kept() {
    let Some(bench) = Bench::new("wt") else { return };
    let ran = bench.run("setsid sleep 600 & exit 42");
    assert_eq!(ran.code, Some(42), "{}", ran.err);
}

#[test]
fn usual_programs_work() {
    let Some(bench) = Bench::new("wt") else { return };
    for (program, script) in [
        ("git", "git --version"),
        ("bash", "bash -c 'echo $HOME $USER'"),
        ("awk", "echo a | awk '{print $1}'"),
        ("node", "node --version"),
        ("python3", "python3 --version"),
        ("getent", "getent passwd $(id -u) && getent hosts localhost"),
        ("curl", "curl --version"),
        ("ssh", "ssh -V"),
    ] {
        if std::path::Path::new("/usr/bin").join(program).exists() {
            bench.answer(script);
        }
    }
}

#[test]
fn an_agent_installed_in_the_home_starts_and_brings_nothing_else() {
    let Some(mut bench) = Bench::new("wt") else { return };
    let home = bench.spec.home.clone();
    let program = |path: &str, text: &str| {
        bench.file(&home.join(path), text);
        fs::set_permissions(home.join(path), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    // A package whose interpreter is in the home, too; bash stands in for it.
    program(
        "npm/lib/node_modules/@acme/agent/cli.js",
        "#!/usr/bin/env node\necho started by $0 $BASH_VERSION $*\nls -A ~/npm/lib/node_modules ~/nvm",
    );
    program("npm/lib/node_modules/other/secret", "");
    program("nvm/v20/bin/node", "");
    bench.file(&home.join("nvm/secret"), "");
    fs::copy("/bin/bash", home.join("nvm/v20/bin/node")).unwrap();
    bench.directory(&home.join("npm/bin"));
    std::os::unix::fs::symlink("../lib/node_modules/@acme/agent/cli.js", home.join("npm/bin/agent")).unwrap();
    bench.spec.program = Some("agent".into());
    bench.spec.search_path = vec![home.join("npm/bin"), home.join("nvm/v20/bin"), "/usr/bin".into()];
    let said = bench.answer("agent 'a b'");
    let home = home.display();
    assert!(said.starts_with(&format!("started by {home}/npm/bin/agent 5.")), "{said}");
    assert!(said.ends_with(&format!("a b\n{home}/npm/lib/node_modules:\n@acme\n\n{home}/nvm:\nv20")), "{said}");
}
