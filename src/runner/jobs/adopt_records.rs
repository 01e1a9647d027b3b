//! Loads what dead predecessors stored of their runs.

use crate::docker;
use crate::runner::jobs::adopt::{Adopter, FinishedRun, UnfinishedRun};
use crate::runner::jobs::journal_reader::{JournalReader, StoredRecord};
use crate::runner::jobs::predecessor::{PredecessorObjects, UnknownRuns};
use crate::runner::jobs::record::{OutcomeRecord, RequestRecord};
use crate::runner::takeover::lead::Lead;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;

/// Runs that have a mark, a container or both, but no outcome.
#[derive(Default)]
pub(crate) struct Unfinished {
    pub(crate) runs: Vec<UnfinishedRun>,
    /// Why the record of each cannot be read.
    pub(crate) unreadable: HashMap<String, String>,
    /// Without a record.
    pub(crate) unrecorded: HashMap<String, PredecessorObjects>,
    /// How many had an outcome.
    pub(crate) finished: usize,
}

impl Adopter {
    /// Reads the journals, adopts every run that has an outcome, and returns the others. Errors: the engine failed; a second call
    /// continues.
    pub(crate) fn adopt_finished(
        &self,
        unknown: UnknownRuns,
        lead: &Arc<Lead>,
    ) -> Result<Unfinished, docker::Error> {
        let reader = JournalReader {
            engine: &self.engine,
            active: &self.active,
            limit_bytes: self.keeper.limit_bytes(),
        };
        let mut left = unknown.orphaned;
        let mut requests = HashMap::new();
        let mut found = Unfinished::default();
        for journal in &unknown.journals {
            reader.read(journal, &mut |run, record| {
                if self.stop.is_fired() || !left.contains_key(run) {
                    return;
                }
                match record {
                    StoredRecord::Request(json) => drop(requests.insert(run.to_owned(), json)),
                    StoredRecord::Outcome(json) => match parse(&json) {
                        Ok(record) => {
                            let objects = left.remove(run).unwrap_or_default();
                            found.finished += 1;
                            found.unreadable.remove(run);
                            self.add_finished(FinishedRun::new(run, record, objects), lead);
                        }
                        Err(why) => drop(found.unreadable.insert(run.to_owned(), why)),
                    },
                    StoredRecord::Unreadable(why) => {
                        found.unreadable.insert(run.to_owned(), why);
                    }
                }
            })?;
        }
        left.retain(|run, _| !found.unreadable.contains_key(run));
        for (run, json) in requests {
            let Some(objects) = left.remove(&run) else {
                continue;
            };
            match parse::<RequestRecord>(&json) {
                Ok(record) => found.runs.push(UnfinishedRun {
                    id: run,
                    facts: record.facts,
                    request: self.keeper.copy_of(&json),
                    objects,
                }),
                Err(why) => drop(found.unreadable.insert(run, why)),
            }
        }
        found.unrecorded = left;
        Ok(found)
    }
}

impl FinishedRun {
    fn new(id: &str, record: OutcomeRecord, objects: PredecessorObjects) -> Self {
        Self {
            id: id.to_owned(),
            record,
            objects,
        }
    }
}

fn parse<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|error| {
        // Not serde's own words, which may quote the record.
        let place = format!("line {}, column {}", error.line(), error.column());
        format!("its JSON is broken or of another version, at {place}")
    })
}
