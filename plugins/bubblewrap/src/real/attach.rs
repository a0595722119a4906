//! Further commands in a sandbox that runs.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use workmux_plugin_api::{AttachRequest, ErrorKind, GuestCommand, Instance, Limit, Network};

use super::harness::{Bench, finish, tool};
use super::host::{first_process, start_inside};
use crate::attach;
use crate::settings::Reach;

#[test]
fn a_further_command_sees_what_the_first_one_sees_and_no_more() {
    for network in [Network::None, Network::Allow] {
        let Some(mut bench) = Bench::new("wt") else { return };
        let Some(_unshare) = tool("unshare") else { return };
        bench.spec.policy.network = network;
        // The host's own network is none to enter.
        bench.table.network = Reach::Host;
        bench.spec.policy.limits.processes = Some(Limit { value: 30, required: true });
        look_around(&bench);
    }
}

fn look_around(bench: &Bench) {
    let (sandbox, mut command) = bench.prepare();
    let first = "echo left > /tmp/by-first; echo ready; read end";
    command.argv = ["/bin/sh", "-c", first].map(Into::into).into();
    let mut bwrap = bench.bwrap(&sandbox, &command).stdin(Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(bwrap.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let look = "cat /tmp/by-first; pwd; hostname; echo $HOME; id -u; ulimit -p; grep CapEff /proc/self/status; \
                tr '\\0' ' ' < /proc/1/cmdline; unshare --user true 2>/dev/null && echo nested; \
                [ -e /root ] && echo root; exit 7";
    let request = AttachRequest {
        instance: Instance { state: serde_json::to_value(&sandbox).unwrap(), ..Instance::default() },
        first_process: Some(first_process(&bwrap)),
        command: GuestCommand { argv: ["/bin/sh", "-c", look].map(Into::into).into(), ..command },
        ..AttachRequest::default()
    };
    let plan = attach::plan(&request, &bench.tools).unwrap();
    let ran = finish(start_inside(bench, &plan));
    let (home, uid) = (bench.spec.home.display(), bench.spec.user.uid);
    let worktree = bench.spec.worktree.display();
    let wanted = format!("left\n{worktree}\nbench\n{home}\n{uid}\n30\nCapEff:\t0000000000000000\n/bin/sh -c {first} ");
    assert_eq!((ran.out, ran.code), (wanted, Some(7)), "{}", ran.err);
    drop(bwrap.stdin.take());
    bwrap.wait().unwrap();
    assert_eq!(attach::plan(&request, &bench.tools).unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn p58_a_process_of_the_hosts_own_is_never_entered() {
    let Some(bench) = Bench::new("wt") else { return };
    let (sandbox, command) = bench.prepare();
    for pid in [None, Some(0), Some(1), Some(std::process::id()), Some(u32::MAX)] {
        let request = AttachRequest {
            instance: Instance { state: serde_json::to_value(&sandbox).unwrap(), ..Instance::default() },
            first_process: pid,
            command: command.clone(),
            ..AttachRequest::default()
        };
        assert_eq!(attach::plan(&request, &bench.tools).unwrap_err().kind, ErrorKind::NotFound, "{pid:?}");
    }
}
