//! The stdio transport: one message per line in each direction, until the input ends.
//! <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#stdio>

use super::context::CallContext;
use super::jsonrpc::{self, Refusal};
use super::outgoing::{ChannelSender, Outgoing};
use super::server::Mcp;
use crate::cancel::Never;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;
use std::time::Duration;

/// Messages that may wait for a slow reader.
const CAPACITY: usize = 256;
/// Longest line, in bytes.
const LONGEST_LINE: u64 = 512 << 20;

/// Serves one client. Blocks until the input ends; then cancels the running calls and waits until their responses are
/// written, at most `flush_timeout`. Errors: the input cannot be read, or the writer's thread cannot be spawned.
pub fn serve(
    mcp: &Mcp,
    mut input: impl BufRead,
    output: impl Write + Send + 'static,
    flush_timeout: Duration,
) -> io::Result<()> {
    let (sender, messages) = ChannelSender::new(CAPACITY);
    let (writing, written) = bounded::<Never>(0);
    std::thread::Builder::new()
        .name("mcp-stdout".into())
        .spawn(move || {
            write(output, &messages);
            drop(writing);
        })?;
    let client = mcp.new_client();
    let sender = sender.until(mcp.closed().clone());
    let context = CallContext::new(&client, Arc::new(sender));
    let ended = read(mcp, &mut input, &context);
    client.calls.close();
    // The calls hold the other clones of the sender: the writer ends after the last of them.
    drop(context);
    if let Err(RecvTimeoutError::Timeout) = written.recv_timeout(flush_timeout) {
        log::warn!("the last answers were not read");
    }
    ended
}

/// Writes every message until the senders are dropped or the output fails.
fn write(mut output: impl Write, messages: &Receiver<Outgoing>) {
    for message in messages {
        let mut line = message.into_value().to_string();
        line.push('\n');
        if let Err(error) = output
            .write_all(line.as_bytes())
            .and_then(|()| output.flush())
        {
            // The receiver is dropped: from now on the sender discards messages.
            log::warn!("stdout cannot be written to: {error}");
            return;
        }
    }
}

/// Handles every line of the input.
fn read(mcp: &Mcp, input: &mut impl BufRead, context: &CallContext) -> io::Result<()> {
    loop {
        let mut line = Vec::new();
        if input.take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && line.len() as u64 == LONGEST_LINE {
            return Err(io::Error::other("a line is longer than 512 MiB"));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let handled = match jsonrpc::parse(&line, None) {
            Ok(payload) => mcp.receive(payload, context),
            Err(Refusal::Message(rejected)) => Err(rejected),
            // Only a reservation has a budget that can be used up.
            Err(Refusal::OutOfMemory) => Ok(()),
        };
        if let Err(rejected) = handled {
            context.sender.respond(jsonrpc::rejection(&rejected));
        }
    }
}
