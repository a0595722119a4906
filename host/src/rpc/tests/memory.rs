//! What is left behind: nothing. In a process of their own, where nobody else opens or allocates.

use super::*;
use crate::alone::alone;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn p56_connections_leave_nothing_behind() {
    if !alone("rpc::tests::memory::p56_connections_leave_nothing_behind") {
        return;
    }
    for over in BOTH {
        let host = Host::start(over).await;
        drop(host.guest().await);
        host.all_free().await;
        let before = (descriptors(), threads());
        for n in 0..3000 {
            let mut guest = host.stranger().await;
            match n % 5 {
                0 => {}
                1 => guest.say(&host.opening()).await,
                2 => guest.0.get_mut().write_all(b"{\"tok").await.unwrap(),
                3 => guest.say("GET / HTTP/1.1").await,
                _ => {
                    guest.say(&host.opening()).await;
                    guest.say(HEARTBEAT).await;
                }
            }
        }
        host.all_free().await;
        assert_eq!((descriptors(), threads()), before, "{over:?}");
        host.guest().await;
    }
}

#[tokio::test]
async fn p49_p51_memory_has_a_ceiling_whatever_is_sent() {
    if !alone("rpc::tests::memory::p49_p51_memory_has_a_ceiling_whatever_is_sent") {
        return;
    }
    let host = Arc::new(Host::start(Over::Unix).await);
    let limit = Limits::default().line;
    // Lines that a tree of values would blow up many times over.
    let lines: Arc<Vec<String>> = Arc::new(
        [
            format!("{{\"x\":[{}0]}}", "[],".repeat(limit / 3 - 20)),
            format!("{{\"x\":[{}0]}}", "{\"a\":0},".repeat(limit / 8 - 20)),
            format!("{{{}\"z\":0}}", "\"\":0,".repeat(limit / 5 - 20)),
            format!("{{\"type\":\"{}\"}}", "é".repeat(limit / 2 - 20)),
            "[".repeat(limit - 2),
        ]
        .into(),
    );
    let before = peak_kib();
    let mut guests = Vec::new();
    for _ in 0..16 {
        let (host, lines) = (host.clone(), lines.clone());
        let mut guest = host.guest().await;
        guests.push(tokio::spawn(async move {
            for line in lines.iter() {
                assert_ne!(code(&guest.ask(line).await), "Ok");
            }
        }));
    }
    for guest in guests {
        guest.await.unwrap();
    }
    // 16 buffers and 16 lines of a MiB each, the lines our own clients send, and what they grow by.
    let grown = peak_kib() - before;
    assert!(grown < 96 * 1024, "grown by {grown} KiB");
}
