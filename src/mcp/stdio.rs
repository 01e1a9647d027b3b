//! The stdio transport: one message per line in, one per line out, and it ends with its input.
//! <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#stdio>

use super::http_sse::{cancelled, no_batches};
use super::jsonrpc::{self, Message, Payload, Rejection};
use super::outgoing::{ChannelSender, Item, MessageSender};
use super::protocol::Revision;
use super::{Caller, Mcp};
use crate::cancel::Never;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;
use std::time::Duration;

/// Messages that may wait for a client that does not read.
const CAPACITY: usize = 256;
/// How long the last answers may take to be written after the input ended.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Longest line, in bytes.
const LONGEST_LINE: u64 = 512 << 20;

/// Serves until the input ends; then running calls are cancelled, waited for, and still answered. Errors: the input
/// cannot be read, or no thread can be had.
pub fn serve(
    mcp: &Mcp,
    mut input: impl BufRead,
    output: impl Write + Send + 'static,
) -> io::Result<()> {
    let (pipe, items) = ChannelSender::new(CAPACITY);
    let (writing, written) = bounded::<Never>(0);
    std::thread::Builder::new()
        .name("mcp-stdout".into())
        .spawn(move || {
            write(output, &items);
            drop(writing);
        })?;
    let caller = mcp.stranger(None);
    let sender: Arc<dyn MessageSender> = Arc::new(pipe);
    let ended = read(mcp, &mut input, &caller, &sender);
    caller.calls.close();
    // Calls hold clones of the sender: the writer ends after the last of them.
    drop(sender);
    if let Err(RecvTimeoutError::Timeout) = written.recv_timeout(LAST_WORDS) {
        log::warn!("the last answers were not read");
    }
    ended
}

fn write(mut output: impl Write, items: &Receiver<Item>) {
    for item in items {
        let mut line = item.into_value().to_string();
        line.push('\n');
        if let Err(error) = output
            .write_all(line.as_bytes())
            .and_then(|()| output.flush())
        {
            // Dropping the receiver tells every sender that nobody reads any more.
            log::warn!("stdout cannot be written to: {error}");
            return;
        }
    }
}

fn read(
    mcp: &Mcp,
    input: &mut impl BufRead,
    caller: &Caller,
    sender: &Arc<dyn MessageSender>,
) -> io::Result<()> {
    loop {
        let mut line = Vec::new();
        if input.take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && line.len() as u64 == LONGEST_LINE {
            return Err(io::Error::other("a line is longer than 512 MiB"));
        }
        if !line.iter().all(u8::is_ascii_whitespace) {
            take(mcp, &line, caller, sender);
        }
    }
}

fn take(mcp: &Mcp, line: &[u8], caller: &Caller, sender: &Arc<dyn MessageSender>) {
    match jsonrpc::parse(line) {
        Ok(Payload::One(message)) => accept(mcp, message, caller, sender),
        Ok(Payload::Batch(items)) => {
            let agreed = caller.peer.revision();
            if !agreed.is_some_and(Revision::has_batches) {
                sender.respond(jsonrpc::rejection(&no_batches()));
                return;
            }
            for message in items {
                accept(mcp, message, caller, sender);
            }
        }
        Err(rejected) => sender.respond(jsonrpc::rejection(&rejected)),
    }
}

fn accept(
    mcp: &Mcp,
    message: Result<Message, Rejection>,
    caller: &Caller,
    sender: &Arc<dyn MessageSender>,
) {
    match message {
        Ok(Message::Request(asked)) => mcp.serve(asked, caller, Arc::clone(sender)),
        Ok(Message::Notification(told)) => {
            if let Some(id) = cancelled(&told) {
                caller.calls.withdraw(&id);
            }
        }
        Ok(Message::Response) => {}
        Err(rejected) => sender.respond(jsonrpc::rejection(&rejected)),
    }
}
