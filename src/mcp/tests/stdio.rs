//! The stdio transport, on a reader and a writer.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// The output, shared with the writer's thread.
#[derive(Clone, Default)]
struct Out(Arc<std::sync::Mutex<Vec<u8>>>);

impl io::Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Serves this input to its end and returns the lines of the output.
fn serve(mcp: &Mcp, input: Vec<u8>) -> Vec<Value> {
    let out = Out::default();
    crate::mcp::stdio::serve(mcp, Cursor::new(input), out.clone(), FLUSH_TIMEOUT).unwrap();
    let written = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    let lines = written.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn stdio_answers_each_line_and_ends_with_its_input() {
    let mcp = server();
    let input = format!(
        "{}\n\n{LIST}\r\nrubbish\n[{LIST}]\n{}\n",
        r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#,
        run("forever", None)
    );
    let lines = serve(&mcp, input.into_bytes());
    assert_eq!(lines[0]["result"]["protocolVersion"], "2024-11-05");
    assert_eq!(lines[1]["id"], 1);
    assert_eq!(lines[2]["error"]["code"], -32700);
    assert_eq!(
        lines[3]["error"]["code"], -32600,
        "no batches in 2024-11-05"
    );
    let last = lines.last().unwrap();
    assert_eq!(
        last["result"]["structuredContent"]["status"],
        "error: cancelled"
    );
    assert_eq!(mcp.counts(), Counts::default());
    mcp.close();
}

#[test]
fn corrupt_lines_never_end_the_connection() {
    let mcp = server();
    let modern = run("alpine", Some("2026-07-28"));
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    let whole = [LIST, modern.as_str(), cancel];
    // A generator of its own, so that every test run has the same lines.
    let mut seed = 7_u64;
    let mut next = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    let mut input = Vec::new();
    for _ in 0..3_000 {
        let mut line = whole[next(whole.len())].as_bytes().to_vec();
        for _ in 0..=next(3) {
            let place = next(line.len());
            match next(3) {
                0 => line[place] = b"{}[]\",:0e-\\\xff"[next(12)],
                1 => line.truncate(place.max(1)),
                _ => drop(line.remove(place)),
            }
            line.push(b'}');
        }
        line.retain(|byte| *byte != b'\n');
        input.extend_from_slice(&line);
        input.push(b'\n');
    }
    let last = r#"{"jsonrpc":"2.0","id":"the last","method":"ping"}"#;
    input.extend_from_slice(last.as_bytes());
    let answers = serve(&mcp, input);
    assert!(answers.len() > 1_000, "{}", answers.len());
    let validator = validator(Revision::V2025_11_25, "JSONRPCMessage");
    for answer in &answers {
        assert!(validator.is_valid(answer), "{answer:.500}");
    }
    assert!(answers.iter().any(|answer| answer["id"] == "the last"));
    assert_eq!(mcp.counts(), Counts::default());
    mcp.close();
}

/// An input that counts the bytes that were read.
struct Counted {
    input: Cursor<Vec<u8>>,
    read: Arc<AtomicUsize>,
}

impl io::Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(into)?;
        self.read.fetch_add(count, Ordering::Relaxed);
        Ok(count)
    }
}

impl io::BufRead for Counted {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }
    fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.read.fetch_add(count, Ordering::Relaxed);
    }
}

/// An output that nobody reads.
struct Stalled(Cancel);

impl io::Write for Stalled {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        let _ = self.0.done().recv();
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn closing_waits_neither_for_a_client_that_does_not_read_nor_for_its_calls() {
    let mcp = server();
    // Without progress, so that nothing but responses waits.
    let first = run("forever", None).replace("progressToken", "other") + "\n";
    let line = format!("{LIST}\n");
    let read = Arc::new(AtomicUsize::new(0));
    let input = Counted {
        input: Cursor::new((first.clone() + &line.repeat(400)).into_bytes()),
        read: Arc::clone(&read),
    };
    let (released, serving) = (Cancel::new(), mcp.clone());
    let output = Stalled(released.clone());
    let thread = std::thread::spawn(move || {
        crate::mcp::stdio::serve(&serving, input, output, FLUSH_TIMEOUT)
    });
    // One response is being written and 256 wait: no other has room, that of the call neither.
    until(|| read.load(Ordering::Relaxed) >= first.len() + 258 * line.len());
    assert_eq!(mcp.counts().calls, 1);
    let begun = std::time::Instant::now();
    mcp.close();
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(mcp.counts(), Counts::default());
    released.fire();
    thread.join().unwrap().unwrap();
}
