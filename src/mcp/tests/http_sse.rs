//! HTTP+SSE: session ids, refusals, and how sessions end.

use super::*;
use crate::mcp::http_sse::{open, post};

/// An SSE client; a thread writes its stream into a channel.
struct SseClient {
    pieces: crossbeam_channel::Receiver<String>,
    disconnected: Cancel,
    draining: Cancel,
    thread: std::thread::JoinHandle<()>,
}

struct Pieces(crossbeam_channel::Sender<String>);

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Responses to a batch are written together.
        for event in String::from_utf8_lossy(bytes).split_inclusive("\n\n") {
            self.0.send(event.to_owned()).map_err(io::Error::other)?;
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn connect(mcp: &Mcp, path: &str, headers: &[(&str, &str)]) -> SseClient {
    let request = http("GET", path, headers, "");
    let (disconnected, draining) = (request.cancel.clone(), request.draining.clone());
    let ReplyBody::Stream(write) = open(mcp, &request).body else {
        panic!("no stream");
    };
    let (sender, pieces) = crossbeam_channel::unbounded();
    let thread = std::thread::spawn(move || {
        let _ = write(&mut StreamWriter::new(&mut Pieces(sender)));
    });
    SseClient {
        pieces,
        disconnected,
        draining,
        thread,
    }
}

impl SseClient {
    fn event(&self) -> String {
        loop {
            let piece = self.pieces.recv_timeout(Duration::from_secs(10)).unwrap();
            if !piece.starts_with(':') {
                return piece;
            }
        }
    }
    fn message(&self) -> Value {
        let event = self.event();
        let data = event
            .strip_prefix("event: message\ndata: ")
            .and_then(|rest| rest.strip_suffix("\n\n"))
            .unwrap();
        serde_json::from_str(data).unwrap()
    }
}

#[test]
fn a_session_gets_the_chosen_id_unless_it_is_in_use() {
    let mcp = server();
    let first = connect(&mcp, "/sse?sessionId=test123", &[]);
    assert_eq!(
        first.event(),
        "event: endpoint\ndata: /messages?sessionId=test123\n\n"
    );
    let second = connect(&mcp, "/sse?sessionId=test123", &[]);
    assert!(!second.event().contains("test123"));
    let bad = connect(&mcp, "/sse?sessionId=a/b", &[]);
    assert!(!bad.event().contains("a/b"));
    for (path, headers, body, status) in [
        ("/messages?sessionId=test123", vec![], LIST, 202),
        ("/messages?session_id=test123", vec![], LIST, 202),
        ("/messages", vec![], LIST, 400),
        ("/messages?sessionId=", vec![], LIST, 400),
        ("/messages?sessionId=other", vec![], LIST, 404),
        (
            "/messages?sessionId=test123",
            vec![("content-type", "text/plain")],
            LIST,
            415,
        ),
        ("/messages?sessionId=test123", vec![], "{", 400),
        ("/messages?sessionId=test123", vec![], "[]", 400),
        ("/messages?sessionId=test123", vec![], "[{}]", 400),
    ] {
        let reply = post(&mcp, http("POST", path, &headers, body));
        assert_eq!(reply.status, status, "{path} {headers:?} {body}");
    }
    assert_eq!(first.message()["id"], 1);
    assert_eq!(first.message()["id"], 1);
    let comment = first.pieces.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(comment, ": keepalive\n\n");
    for (method, reply) in [
        ("POST", open(&mcp, &http("POST", "/sse", &[], ""))),
        ("GET", post(&mcp, http("GET", "/messages", &[], ""))),
    ] {
        assert_eq!(reply.status, 405, "{method}");
    }
    for client in [first, second, bad] {
        client.disconnected.fire();
        client.thread.join().unwrap();
    }
    assert_eq!(mcp.counts(), Counts::default());
    mcp.close();
}

#[test]
fn a_session_that_ends_cancels_its_runs() {
    let mcp = server();
    for end in ["gone", "written to no more", "drained"] {
        let client = connect(&mcp, "/sse?sessionId=s", &[]);
        client.event();
        let posted = post(
            &mcp,
            http("POST", "/messages?sessionId=s", &[], &run("forever", None)),
        );
        assert_eq!(posted.status, 202, "{end}");
        until(|| mcp.counts().calls == 1);
        match end {
            "gone" => client.disconnected.fire(),
            "written to no more" => drop(client.pieces),
            _ => {
                client.draining.fire();
                client.disconnected.fire();
            }
        }
        client.thread.join().unwrap();
        until(|| mcp.counts() == Counts::default());
    }
    mcp.close();
}

#[test]
fn a_slow_readers_session_ends_and_a_post_never_waits_for_it() {
    let settings = Settings {
        queue_messages: 4,
        ..Settings::default()
    };
    let mcp = with_settings(settings);
    let request = http("GET", "/sse?sessionId=slow", &[], "");
    let reply = open(&mcp, &request);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(post(&mcp, http("POST", "/messages?sessionId=slow", &[], LIST)).status);
    }
    assert_eq!(
        statuses,
        [202, 202, 202, 202, 202, 404],
        "posting never waits for the reader"
    );
    let written = text(reply);
    assert!(written.starts_with("event: endpoint"));
    assert_eq!(mcp.counts(), Counts::default());
    mcp.close();
}

#[test]
fn batches_are_accepted_only_in_the_revision_that_has_them() {
    let mcp = server();
    let client = connect(&mcp, "/sse?sessionId=b", &[]);
    client.event();
    let batch = format!(
        r#"[{LIST},{{"jsonrpc":"2.0","method":"notifications/x"}},7,{}]"#,
        LIST.replace(":1,", ":2,")
    );
    let post = |body: &str| post(&mcp, http("POST", "/messages?sessionId=b", &[], body));
    for (version, status) in [
        ("2024-11-05", 400),
        ("2025-11-25", 400),
        ("2025-03-26", 202),
    ] {
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": {"protocolVersion": version}});
        assert_eq!(post(&hello.to_string()).status, 202);
        assert_eq!(client.message()["result"]["protocolVersion"], version);
        assert_eq!(post(&batch).status, status, "{version}");
    }
    assert_eq!(client.message()["id"], 1);
    assert_eq!(client.message()["error"]["code"], -32600);
    assert_eq!(client.message()["id"], 2);
    client.disconnected.fire();
    client.thread.join().unwrap();
    mcp.close();
}

#[test]
fn chosen_ids_can_be_disabled() {
    let settings = Settings {
        client_session_ids: false,
        ..Settings::default()
    };
    let mcp = with_settings(settings);
    let client = connect(&mcp, "/sse?sessionId=test123", &[]);
    let endpoint = client.event();
    let id = endpoint
        .trim_end()
        .rsplit_once('=')
        .map(|(_, id)| id.to_owned())
        .unwrap();
    assert_eq!(id.len(), 32, "{endpoint}");
    client.disconnected.fire();
    client.thread.join().unwrap();
    mcp.close();
}

#[test]
fn the_number_of_sessions_is_limited() {
    let settings = Settings {
        max_sessions: 1,
        ..Settings::default()
    };
    let mcp = with_settings(settings);
    let first = open(&mcp, &http("GET", "/sse", &[], ""));
    assert_eq!(open(&mcp, &http("GET", "/sse", &[], "")).status, 503);
    drop(first);
    assert_eq!(open(&mcp, &http("GET", "/sse", &[], "")).status, 200);
    mcp.close();
}
