//! `GET /events`: what goes on in the server, as one stream of server-sent events for the page at `/`. A reader gets everything
//! as it is, and then what changes.
//!
//! All readers share what one thread writes into `hub`, so that a hundred pages cost little more than one. A reader that falls
//! behind gets everything anew.

mod frames;
mod hub;
mod status;

use super::problems;
use super::stream::{Delivery, KEEP_ALIVE_INTERVAL};
use crate::cancel::Cancel;
use crate::http::{Reply, Request, StreamWriter};
use crate::runner::{Error, RunState, Runner};
use frames::{RUNS_PER_EVENT, frame, runs_frame};
use hub::{Hub, Next, Reader};
use serde_json::json;
use std::io;
use std::sync::Arc;

/// Most runs that a reader gets at its start: the newest.
const MOST_RUNS: usize = 1000;
/// The stream's source. Clones share it.
#[derive(Clone)]
pub struct Live(Arc<Hub>);

impl Live {
    /// A source that does nothing until somebody reads.
    pub fn new(runner: &Runner) -> Self {
        Self(Arc::new(Hub::new(runner.clone())))
    }

    /// The stream. It ends when the client leaves or the server stops.
    pub fn events(&self, request: &Request) -> Reply {
        if request.method == "HEAD" {
            return Delivery::Sse.reply(|_| Ok(()));
        }
        let reader = match Hub::read(&self.0) {
            Ok(reader) => reader,
            Err(error) => {
                let error = Error::Overloaded(format!("no thread for the page's events: {error}"));
                return problems::reply(&error);
            }
        };
        let stops = [request.cancel.clone(), request.draining.clone()];
        Delivery::Sse.reply(move |writer| write(reader, &stops, writer))
    }
}

/// Writes events until one of `stops` fires. Error: the client cannot be written to.
fn write(mut reader: Reader, stops: &[Cancel; 2], writer: &mut StreamWriter<'_>) -> io::Result<()> {
    write_everything(&reader, writer)?;
    loop {
        match reader.next(KEEP_ALIVE_INTERVAL, stops) {
            Next::Frame(frame) => writer.send(&frame)?,
            Next::Behind => write_everything(&reader, writer)?,
            Next::Nothing => writer.send(Delivery::Sse.keep_alive())?,
            Next::Stopped => return Ok(()),
        }
    }
}

/// Writes the server's status and all runs, a few at a time, so that a slow reader holds only those in memory.
fn write_everything(reader: &Reader, writer: &mut StreamWriter<'_>) -> io::Result<()> {
    writer.send(&reader.status())?;
    writer.send(&frame("snapshot", &json!({})))?;
    let mut count = 0;
    let mut last: Option<RunState> = None;
    while count < MOST_RUNS {
        let most = RUNS_PER_EVENT.min(MOST_RUNS - count);
        let page = reader.runner().run_page(last.as_ref(), most);
        if page.is_empty() {
            break;
        }
        count += page.len();
        writer.send(&runs_frame(&page, &[]))?;
        last = page.into_iter().next_back();
    }
    let more = count == MOST_RUNS && !reader.runner().run_page(last.as_ref(), 1).is_empty();
    writer.send(&frame("complete", &json!({"runs": count, "more": more})))
}
