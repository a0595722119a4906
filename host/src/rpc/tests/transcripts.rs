//! Conversations byte for byte, as guests of the documented program hold them.

use super::*;

/// What is sent (the token for `TOKEN`) and all that comes back.
const TRANSCRIPTS: &[(&str, &str)] = &[
    // An old guest hears nothing until it asks.
    ("{\"token\":\"TOKEN\"}\n", ""),
    ("{\"token\":\"TOKEN\"}\n{\"type\":\"Heartbeat\"}\n", "{\"type\":\"Ok\"}\n"),
    // White space, line ends of the other kind, empty lines, and a last line without an end.
    (
        " {\"token\" : \"TOKEN\"} \r\n\n\r\n {\"type\":\"Heartbeat\"}\r\n \n{\"type\":\"Heartbeat\"}",
        "{\"type\":\"Ok\"}\n{\"type\":\"Ok\"}\n",
    ),
    // Unknown fields beside the token are other people's business.
    ("{\"token\":\"TOKEN\",\"client\":{\"name\":[]}}\n{\"type\":\"Heartbeat\"}\n", "{\"type\":\"Ok\"}\n"),
    // A guest that offers a version is greeted, and does not have to wait for it.
    (
        "{\"token\":\"TOKEN\",\"protocol\":1}\n{\"type\":\"Heartbeat\"}\n",
        "{\"type\":\"Hello\",\"protocol\":1}\n{\"type\":\"Ok\"}\n",
    ),
    ("{\"token\":\"TOKEN\",\"protocol\":2}\n", "{\"type\":\"Hello\",\"protocol\":1}\n"),
    (
        "{\"token\":\"TOKEN\",\"protocol\":0}\n{\"type\":\"Heartbeat\"}\n",
        "{\"type\":\"Error\",\"message\":\"the guest offers protocol 0, this host speaks 1 to 1\",\"code\":\"version\"}\n",
    ),
    (
        "{\"token\":\"0000000000000000000000000000000000000000000000000000000000000000\"}\n{\"type\":\"Heartbeat\"}\n",
        "{\"type\":\"Error\",\"message\":\"Invalid token\",\"code\":\"auth\"}\n",
    ),
    ("{\"token\":\"\"}\n", "{\"type\":\"Error\",\"message\":\"Invalid token\",\"code\":\"auth\"}\n"),
    (
        "{\"token\":null}\n",
        "{\"type\":\"Error\",\"message\":\"the first line must be {\\\"token\\\":\\\"…\\\"}\",\"code\":\"malformed\"}\n",
    ),
    (
        "\n{\"token\":\"TOKEN\"}\n",
        "{\"type\":\"Error\",\"message\":\"the first line must be {\\\"token\\\":\\\"…\\\"}\",\"code\":\"malformed\"}\n",
    ),
    // A bad request is answered in its place, and the connection goes on.
    (
        "{\"token\":\"TOKEN\"}\n{\"type\":\"Nonsense\"}\nnonsense\n{\"type\":\"SetTitle\"}\n{\"type\":\"Exec\",\"command\":\"x\",\"args\":[]}\n{\"type\":\"Heartbeat\"}\n",
        "{\"type\":\"Error\",\"message\":\"unknown request 'Nonsense'\",\"code\":\"unknown_type\"}\n\
         {\"type\":\"Error\",\"message\":\"not valid JSON: expected ident at line 1 column 2\",\"code\":\"malformed\"}\n\
         {\"type\":\"Error\",\"message\":\"field 'title' is missing\",\"code\":\"bad_field\"}\n\
         {\"type\":\"Error\",\"message\":\"this host does not serve 'Exec'\",\"code\":\"unsupported\"}\n\
         {\"type\":\"Ok\"}\n",
    ),
    (
        "{\"token\":\"TOKEN\"}\n{\"type\":\"SetStatus\",\"status\":\"Done\",\"prompt\":null}\n{\"type\":\"SetTitle\",\"title\":\"#(a)\\tb\"}\n",
        "{\"type\":\"Ok\"}\n{\"type\":\"Ok\"}\n",
    ),
    // What the host refuses is told in one clean line.
    (
        "{\"token\":\"TOKEN\"}\n{\"type\":\"SetStatus\",\"status\":\"done\",\"prompt\":\"refuse\"}\n",
        "{\"type\":\"Error\",\"message\":\"no never\",\"code\":\"denied\"}\n",
    ),
    // Nothing at all.
    ("", ""),
];

