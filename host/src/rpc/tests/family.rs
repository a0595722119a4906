//! Requests about descendants: their messages, their bounds, and that nothing else waits for them.

use tokio::time::Instant;

use super::*;

const FAR: Duration = Duration::from_secs(3600);

/// Every such request about this agent, with the seconds it may take.
fn about(name: &str) -> [(String, u64); 5] {
    [
        (format!(r#"{{"type":"Wait","names":["{name}"],"seconds":7}}"#), 12),
        (format!(r#"{{"type":"Send","name":"{name}","text":"x"}}"#), 10),
        (format!(r#"{{"type":"Capture","name":"{name}"}}"#), 10),
        (format!(r#"{{"type":"Merge","name":"{name}"}}"#), 120),
        (format!(r#"{{"type":"Close","name":"{name}"}}"#), 30),
    ]
}

fn message(answer: &str) -> String {
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
    assert_eq!(answer["type"], "Output", "{answer}");
    answer["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn messages_come_in_their_order_before_the_end() {
    for over in BOTH {
        let host = Host::start(over).await;
        let mut guest = host.guest().await;
        assert_eq!(guest.ask(r#"{"type":"Status"}"#).await, r#"{"type":"Output","message":"[]"}"#);
        assert_eq!(guest.hear().await, OK);
        for (line, _) in about("three") {
            assert_eq!(message(&guest.ask(&line).await), "one\n\ttwo", "{over:?} {line}");
            assert_eq!(
                (message(&guest.hear().await), message(&guest.hear().await)),
                (String::new(), "ab\nc".to_owned())
            );
            assert_eq!(guest.hear().await, OK);
        }
        for (line, _) in about("silent") {
            assert_eq!(guest.ask(&line).await, OK);
        }
        // Nothing is said to whoever asked for something else.
        assert_eq!(guest.ask(HEARTBEAT).await, OK);
    }
}

#[tokio::test]
async fn what_is_asked_arrives_as_it_was_said() {
    let host = Host::start(Over::Unix).await;
    let lines = [
        r#"{"type":"Status"}"#,
        r#"{"type":"Wait","names":["a","b"],"seconds":60}"#,
        r#"{"type":"Send","name":"a","text":"go\n\u001b "}"#,
        r#"{"type":"Capture","name":"a","lines":7}"#,
        r#"{"type":"Merge","name":"a","into":"main","squash":true,"no_hooks":false}"#,
        r#"{"type":"Close","name":"a"}"#,
    ];
    let codes = host.codes(&(lines.join("\n") + "\n")).await;
    assert_eq!(codes, ["Output", "Ok", "Ok", "Ok", "Ok", "Ok", "Ok"]);
    let asked = [
        FamilyRequest::Status,
        FamilyRequest::Wait { names: vec!["a".into(), "b".into()], within: Duration::from_secs(60) },
        FamilyRequest::Send { name: "a".into(), text: "go\n\u{1b} ".into() },
        FamilyRequest::Capture { name: "a".into(), lines: 7 },
        FamilyRequest::Merge(MergeRequest {
            name: "a".into(),
            into: Some("main".into()),
            squash: true,
            ..MergeRequest::default()
        }),
        FamilyRequest::Close { name: "a".into() },
    ];
    assert_eq!(host.fake.calls(), asked.map(|request| format!("{request:?}")));
}

#[tokio::test]
async fn a_refusal_is_one_clean_line_and_is_noted() {
    for over in BOTH {
        let host = Host::start(over).await;
        let mut guest = host.guest().await;
        for (line, _) in about("refuse") {
            let refused = r#"{"type":"Error","message":"no such agent never","code":"not_found"}"#;
            assert_eq!(guest.ask(&line).await, refused, "{over:?}");
        }
        assert_eq!(host.fake.notes.lock().unwrap().len(), 5);
    }
}

#[tokio::test]
async fn p35_what_is_not_well_formed_is_never_asked() {
    for over in BOTH {
        let host = Host::start(over).await;
        let long = "x".repeat(256);
        let lines = [
            r#"{"type":"Status","names":[]}"#.to_owned(),
            r#"{"type":"Wait","names":["a"],"seconds":61}"#.to_owned(),
            format!(r#"{{"type":"Wait","names":["a"{}],"seconds":1}}"#, r#","a""#.repeat(64)),
            r#"{"type":"Send","name":"a","text":"x\u0000"}"#.to_owned(),
            format!(r#"{{"type":"Send","name":"{long}","text":"x"}}"#),
            r#"{"type":"Capture","name":"a","lines":2001}"#.to_owned(),
            r#"{"type":"Merge","name":"a","force":true}"#.to_owned(),
            r#"{"type":"Merge","name":"a","rebase":true,"squash":true}"#.to_owned(),
            r#"{"type":"Close","name":"a","remove":true}"#.to_owned(),
        ];
        assert_eq!(host.codes(&(lines.join("\n") + "\n")).await, ["bad_field"; 9], "{over:?}");
        assert_eq!(host.fake.calls(), [""; 0]);
    }
}

#[tokio::test]
async fn p49_a_text_is_bounded_by_its_line() {
    let host = Host::start(Over::Unix).await;
    let send = |bytes: usize| {
        let empty = r#"{"type":"Send","name":"a","text":""}"#.len() + 1;
        format!("{{\"type\":\"Send\",\"name\":\"a\",\"text\":\"{}\"}}\n", "x".repeat(bytes - empty))
    };
    let limit = Limits::default().line;
    assert_eq!(host.codes(&send(limit)).await, ["Ok"]);
    assert_eq!(host.codes(&send(limit + 1)).await, ["too_large"]);
}

#[tokio::test]
async fn p51_an_answer_has_a_ceiling_and_its_lines_stay_lines() {
    for over in BOTH {
        let host = Host::start(over).await;
        let limits = Limits::default();
        let mut guest = host.guest().await;
        let first = guest.ask(r#"{"type":"Capture","name":"long","lines":2000}"#).await;
        assert!(first.len() < limits.line);
        let (first, second) = (message(&first), message(&guest.hear().await));
        assert!(first.len() + second.len() <= limits.output && first.len() + 2000 > limits.output);
        assert!(first.lines().all(|line| line == "é\""), "only whole lines");
        assert_eq!((second, guest.hear().await), ("x".repeat(1000), OK.to_owned()));
        // Half a JSON text is of no use.
        let wait = guest.ask(r#"{"type":"Wait","names":["long"],"seconds":1}"#).await;
        assert_eq!(code(&wait), "too_large");
        assert_eq!(guest.ask(HEARTBEAT).await, OK);
    }
}

#[tokio::test(start_paused = true)]
async fn p51_each_is_given_up_at_its_own_deadline() {
    let host = Host::start(Over::Unix).await;
    let mut guest = host.guest().await;
    for (line, seconds) in about("hang") {
        let started = Instant::now();
        let answer = tokio::time::timeout(FAR, guest.ask(&line)).await.expect("an end");
        assert_eq!((code(&answer).as_str(), started.elapsed().as_secs()), ("timeout", seconds), "{line}");
    }
    assert_eq!(guest.ask(HEARTBEAT).await, OK);
}

#[tokio::test(start_paused = true)]
async fn p40_they_share_a_rate_that_is_not_that_of_others() {
    let host = Host::start(Over::Unix).await;
    // Each connection sends every word once: the rate is the run's.
    let lines: String = about("x").iter().map(|(line, _)| format!("{line}\n")).collect();
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.extend(host.codes(&lines).await);
    }
    assert_eq!(codes, [&["Ok"; 20][..], &["quota"; 5]].concat());
    assert_eq!(host.fake.calls().len(), 20, "refused before anything is done");
    let others = [HEARTBEAT, r#"{"type":"SetTitle","title":"x"}"#, r#"{"type":"SpawnAgent","prompt":"x"}"#];
    assert_eq!(host.codes(&(others.join("\n") + "\n")).await, ["Ok"; 3]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let codes = host.codes(&lines.repeat(3)).await;
    assert_eq!(codes.iter().filter(|code| *code == "Ok").count(), 10);
}

#[tokio::test]
async fn p55_heartbeats_are_answered_while_somebody_waits() {
    for over in BOTH {
        let host = Host::start(over).await;
        let (mut busy, mut alive) = (host.guest().await, host.guest().await);
        for (line, _) in about("wait") {
            busy.say(&line).await;
            host.fake.asking.notified().await;
            for _ in 0..100 {
                assert_eq!(alive.ask(HEARTBEAT).await, OK);
            }
            // So are requests of the same kind.
            assert_eq!(message(&alive.ask(r#"{"type":"Status"}"#).await), "[]");
            assert_eq!(alive.hear().await, OK);
            host.fake.finish_asking.notify_one();
            assert_eq!((message(&busy.hear().await), busy.hear().await), ("[1]".to_owned(), OK.to_owned()));
        }
    }
}

#[tokio::test]
async fn p52_a_panic_costs_the_connection_that_asked() {
    let host = Host::start(Over::Unix).await;
    for (line, _) in about("panic") {
        let mut guest = host.guest().await;
        assert_eq!(guest.ask(&line).await, "");
    }
    host.all_free().await;
    assert_eq!(host.codes("{\"type\":\"Status\"}\n").await, ["Output", "Ok"]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_run_drops_what_waits() {
    let host = Host::start(Over::Unix).await;
    let mut guest = host.guest().await;
    guest.say(r#"{"type":"Wait","names":["wait"],"seconds":60}"#).await;
    host.fake.asking.notified().await;
    let started = Instant::now();
    host.server.drain(Duration::from_secs(2)).await;
    assert_eq!((started.elapsed().as_secs(), *host.fake.dropped.lock().unwrap()), (2, 1));
    assert_eq!(guest.hear().await, "");
}
