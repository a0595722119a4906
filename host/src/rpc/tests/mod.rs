//! The service as a guest meets it: the same bytes over a unix socket and over TCP.

mod bounds;
mod family;
mod faults;
mod memory;
mod transcripts;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use workmux_guest::words::Code;

use super::*;
use crate::multiplexer::{Status, Title};

const HEARTBEAT: &str = r#"{"type":"Heartbeat"}"#;
const OK: &str = r#"{"type":"Ok"}"#;
/// Where a service that is broken would let a test wait for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the fake supervisor was asked, and how it behaves.
#[derive(Default)]
struct Fake {
    calls: Mutex<Vec<String>>,
    notes: Mutex<Vec<String>>,
    /// While a spawn with the prompt `wait` is under way.
    spawning: Notify,
    finish_spawn: Notify,
    /// While a request about the agent `wait` is under way.
    asking: Notify,
    finish_asking: Notify,
    /// Spawns that were dropped before their end.
    dropped: Arc<Mutex<usize>>,
}

struct CountDrop(Arc<Mutex<usize>>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += 1;
    }
}

impl Fake {
    fn called(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

#[async_trait]
impl HostActions for Fake {
    async fn set_status(&self, status: Status, prompt: Option<String>) -> Result<(), Refusal> {
        self.called(format!("{status:?} {prompt:?}"));
        match prompt.as_deref() {
            Some("hang") => std::future::pending().await,
            Some("refuse") => Err(Refusal::new(Code::Denied, "no\u{1b}[31m\nnever")),
            _ => Ok(()),
        }
    }

    async fn set_title(&self, title: Title) -> Result<(), Refusal> {
        assert_ne!(title.as_str(), "panic", "as asked");
        self.called(title.as_str().to_owned());
        Ok(())
    }

    async fn spawn_agent(&self, request: SpawnAgent) -> Result<(), Refusal> {
        self.called(format!("{request:?}"));
        match request.prompt.as_str() {
            "wait" => {
                let unfinished = CountDrop(self.dropped.clone());
                self.spawning.notify_one();
                self.finish_spawn.notified().await;
                std::mem::forget(unfinished);
                Ok(())
            }
            "hang" => std::future::pending().await,
            "panic" => panic!("as asked"),
            "refuse" => Err(Refusal::new(Code::Quota, "8 agents live already")),
            _ => Ok(()),
        }
    }

    async fn family(&self, request: FamilyRequest) -> Result<Vec<String>, Refusal> {
        self.called(format!("{request:?}"));
        let name = match &request {
            FamilyRequest::Status => "",
            FamilyRequest::Wait { names, .. } => &names[0],
            FamilyRequest::Merge(MergeRequest { name, .. }) => name,
            FamilyRequest::Send { name, .. } | FamilyRequest::Capture { name, .. } | FamilyRequest::Close { name } => {
                name
            }
        };
        match name {
            "" => Ok(vec!["[]".to_owned()]),
            "three" => Ok(vec!["one\n\ttwo".to_owned(), String::new(), "a\u{1b}[31mb\u{202e}\r\nc".to_owned()]),
            "long" => Ok(vec!["é\"\n".repeat(200_000), "x".repeat(1000)]),
            "wait" => {
                let unfinished = CountDrop(self.dropped.clone());
                self.asking.notify_one();
                self.finish_asking.notified().await;
                std::mem::forget(unfinished);
                Ok(vec!["[1]".to_owned()])
            }
            "hang" => std::future::pending().await,
            "panic" => panic!("as asked"),
            "refuse" => Err(Refusal::new(Code::NotFound, "no such agent\u{1b}[31m\nnever")),
            _ => Ok(vec![]),
        }
    }

    fn note(&self, line: &str, _journaled: bool) {
        self.notes.lock().unwrap().push(line.to_owned());
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Over {
    Unix,
    Tcp,
}

const BOTH: [Over; 2] = [Over::Unix, Over::Tcp];

/// A running service and how to reach it.
struct Host {
    server: Server,
    fake: Arc<Fake>,
    token: String,
    place: Place,
    _dir: tempfile::TempDir,
}

#[derive(Debug, Clone)]
enum Place {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

impl Host {
    async fn start(over: Over) -> Self {
        Self::limited(over, Limits::default()).await
    }

    async fn limited(over: Over, limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (listener, place) = match over {
            Over::Unix => {
                let path = dir.path().join("rpc");
                (Listener::unix(&path).unwrap(), Place::Unix(path))
            }
            Over::Tcp => {
                let listener = Listener::tcp("127.0.0.1".parse().unwrap(), false).await.unwrap();
                let address = listener.tcp_address().unwrap();
                (listener, Place::Tcp(address))
            }
        };
        let (token, fake) = (Token::fresh().unwrap(), Arc::new(Fake::default()));
        let text = token.reveal().to_owned();
        Self { server: Server::start(listener, token, fake.clone(), limits), fake, token: text, place, _dir: dir }
    }

    async fn dial(&self) -> Box<dyn Io> {
        match &self.place {
            Place::Unix(path) => Box::new(UnixStream::connect(path).await.unwrap()),
            Place::Tcp(address) => Box::new(TcpStream::connect(address).await.unwrap()),
        }
    }

    /// A connection that has shown the token and was answered once.
    async fn guest(&self) -> Guest {
        let mut guest = self.stranger().await;
        guest.say(&self.opening()).await;
        assert_eq!(guest.ask(HEARTBEAT).await, OK);
        guest
    }

    /// A connection that has said nothing.
    async fn stranger(&self) -> Guest {
        Guest(BufReader::new(self.dial().await))
    }

    fn opening(&self) -> String {
        format!(r#"{{"token":"{}"}}"#, self.token)
    }

    /// Sends these bytes (`TOKEN` stands for the token), ends the sending side, and gives all that comes back.
    async fn talk(&self, bytes: &[u8]) -> Vec<u8> {
        let bytes = replace(bytes, b"TOKEN", self.token.as_bytes());
        let (mut read, mut write) = tokio::io::split(self.dial().await);
        let sending = async {
            // The host may stop listening half-way: what it said then is what counts.
            let _closed = write.write_all(&bytes).await;
            let _closed = write.shutdown().await;
        };
        let mut answer = Vec::new();
        let (_, _reset) = tokio::join!(sending, read.read_to_end(&mut answer));
        answer
    }

    /// The `code`s (`Ok` for `Ok`) of the answers to these lines after the opening.
    async fn codes(&self, lines: &str) -> Vec<String> {
        let answer = self.talk(format!("{}\n{lines}", self.opening()).as_bytes()).await;
        String::from_utf8(answer).unwrap().lines().map(code).collect()
    }

    /// Waits until every slot is free again.
    async fn all_free(&self) {
        let limits = Limits::default();
        let strangers = self.server.strangers.acquire_many(limits.strangers as u32);
        drop(tokio::time::timeout(PATIENCE, strangers).await.expect("strangers' slots").unwrap());
        let seats = self.server.seats.acquire_many(limits.connections as u32);
        drop(tokio::time::timeout(PATIENCE, seats).await.expect("seats").unwrap());
    }
}

/// A client's end of a connection.
struct Guest(BufReader<Box<dyn Io>>);

impl Guest {
    async fn say(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// The next answer; empty at the end.
    async fn hear(&mut self) -> String {
        let mut line = String::new();
        // A connection that is closed with bytes unread may be reset: an end as well.
        let _reset = self.0.read_line(&mut line).await;
        line.trim_end().to_owned()
    }

    async fn ask(&mut self, line: &str) -> String {
        self.say(line).await;
        self.hear().await
    }
}

/// The `code` of an answer, or its `type`.
fn code(answer: &str) -> String {
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap_or_else(|e| panic!("{answer:?}: {e}"));
    answer.get("code").unwrap_or(&answer["type"]).as_str().unwrap().to_owned()
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    match bytes.windows(from.len()).position(|part| part == from) {
        Some(at) => [&bytes[..at], to, &bytes[at + from.len()..]].concat(),
        None => bytes.to_vec(),
    }
}
