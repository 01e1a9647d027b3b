//! The memory of a run's answer. What the output may take is taken from the budget before the run begins, so that a run that was
//! executed never loses its output because memory is short.

use crate::cancel::Cancel;
use crate::memory::Reservation;
use crate::runner::error::Error;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::result::{CollectedVolume, RunResult};
use std::time::{Duration, Instant};

/// How long a run whose caller waits may wait for memory once it has its slot.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a collection may wait for memory in all.
const COLLECT_PATIENCE: Duration = Duration::from_secs(10);
/// Memory of an answer beside its texts.
const RESULT_BYTES: u64 = 4096;

/// How a run takes memory for its output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryTerms {
    /// How long the run may wait before it is refused. `None`: until it is cancelled.
    patience: Option<Duration>,
    /// How often the output is kept: in the answer, and of an asynchronous run in the event log too.
    copies: u64,
}

impl MemoryTerms {
    /// Of a run whose caller waits.
    pub(crate) const SYNCHRONOUS: Self = Self {
        patience: Some(PATIENCE),
        copies: 1,
    };
    /// Of a run that was accepted and must not be refused any more.
    pub(crate) const ASYNCHRONOUS: Self = Self {
        patience: None,
        copies: 2,
    };

    fn most_bytes(self, spec: &RunSpec) -> u64 {
        2 * self.copies * spec.output_bytes + RESULT_BYTES
    }

    /// Takes what the output may need at most. Blocks until the budget has it. Errors: it does not within the patience, or
    /// `cancel` fires.
    pub(crate) fn take(
        self,
        memory: &Reservation,
        spec: &RunSpec,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        match memory.grow_within(self.most_bytes(spec), self.patience, cancel) {
            true => Ok(()),
            false => Err(Error::OutOfMemory),
        }
    }

    /// Takes the same for a run that is going on already.
    pub(crate) fn take_anyway(self, memory: &Reservation, spec: &RunSpec) {
        memory.grow_anyway(self.most_bytes(spec));
    }

    /// Keeps only what the result takes, and hands that to the result.
    pub(crate) fn settle(self, memory: Reservation, result: &mut RunResult) {
        let output = (result.stdout.capacity() + result.stderr.capacity()) as u64;
        memory.set(self.copies * output + volume_bytes(result) + RESULT_BYTES);
        result.memory = Some(memory);
    }
}

/// Bytes of the collected contents.
fn volume_bytes(result: &RunResult) -> u64 {
    let content = |volume: &CollectedVolume| volume.content.as_ref().map_or(0, String::capacity);
    let bytes: usize = result.volumes.values().flatten().map(content).sum();
    bytes as u64
}

/// Grants memory to a collection.
pub(crate) struct CollectRoom<'a> {
    memory: &'a Reservation,
    cancel: &'a Cancel,
    deadline: Instant,
}

impl<'a> CollectRoom<'a> {
    pub(crate) fn new(memory: &'a Reservation, cancel: &'a Cancel) -> Self {
        Self {
            memory,
            cancel,
            deadline: Instant::now() + COLLECT_PATIENCE,
        }
    }

    /// Takes more memory. Blocks while the budget does not have it, until the collection's time is over.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.memory.grow_within(bytes, Some(left), self.cancel)
    }
}
