//! How much, how fast, how long: every bound from both sides.

use tokio::time::Instant;

use super::*;

const FAR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn p47_other_protocols_are_closed_and_nothing_is_done() {
    for over in BOTH {
        let host = Host::start(over).await;
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
            // A browser that was made to post what we would like.
            b"POST / HTTP/1.1\r\nContent-Type: text/plain\r\n\r\n{\"token\":\"TOKEN\"}\n{\"type\":\"Heartbeat\"}\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no line end at all",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\0\0\0\0",
            b"\xff\xfe{\0",
            b"[\"TOKEN\"]\n{\"token\":\"TOKEN\"}\n{\"type\":\"Heartbeat\"}\n",
            b"{\"type\":\"Heartbeat\"}\n{\"token\":\"TOKEN\"}\n{\"type\":\"Heartbeat\"}\n",
        ] {
            let answer = String::from_utf8(host.talk(bytes).await).unwrap();
            assert_eq!(answer.lines().map(code).collect::<Vec<_>>(), ["malformed"], "{over:?} {bytes:?}");
        }
        host.all_free().await;
    }
}

#[tokio::test(start_paused = true)]
async fn p48_a_dripping_stranger_has_five_seconds_in_total() {
    let host = Host::start(Over::Unix).await;
    let started = Instant::now();
    let (mut read, mut write) = tokio::io::split(host.dial().await);
    let drip = tokio::spawn(async move {
        for byte in "{\"token\":\"0000000000".bytes() {
            let _closed = write.write_all(&[byte]).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let mut first = [0];
    tokio::time::timeout(FAR, read.read_exact(&mut first)).await.expect("an end").unwrap();
    assert_eq!(started.elapsed().as_secs(), 5);
    let mut answer = "{".to_owned();
    read.read_to_string(&mut answer).await.unwrap();
    assert_eq!(code(&answer), "timeout");
    assert!(started.elapsed() < Duration::from_secs(7));
    drip.abort();
    host.all_free().await;
}

#[tokio::test(start_paused = true)]
async fn p48_strangers_never_block_a_guest() {
    let host = Host::start(Over::Unix).await;
    let mut guest = host.guest().await;
    let mut strangers = Vec::new();
    for _ in 0..8 {
        strangers.push(host.stranger().await);
    }
    assert_eq!(code(&host.stranger().await.hear().await), "quota");
    assert_eq!(guest.ask(HEARTBEAT).await, OK);
    // Their time ends without any help.
    for stranger in &mut strangers {
        assert_eq!(code(&stranger.hear().await), "timeout");
    }
    drop((guest, strangers));
    host.all_free().await;
    host.guest().await;
}

#[tokio::test]
async fn many_guests_at_once_do_not_count_as_strangers() {
    for over in BOTH {
        let host = Host::start(over).await;
        let mut guests = Vec::new();
        for _ in 0..16 {
            let mut guest = host.stranger().await;
            guest.say(&format!("{}\n{HEARTBEAT}", host.opening())).await;
            guests.push(guest);
        }
        for guest in &mut guests {
            assert_eq!(guest.hear().await, OK, "{over:?}");
        }
    }
}

#[tokio::test]
async fn p40_seventeen_guests_are_one_too_many() {
    for over in BOTH {
        let host = Host::start(over).await;
        let mut guests = Vec::new();
        for _ in 0..16 {
            guests.push(host.guest().await);
        }
        let mut one_more = host.stranger().await;
        one_more.say(&host.opening()).await;
        assert_eq!(code(&one_more.hear().await), "quota");
        assert_eq!(one_more.hear().await, "", "closed");
        for guest in &mut guests {
            assert_eq!(guest.ask(HEARTBEAT).await, OK);
        }
        guests.clear();
        host.all_free().await;
        host.guest().await;
    }
}

#[tokio::test]
async fn p49_a_line_may_be_as_long_as_its_limit() {
    for over in BOTH {
        let host = Host::start(over).await;
        let title = |bytes: usize| {
            let empty = r#"{"type":"SetTitle","title":""}"#.len() + 1;
            format!("{{\"type\":\"SetTitle\",\"title\":\"{}\"}}\n", "x".repeat(bytes - empty))
        };
        let limit = Limits::default().line;
        for bytes in [limit - 1, limit] {
            assert_eq!(host.codes(&format!("{}{HEARTBEAT}\n", title(bytes))).await, ["Ok", "Ok"]);
        }
        assert_eq!(host.codes(&format!("{}{HEARTBEAT}\n", title(limit + 1))).await, ["too_large"]);
        // So may the first.
        let first = |bytes: usize| format!("{{\"x\":\"{}\",\"token\":\"TOKEN\"}}\n", "x".repeat(bytes - 84));
        assert_eq!(host.talk(first(limit).as_bytes()).await, b"");
        let answer = String::from_utf8(host.talk(first(limit + 1).as_bytes()).await).unwrap();
        assert_eq!(code(answer.trim_end()), "too_large");
    }
}

#[tokio::test]
async fn p49_malformed_lines_are_answered_and_bytes_that_are_no_text_end_it() {
    for over in BOTH {
        let host = Host::start(over).await;
        let deep = format!("{{\"type\":{}1{}}}", "[".repeat(70), "]".repeat(70));
        for (line, expected) in [
            (r#"{"type":"Heartbeat","type":"Heartbeat"}"#, "malformed"),
            (r#"{"type":"SetTitle","title":"\ud83d"}"#, "malformed"),
            (r#"{"type":"Heartbeat","x":1e400}"#, "malformed"),
            (r#"{"type":"SetTitle","title":"a\u0000b"}"#, "bad_field"),
            (r#"{"type":123456789012345678901234567890}"#, "bad_field"),
            (deep.as_str(), "too_large"),
            ("\u{0}", "malformed"),
        ] {
            assert_eq!(host.codes(&format!("{line}\n{HEARTBEAT}\n")).await, [expected, "Ok"], "{line}");
        }
        let mut bytes = format!("{}\n", host.opening()).into_bytes();
        bytes.extend(b"{\"type\":\"SetTitle\",\"title\":\"\xff\"}\n{\"type\":\"Heartbeat\"}\n");
        let answer = String::from_utf8(host.talk(&bytes).await).unwrap();
        assert_eq!(answer.lines().map(code).collect::<Vec<_>>(), ["malformed"]);
        assert_eq!(host.fake.calls(), [""; 0]);
    }
}

/// Small, fast and the same every time; which numbers does not matter.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

#[tokio::test]
async fn p49_damaged_lines_never_disturb_the_next() {
    let host = Host::start(Over::Unix).await;
    let seeds = [
        r#"{"type":"SetStatus","status":"working","prompt":"é\u00e9"}"#,
        r#"{"type":"SpawnAgent","prompt":"","branch_name":null,"background":true,"request_id":"1"}"#,
        r#"{"type":"Exec","command":"x","args":["a",{"b":[1,2.5e3,-0]}]}"#,
        r#"{"type":"Wait","names":["a","é"],"seconds":60}"#,
        r#"{"type":"Merge","name":"a","into":"b","rebase":true,"cleanup":false}"#,
    ];
    let parts = ["{", "}", "\"", "\\u", "\\ud800", "[", ",", ":", "\u{0}", "1e9", "null", "\r", "é", " ", "\\"];
    let mut numbers = Numbers(0x5eed);
    let mut guest = host.guest().await;
    for _ in 0..3000 {
        let mut line = seeds[numbers.below(seeds.len())].to_owned();
        for _ in 0..=numbers.below(4) {
            let mut at = numbers.below(line.len());
            while !line.is_char_boundary(at) {
                at -= 1;
            }
            match numbers.below(3) {
                0 => line.truncate(at),
                1 => line.insert_str(at, parts[numbers.below(parts.len())]),
                _ => drop(line.remove(at)),
            }
            line.push(' ');
        }
        line.push('x');
        assert_ne!(code(&guest.ask(&line).await), "Ok", "{line:?}");
    }
    assert_eq!(guest.ask(HEARTBEAT).await, OK);
    assert_eq!(host.fake.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn p51_a_line_that_has_begun_is_finished_in_time_or_the_connection_ends() {
    let host = Host::start(Over::Unix).await;
    let mut guest = host.guest().await;
    // Idling is no fault: between two lines there is time.
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(guest.ask(HEARTBEAT).await, OK);
    guest.0.get_mut().write_all(b"{\"type\":").await.unwrap();
    let started = Instant::now();
    let answer = tokio::time::timeout(FAR, guest.hear()).await.expect("an end");
    assert_eq!((code(&answer).as_str(), started.elapsed().as_secs()), ("timeout", 10));
    assert_eq!(guest.hear().await, "");
}

#[tokio::test(start_paused = true)]
async fn p51_a_silent_guest_loses_its_slot_in_the_end() {
    let host = Host::start(Over::Unix).await;
    let mut guest = host.guest().await;
    assert_eq!(tokio::time::timeout(FAR, guest.hear()).await.expect("an end"), "", "without a word");
    host.all_free().await;
}

#[tokio::test(start_paused = true)]
async fn p51_work_that_hangs_is_given_up() {
    let host = Host::start(Over::Unix).await;
    let mut guest = host.guest().await;
    for (line, seconds) in [
        (r#"{"type":"SetStatus","status":"working","prompt":"hang"}"#, 10),
        (r#"{"type":"SpawnAgent","prompt":"hang"}"#, 120),
    ] {
        let started = Instant::now();
        let answer = tokio::time::timeout(FAR, guest.ask(line)).await.expect("an end");
        assert_eq!(code(&answer), "timeout");
        assert_eq!(started.elapsed().as_secs(), seconds);
        assert_eq!(guest.ask(HEARTBEAT).await, OK);
    }
    // What was given up does not hold what comes after it.
    assert_eq!(guest.ask(r#"{"type":"SetStatus","status":"done"}"#).await, OK);
}

#[tokio::test(start_paused = true)]
async fn p51_a_guest_that_does_not_read_is_cut_off() {
    let host = Host::start(Over::Unix).await;
    let mut guest = host.guest().await;
    let flood = format!("{HEARTBEAT}\n").repeat(1 << 17);
    let mut sending = std::pin::pin!(guest.0.get_mut().write_all(flood.as_bytes()));
    let sent = tokio::select! {
        sent = &mut sending => sent,
        // The guest sees that it was cut off once nobody holds the host's socket. A child that another test has just forked
        // may, until it is another program: that takes real time, of which this test's clock knows nothing.
        () = host.all_free() => {
            let begun = std::time::Instant::now();
            loop {
                match tokio::time::timeout(FAR, &mut sending).await {
                    Ok(sent) => break sent,
                    Err(_) => assert!(begun.elapsed() < PATIENCE, "an end"),
                }
            }
        }
    };
    assert!(sent.is_err(), "all of it was taken");
    host.all_free().await;
}

#[tokio::test(start_paused = true)]
async fn p40_status_and_title_share_one_rate_and_heartbeats_have_none() {
    let host = Host::start(Over::Unix).await;
    let lines = [r#"{"type":"SetStatus","status":"working"}"#, r#"{"type":"SetTitle","title":"x"}"#].join("\n") + "\n";
    let codes = host.codes(&lines.repeat(30)).await;
    assert_eq!(codes.iter().filter(|code| *code == "Ok").count(), 40);
    assert_eq!(codes.iter().filter(|code| *code == "quota").count(), 20);
    assert_eq!(host.codes(&format!("{HEARTBEAT}\n").repeat(200)).await, ["Ok"; 200]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let codes = host.codes(&lines.repeat(15)).await;
    assert_eq!(codes.iter().filter(|code| *code == "Ok").count(), 20);
}

#[tokio::test(start_paused = true)]
async fn p40_ten_spawns_a_minute_and_a_repeated_one_is_free() {
    let host = Host::start(Over::Unix).await;
    let spawn = |id: usize| format!(r#"{{"type":"SpawnAgent","prompt":"x","request_id":"{id}"}}"#) + "\n";
    let again = spawn(0).repeat(50);
    let new = (0..12).map(spawn).collect::<String>();
    let codes = host.codes(&(again + &new)).await;
    assert_eq!(codes.iter().filter(|code| *code == "quota").count(), 2);
    assert_eq!(host.fake.calls().len(), 10);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(host.codes(&(spawn(20) + &spawn(21))).await, ["Ok", "quota"]);
}
