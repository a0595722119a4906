//! What the RPC service costs: round trips of a Heartbeat against round trips of the same bytes through a bare echo, in
//! interleaved pairs, directly over the unix socket and through the guest's relay.
//!
//! The guest's end is the real guest program as first process, without a sandbox around it: the sandbox adds nothing to
//! a socket. Prints one JSON object: for each route, pairs of microseconds a round trip, ours first. `cargo xtask bench`
//! runs it and says what the ratios may be.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and fails loudly")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use workmux::multiplexer::{Status, Title};
use workmux::rpc::{HostActions, Limits, Listener, Refusal, Server, Token};
use workmux_guest::control::{FromGuest, Start, ToGuest};
use workmux_guest::{CONTROL_SOCKET, RPC_SOCKET};

const HEARTBEAT: &[u8] = b"{\"type\":\"Heartbeat\"}\n";
const OK: &[u8] = b"{\"type\":\"Ok\"}\n";
const TRIPS: usize = 400;
const PAIRS: usize = 40;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if let Some(at) = words.iter().position(|w| w == "--client") {
        return client(&words[at + 1..]);
    }
    let (service, echo) = (Side::service(), Side::echo());
    let mut report = serde_json::Map::new();
    for route in ["direct", "relayed"] {
        let (mut a, mut b) = (service.client(route), echo.client(route));
        // Warm both.
        a.batch();
        b.batch();
        let pairs: Vec<(f64, f64)> = (0..PAIRS).map(|_| (a.batch(), b.batch())).collect();
        report.insert(route.into(), serde_json::json!(pairs));
    }
    println!("{}", serde_json::Value::Object(report));
}

/// A directory of sockets with something that answers in it.
struct Side {
    directory: tempfile::TempDir,
    token: String,
}

impl Side {
    /// The real service, on a runtime like the supervisor's.
    fn service() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let token = Token::fresh().unwrap();
        let secret = token.reveal().to_owned();
        let path = directory.path().join(RPC_SOCKET);
        let (ready, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = Listener::unix(&path).unwrap();
                let _server = Server::start(listener, token, Arc::new(Nothing), Limits::default());
                ready.send(()).unwrap();
                std::future::pending::<()>().await;
            });
        });
        wait.recv().unwrap();
        Self { directory, token: secret }
    }

    /// As little as can be: a line in, a line out, after one line that opens.
    fn echo() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(RPC_SOCKET)).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let mut lines = BufReader::new(stream.try_clone().unwrap());
                    let mut line = Vec::new();
                    lines.read_until(b'\n', &mut line).unwrap();
                    while {
                        line.clear();
                        lines.read_until(b'\n', &mut line).unwrap() > 0
                    } {
                        stream.write_all(OK).unwrap();
                    }
                });
            }
        });
        Self { directory, token: "0".repeat(64) }
    }

    /// A client as the first process's command.
    fn client(&self, route: &str) -> Client {
        let control = self.directory.path().join(CONTROL_SOCKET);
        let _from_before = std::fs::remove_file(&control);
        let listener = UnixListener::bind(&control).unwrap();
        let guest =
            std::env::var_os("WORKMUX_GUEST").map(PathBuf::from).expect("WORKMUX_GUEST names the guest program");
        let mut first =
            Command::new(guest).arg("init").arg(&control).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut lifeline, _) = listener.accept().unwrap();
        assert!(matches!(FromGuest::read_from(&mut lifeline).unwrap(), Some(FromGuest::Hello { .. })));
        let program = std::env::current_exe().unwrap();
        let words =
            [program.to_str().unwrap(), "--client", route, self.directory.path().to_str().unwrap(), &self.token];
        let start = Start {
            argv: words.iter().map(|w| w.as_bytes().to_vec()).collect(),
            env: vec![b"PATH=/usr/bin:/bin".to_vec()],
            cwd: b"/".to_vec(),
            relay: true,
            ..Start::default()
        };
        ToGuest::Start(start).write_to(&mut lifeline).unwrap();
        let (ask, told) = (first.stdin.take().unwrap(), BufReader::new(first.stdout.take().unwrap()));
        Client { first, ask, told, _lifeline: lifeline }
    }
}

/// A client that runs a batch when it is told to.
struct Client {
    first: Child,
    ask: ChildStdin,
    told: BufReader<ChildStdout>,
    _lifeline: UnixStream,
}

impl Client {
    /// Microseconds a round trip.
    fn batch(&mut self) -> f64 {
        self.ask.write_all(b"go\n").unwrap();
        let mut line = String::new();
        self.told.read_line(&mut line).unwrap();
        line.trim().parse().expect("the client answers with a number")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _gone = self.first.kill();
        let _reaped = self.first.wait();
    }
}

fn client(words: &[String]) {
    let [route, directory, token] = words else { panic!("--client ROUTE DIRECTORY TOKEN") };
    let opening = format!("{{\"token\":\"{token}\"}}\n");
    if route == "direct" {
        batches(UnixStream::connect(Path::new(directory).join(RPC_SOCKET)).unwrap(), &opening);
    } else {
        let port: u16 = std::env::var("WM_RPC_PORT").unwrap().parse().unwrap();
        let stream = TcpStream::connect((std::env::var("WM_RPC_HOST").unwrap().as_str(), port)).unwrap();
        stream.set_nodelay(true).unwrap();
        batches(stream, &opening);
    }
}

fn batches(mut stream: impl Read + Write, opening: &str) {
    stream.write_all(opening.as_bytes()).unwrap();
    let mut answer = [0; OK.len()];
    for _told in std::io::stdin().lines() {
        let started = Instant::now();
        for _ in 0..TRIPS {
            stream.write_all(HEARTBEAT).unwrap();
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, OK);
        }
        println!("{}", started.elapsed().as_secs_f64() * 1e6 / TRIPS as f64);
    }
}

struct Nothing;

#[async_trait::async_trait]
impl HostActions for Nothing {
    async fn set_status(&self, _status: Status, _prompt: Option<String>) -> Result<(), Refusal> {
        Ok(())
    }
    async fn set_title(&self, _title: Title) -> Result<(), Refusal> {
        Ok(())
    }
}
