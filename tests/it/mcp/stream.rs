//! The event stream of an MCP server, and posts to it: what `curl -N` shows.

use crate::support::{EventStream, Request, Server};
use serde_json::Value;
use std::net::{Shutdown, TcpStream};

/// An open event stream.
pub struct Stream {
    lines: EventStream,
    socket: TcpStream,
}

impl Stream {
    /// `GET /sse` with this query; the endpoint event is still unread.
    pub fn open(server: &Server, query: &str) -> Self {
        Self::send(server, &Request::new("GET", &format!("/sse{query}")))
    }

    /// A session with this id, whose endpoint event was read.
    pub fn session(server: &Server, id: &str) -> Self {
        let mut stream = Self::open(server, &format!("?sessionId={id}"));
        let endpoint = stream.event();
        assert_eq!(
            endpoint,
            ("endpoint".into(), format!("/messages?sessionId={id}"))
        );
        stream
    }

    /// Sends a request whose answer must be an event stream.
    pub fn send(server: &Server, request: &Request<'_>) -> Self {
        let socket = server.begin(request);
        let lines = EventStream::new(socket.try_clone().unwrap());
        let head = &lines.head;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        for field in [
            "Content-Type: text/event-stream",
            "Cache-Control: no-cache, no-transform",
            "X-Accel-Buffering: no",
        ] {
            assert!(head.contains(field), "{field} in {head}");
        }
        Self { lines, socket }
    }

    /// The name and data of the next event; comments are skipped. Fails at the end of the stream.
    pub fn event(&mut self) -> (String, String) {
        self.next().expect("the stream goes on")
    }

    /// As [`Stream::event`], or `None` at the end of the stream.
    pub fn next(&mut self) -> Option<(String, String)> {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            let line = self.lines.try_line().ok()??;
            match line.split_once(": ") {
                Some(("event", value)) => name = value.to_owned(),
                Some(("data", value)) => data = value.to_owned(),
                _ if line.is_empty() && !name.is_empty() => return Some((name, data)),
                _ => assert!(line.is_empty() || line.starts_with(':'), "{line:.200}"),
            }
        }
    }

    /// The next message.
    pub fn message(&mut self) -> Value {
        let (name, data) = self.event();
        assert_eq!(name, "message");
        assert!(data.len() <= 900_000, "an event of {} bytes", data.len());
        serde_json::from_str(&data).unwrap()
    }

    /// The next response, and the notifications before it.
    pub fn response(&mut self) -> (Value, Vec<Value>) {
        let mut told = Vec::new();
        loop {
            let message = self.message();
            if message.get("method").is_none() {
                return (message, told);
            }
            told.push(message);
        }
    }

    /// Closes the connection.
    pub fn close(self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Posts a message to a session of `/sse`; it must be answered with 202.
pub fn post(server: &Server, id: &str, message: &Value) {
    let path = format!("/messages?sessionId={id}");
    let answer = server.request("POST", &path, &message.to_string());
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!((answer.status, body.as_str()), (202, "Accepted"));
}
