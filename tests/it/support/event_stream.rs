//! A streamed answer, read line by line or event by event while it arrives.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;

/// An answer whose head has been read.
pub struct EventStream {
    pub head: String,
    chunks: BufReader<TcpStream>,
    /// The part of the body that was received and not yet returned as lines.
    pending: Vec<u8>,
}

impl EventStream {
    pub fn new(stream: TcpStream) -> Self {
        let mut chunks = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(chunks.read_line(&mut head).unwrap() > 0, "cut: {head}");
        }
        Self {
            head,
            chunks,
            pending: Vec::new(),
        }
    }

    /// The next line of the body; `None` at its end. A body that is cut is a failure.
    pub fn line(&mut self) -> Option<String> {
        self.try_line().expect("a whole body")
    }

    /// As [`EventStream::line`], with an error for a body that is cut.
    pub fn try_line(&mut self) -> std::io::Result<Option<String>> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line = self.pending.drain(..=end).take(end).collect();
                return Ok(Some(String::from_utf8(line).expect("UTF-8")));
            }
            let mut size = String::new();
            self.chunks.read_line(&mut size)?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(std::io::Error::other)?;
            let mut chunk = vec![0; size + 2];
            self.chunks.read_exact(&mut chunk)?;
            if size == 0 {
                assert!(self.pending.is_empty(), "an unfinished line");
                return Ok(None);
            }
            self.pending.extend_from_slice(&chunk[..size]);
        }
    }

    /// The next server-sent event: its id, name and data.
    pub fn event(&mut self) -> Option<(String, String, Value)> {
        let (mut id, mut name, mut data) = (String::new(), String::new(), Value::Null);
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("id", value)) => id = value.into(),
                Some(("event", value)) => name = value.into(),
                Some(("data", value)) => data = serde_json::from_str(value).unwrap(),
                _ if line.is_empty() && !name.is_empty() => return Some((id, name, data)),
                _ => {}
            }
        }
    }

    /// The name and data of every event up to the end.
    pub fn events(mut self) -> Vec<(String, Value)> {
        std::iter::from_fn(|| self.event())
            .map(|(_, name, data)| (name, data))
            .collect()
    }

    /// Skips to the next event with this name. Returns its data.
    pub fn until(&mut self, wanted: &str) -> Value {
        loop {
            let (_, name, data) = self.event().expect("the event comes");
            if name == wanted {
                return data;
            }
        }
    }
}
