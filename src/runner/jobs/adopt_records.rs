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
    /// Journals of which everything could be read.
    pub(crate) journals: Vec<String>,
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
        for journal in unknown.journals {
            let mut unreadable = Vec::new();
            reader.read(&journal, &mut |run, record| {
                if self.stop.is_fired() || !left.contains_key(run) {
                    return;
                }
                let parsed = match record {
                    StoredRecord::Request(json) => parse(&json).map(|record| {
                        requests.insert(run.to_owned(), (record, json));
                    }),
                    StoredRecord::Outcome(json) => parse(&json).map(|record| {
                        let objects = left.remove(run).unwrap_or_default();
                        found.finished += 1;
                        self.add_finished(FinishedRun::new(run, record, objects), lead);
                    }),
                    StoredRecord::Unreadable(why) => Err(why),
                };
                unreadable.extend(parsed.err().map(|why| (run.to_owned(), why)));
            })?;
            if unreadable.is_empty() {
                found.journals.push(journal);
            }
            found.unreadable.extend(unreadable);
        }
        for (run, (record, json)) in requests {
            let record: RequestRecord = record;
            if let Some(objects) = left.remove(&run) {
                found.runs.push(UnfinishedRun {
                    id: run,
                    facts: record.facts,
                    request: self.keeper.copy_of(&json),
                    objects,
                });
            }
        }
        // It may have been found in another journal.
        found.unreadable.retain(|run, _| left.remove(run).is_some());
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

/// Parses a record. Error: why it cannot be read, without quoting it.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|error| {
        // Not serde's own words, which may quote the record.
        let place = format!("line {}, column {}", error.line(), error.column());
        format!("its JSON is broken or of another version, at {place}")
    })
}
