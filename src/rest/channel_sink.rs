//! Passes the events of a streamed run to the thread that writes its reply. A slow reader slows down its container, but never
//! holds up a run that is being ended.

use crate::cancel::Cancel;
use crate::runner::{Error, Event, RunResult, Sink};
use crossbeam_channel::{SendTimeoutError, Sender, select};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long in all the last events of a run that is being ended may wait for their reader.
const FINAL_WAIT: Duration = Duration::from_secs(1);

/// A message from the run's thread to the thread that writes the reply.
pub(super) enum Message {
    Event(Event),
    /// The run is over.
    Ended {
        outcome: Box<Result<RunResult, Error>>,
        /// How many events were dropped because the reader did not take them in time.
        skipped: u64,
    },
}

/// Sends a run's events into a bounded channel. While the channel is full, output waits until the run is being ended, and
/// progress of the queue or of a pull is dropped.
pub(super) struct ChannelSink {
    messages: Sender<Message>,
    ending: Cancel,
    /// Set when `ending` is fired.
    deadline: OnceLock<Instant>,
    skipped: AtomicU64,
}

impl ChannelSink {
    pub(super) fn new(messages: Sender<Message>) -> Self {
        Self {
            messages,
            ending: Cancel::new(),
            deadline: OnceLock::new(),
            skipped: AtomicU64::new(0),
        }
    }

    /// Sends the outcome. Blocks until the reader has room for it or has left.
    pub(super) fn end(&self, outcome: Result<RunResult, Error>) {
        // Fails when the client has left.
        let _ = self.messages.send(Message::Ended {
            outcome: Box::new(outcome),
            skipped: self.skipped.load(Ordering::Relaxed),
        });
    }

    /// Blocks while the channel is full, until the client leaves or the run is being ended.
    fn send(&self, event: Event) {
        let message = Message::Event(event);
        let message = select! {
            // Fails when the client has left; the run's cancel token has fired then.
            send(self.messages, message) -> _ => return,
            recv(self.ending.done()) -> _ => message,
        };
        let deadline = self.deadline.get().copied().unwrap_or_else(Instant::now);
        if let Err(SendTimeoutError::Timeout(_)) = self.messages.send_deadline(message, deadline) {
            self.skipped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Sink for ChannelSink {
    fn event(&self, event: Event) {
        match event {
            // The reader gets a later one: these come before the container, while nothing else can end the wait.
            Event::Queued { .. } | Event::Pull { .. } => {
                let _ = self.messages.try_send(Message::Event(event));
            }
            Event::Started | Event::Stdout(_) | Event::Stderr(_) => self.send(event),
        }
    }

    fn stop_waiting(&self) {
        self.deadline.get_or_init(|| Instant::now() + FINAL_WAIT);
        self.ending.fire();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;

    fn outcome() -> Result<RunResult, Error> {
        Err(Error::Engine("any".into()))
    }

    #[test]
    fn output_waits_for_its_reader_until_the_run_is_being_ended_and_what_is_dropped_is_counted() {
        let (sender, messages) = bounded(1);
        let sink = ChannelSink::new(sender);
        sink.event(Event::Started);
        std::thread::scope(|scope| {
            let blocked = scope.spawn(|| sink.event(Event::Stdout(b"waits".to_vec())));
            while !sink.ending.is_fired() {
                assert!(!blocked.is_finished());
                sink.stop_waiting();
            }
            blocked.join().unwrap();
        });
        let begun = Instant::now();
        (0..1000).for_each(|_| sink.event(Event::Stdout(b"late".to_vec())));
        assert!(begun.elapsed() < FINAL_WAIT, "the wait is one for all");
        assert!(matches!(
            messages.recv(),
            Ok(Message::Event(Event::Started))
        ));
        sink.end(outcome());
        let last = messages.recv().unwrap();
        assert!(matches!(last, Message::Ended { skipped: 1001, .. }));
    }

    #[test]
    fn progress_before_the_container_never_waits() {
        let (sender, messages) = bounded(1);
        let sink = ChannelSink::new(sender);
        (0..10).for_each(|position| sink.event(Event::Queued { position }));
        assert_eq!(messages.len(), 1);
    }
}
