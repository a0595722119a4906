//! What breaks, and what must not break with it.

use super::*;

#[tokio::test]
async fn p52_a_panic_ends_one_connection_and_frees_its_slot() {
    for over in BOTH {
        let host = Host::start(over).await;
        let (mut one, mut other) = (host.guest().await, host.guest().await);
        assert_eq!(one.ask(r#"{"type":"SetTitle","title":"panic"}"#).await, "");
        assert_eq!(other.ask(r#"{"type":"SetTitle","title":"fine"}"#).await, OK);
        drop(other);
        host.all_free().await;
        assert_eq!(host.codes(r#"{"type":"SpawnAgent","prompt":"panic"}"#).await, ["internal"]);
        assert_eq!(host.codes(r#"{"type":"SetTitle","title":"fine"}"#).await, ["Ok"]);
    }
}

#[tokio::test]
async fn p53_a_guest_that_leaves_during_a_spawn_finds_it_done_later() {
    let host = Host::start(Over::Tcp).await;
    let spawn = r#"{"type":"SpawnAgent","prompt":"wait","request_id":"1"}"#;
    let mut guest = host.guest().await;
    guest.say(spawn).await;
    host.fake.spawning.notified().await;
    drop(guest);
    let mut later = host.guest().await;
    later.say(spawn).await;
    host.fake.finish_spawn.notify_one();
    assert_eq!(tokio::time::timeout(PATIENCE, later.hear()).await.expect("an answer"), OK);
    drop(later);
    host.all_free().await;
    assert_eq!((host.fake.calls().len(), *host.fake.dropped.lock().unwrap()), (1, 0));
}

#[tokio::test]
async fn p55_heartbeats_are_answered_while_other_work_runs() {
    for over in BOTH {
        let host = Host::start(over).await;
        let both = async { (host.guest().await, host.guest().await) };
        let (mut busy, mut alive) = tokio::time::timeout(PATIENCE, both).await.expect("two at once");
        busy.say(r#"{"type":"SpawnAgent","prompt":"wait"}"#).await;
        host.fake.spawning.notified().await;
        for _ in 0..100 {
            assert_eq!(alive.ask(HEARTBEAT).await, OK);
        }
        host.fake.finish_spawn.notify_one();
        assert_eq!(busy.hear().await, OK);
    }
}

#[tokio::test]
async fn answers_come_in_the_order_of_their_requests() {
    let host = Host::start(Over::Unix).await;
    let mut guest = host.guest().await;
    guest.say(r#"{"type":"SpawnAgent","prompt":"wait"}"#).await;
    guest.say(r#"{"type":"X"}"#).await;
    host.fake.spawning.notified().await;
    host.fake.finish_spawn.notify_one();
    assert_eq!(guest.hear().await, OK);
    assert_eq!(code(&guest.hear().await), "unknown_type");
}

#[tokio::test]
async fn draining_answers_what_was_asked_and_takes_nothing_new() {
    for over in BOTH {
        let host = Host::start(over).await;
        let mut guest = host.guest().await;
        let mut idle = host.guest().await;
        guest.say(&[HEARTBEAT; 20].join("\n")).await;
        let place = host.place.clone();
        tokio::time::timeout(Duration::from_secs(20), host.server.drain(FOR_EVER)).await.expect("an end");
        for _ in 0..20 {
            assert_eq!(guest.hear().await, OK, "{over:?}");
        }
        assert_eq!((guest.hear().await, idle.hear().await), (String::new(), String::new()));
        match place {
            Place::Unix(path) => assert!(UnixStream::connect(path).await.is_err()),
            Place::Tcp(address) => assert!(TcpStream::connect(address).await.is_err()),
        }
    }
}

const FOR_EVER: Duration = Duration::from_secs(1_000_000);

#[tokio::test(start_paused = true)]
async fn draining_ends_with_its_grace_and_drops_what_is_unfinished() {
    let host = Host::start(Over::Unix).await;
    let mut guest = host.guest().await;
    guest.say(r#"{"type":"SpawnAgent","prompt":"wait"}"#).await;
    host.fake.spawning.notified().await;
    let started = tokio::time::Instant::now();
    host.server.drain(Duration::from_secs(2)).await;
    assert_eq!(started.elapsed().as_secs(), 2);
    assert_eq!(*host.fake.dropped.lock().unwrap(), 1);
    assert_eq!(guest.hear().await, "");
}

#[tokio::test]
async fn a_dropped_server_is_gone() {
    let host = Host::start(Over::Unix).await;
    let mut guest = host.guest().await;
    drop(host.server);
    assert_eq!(guest.hear().await, "");
}