#[tokio::test]
async fn conversations_are_the_same_over_both_sockets() {
    for over in BOTH {
        let host = Host::start(over).await;
        for (sent, expected) in TRANSCRIPTS {
            let answer = host.talk(sent.as_bytes()).await;
            assert_eq!(String::from_utf8_lossy(&answer), *expected, "{over:?}: {sent:?}");
        }
        assert_eq!(host.fake.calls(), ["Done None", "(a) b", "Done Some(\"refuse\")"]);
        host.all_free().await;
    }
}

#[tokio::test]
async fn a_conversation_cut_anywhere_is_the_same_conversation() {
    let host = Host::start(Over::Unix).await;
    let sent = format!("{}\n\n{HEARTBEAT}\n{{\"type\":\"X\"}}\n{HEARTBEAT}", host.opening());
    for cut in 1..sent.len() {
        let (mut read, mut write) = tokio::io::split(host.dial().await);
        write.write_all(&sent.as_bytes()[..cut]).await.unwrap();
        tokio::task::yield_now().await;
        write.write_all(&sent.as_bytes()[cut..]).await.unwrap();
        write.shutdown().await.unwrap();
        let mut answer = String::new();
        read.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.lines().map(code).collect::<Vec<_>>(), ["Ok", "unknown_type", "Ok"], "cut at {cut}");
    }
}

#[tokio::test]
async fn p45_the_token_of_another_run_is_a_wrong_one() {
    for over in BOTH {
        let (one, other) = (Host::start(over).await, Host::start(over).await);
        let answer = one.talk(format!("{}\n{HEARTBEAT}\n", other.opening()).as_bytes()).await;
        assert_eq!(code(&String::from_utf8(answer).unwrap()), "auth");
    }
}

#[tokio::test]
async fn p44_no_answer_and_no_note_holds_a_token() {
    let host = Host::start(Over::Unix).await;
    let token = host.token.clone();
    let mut heard = Vec::new();
    for line in [
        format!(r#"{{"token":"{token}x"}}"#),
        format!(r#"{{"token":"{token}","protocol":0}}"#),
        format!(r#"{{"token":"{token}","token":"{token}"}}"#),
        format!(r#"{{"token":["{token}"]}}"#),
        token.clone(),
    ] {
        heard.extend(host.talk(format!("{line}\n").as_bytes()).await);
    }
    let notes = host.fake.notes.lock().unwrap().join("\n");
    assert!(notes.lines().count() == 5 && !notes.contains(&token), "{notes}");
    assert!(!String::from_utf8(heard).unwrap().contains(&token));
    assert!(!format!("{:?}", host.server).contains(&token));
}

#[tokio::test]
async fn p39_the_same_request_id_is_one_spawn_with_one_answer() {
    let host = Host::start(Over::Unix).await;
    let spawn = |id: &str, prompt: &str| {
        format!(r#"{{"type":"SpawnAgent","prompt":"{prompt}","branch_name":"b","request_id":"{id}"}}"#)
    };
    let (mut first, mut second) = (host.guest().await, host.guest().await);
    first.say(&spawn("1", "wait")).await;
    host.fake.spawning.notified().await;
    second.say(&spawn("1", "wait")).await;
    // Different ids and no ids are different spawns.
    let other = host.codes(&format!("{}\n{}\n", spawn("2", "refuse"), spawn("2", "x"))).await;
    assert_eq!(other, ["quota", "quota"], "a refusal is remembered as well");
    host.fake.finish_spawn.notify_one();
    assert_eq!((first.hear().await, second.hear().await), (OK.to_owned(), OK.to_owned()));
    assert_eq!(host.fake.calls().len(), 2);
    let without = r#"{"type":"SpawnAgent","prompt":"x"}"#;
    assert_eq!(host.codes(&format!("{without}\n{without}\n")).await, ["Ok", "Ok"]);
    assert_eq!(host.fake.calls().len(), 4);
}

#[tokio::test]
async fn a_supervisor_that_cannot_spawn_or_has_no_descendants_says_so() {
    struct Bare;
    #[async_trait]
    impl HostActions for Bare {
        async fn set_status(&self, _: Status, _: Option<String>) -> Result<(), Refusal> {
            Ok(())
        }
        async fn set_title(&self, _: Title) -> Result<(), Refusal> {
            Ok(())
        }
    }
    for request in [FamilyRequest::Status, FamilyRequest::Close { name: "x".into() }] {
        assert_eq!(Bare.family(request).await.unwrap_err().code, Code::Unsupported);
    }
    let request = SpawnAgent { prompt: "x".into(), branch_name: None, background: false };
    assert_eq!(Bare.spawn_agent(request).await.unwrap_err().code, Code::Unsupported);
}
