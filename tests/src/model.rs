//! A stand-in for a model's API, good enough for real agents: it asks for tool calls, one after the other, and is content
//! with the answers. Which calls is told by a word of the agent's task, so that several agents can talk to it at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

/// The model. It serves as long as the test program runs.
pub struct Model {
    port: u16,
    results: Arc<Mutex<Vec<String>>>,
}

/// What it has agents do.
struct Play {
    /// A word of the task, and the commands that its agent runs by its tool `Bash`.
    parts: Vec<(String, Vec<String>)>,
    /// What it says when all are done.
    reply: String,
    results: Arc<Mutex<Vec<String>>>,
}

impl Model {
    /// Has the agent run `command` by its tool `Bash`, and then say `reply`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(command: &str, reply: &str) -> Self {
        Self::play(&[("", &[command])], reply)
    }

    /// Has the agent whose task holds a part's word run the part's commands one after the other, and then say `reply`.
    /// Of several parts that fit, the first counts.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn play(parts: &[(&str, &[&str])], reply: &str) -> Self {
        // Containers of every engine reach this machine by its own address, and only by that.
        let listener = TcpListener::bind("0.0.0.0:0").expect("a free port");
        let port = listener.local_addr().expect("it has an address").port();
        let results = Arc::new(Mutex::new(Vec::new()));
        let part = |(word, commands): &(&str, &[&str])| {
            ((*word).to_owned(), commands.iter().map(|command| (*command).to_owned()).collect())
        };
        let parts = parts.iter().map(part).collect();
        let play = Arc::new(Play { parts, reply: reply.to_owned(), results: Arc::clone(&results) });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let play = Arc::clone(&play);
                std::thread::spawn(move || _ = serve(&stream, &play));
            }
        });
        Self { port, results }
    }

    /// Where a container finds it.
    ///
    /// # Panics
    /// Where this machine has no network.
    pub fn url(&self) -> String {
        // Nothing is sent: this asks for the address that leads out.
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.connect("192.0.2.1:9").expect("a route out of this machine");
        let IpAddr::V4(ip) = socket.local_addr().expect("it has an address").ip() else { panic!("IPv4 only") };
        format!("http://{ip}:{}", self.port)
    }

    /// What the tool calls came to, as the agents told it.
    pub fn results(&self) -> Vec<String> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers the requests of one connection.
fn serve(stream: &TcpStream, play: &Play) -> std::io::Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            if header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let request: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (status, kind, text) = match (method.as_str(), path.contains("count_tokens")) {
            ("POST", true) => ("200 OK", "application/json", json!({"input_tokens": 1}).to_string()),
            ("POST", false) => {
                let (kind, text) = play.answer(&request);
                ("200 OK", kind, text)
            }
            ("HEAD", _) => ("200 OK", "text/plain", String::new()),
            _ => ("404 Not Found", "text/plain", String::new()),
        };
        write!(writer, "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{text}", text.len())?;
        writer.flush()?;
    }
}

impl Play {
    fn answer(&self, request: &Value) -> (&'static str, String) {
        let messages = request["messages"].as_array().cloned().unwrap_or_default();
        let parts_of = |message: &Value| message["content"].as_array().cloned().unwrap_or_default();
        let results = |message: &Value| -> Vec<Value> {
            parts_of(message).into_iter().filter(|part| part["type"] == "tool_result").collect()
        };
        let done: usize = messages.iter().map(|message| results(message).len()).sum();
        let last = messages.last().map(results).unwrap_or_default();
        let task = messages.first().map(|message| message["content"].to_string()).unwrap_or_default();
        let has_tool = request["tools"].as_array().is_some_and(|tools| tools.iter().any(|t| t["name"] == "Bash"));
        let part = self.parts.iter().find(|(word, _)| task.contains(word.as_str()));
        let next = part.and_then(|(_, commands)| commands.get(done)).filter(|_| has_tool);
        let mut message = json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": request["model"], "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1},
        });
        if request["stream"] != true {
            message["content"] = json!([{"type": "text", "text": self.reply}]);
            message["stop_reason"] = "end_turn".into();
            return ("application/json", message.to_string());
        }
        let (block, delta, stop) = match next {
            Some(command) => (
                json!({"type": "tool_use", "id": format!("toolu_{}", done + 1), "name": "Bash", "input": {}}),
                json!({"type": "input_json_delta", "partial_json": json!({"command": command}).to_string()}),
                "tool_use",
            ),
            None => {
                (json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": self.reply}), "end_turn")
            }
        };
        let mut told = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        told.extend(last.iter().map(|result| result["content"].to_string()));
        let events = [
            json!({"type": "message_start", "message": message}),
            json!({"type": "content_block_start", "index": 0, "content_block": block}),
            json!({"type": "content_block_delta", "index": 0, "delta": delta}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null}, "usage": {"output_tokens": 1}}),
            json!({"type": "message_stop"}),
        ];
        let line = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default());
        ("text/event-stream", events.iter().map(line).collect())
    }
}
