//! Loads what dead predecessors stored of their runs.

use crate::cancel::Cancel;
use crate::docker;
use crate::runner::jobs::journal_reader::{JournalReader, StoredRecord};
use crate::runner::jobs::predecessor::{PredecessorObjects, UnknownRuns};
use crate::runner::jobs::record::{OutcomeRecord, RequestRecord, RunFacts};
use crate::runner::jobs::record_keeper::RecordKeeper;
use crate::runner::jobs::request_copies::RequestCopy;
use serde::Deserialize;
use std::collections::HashMap;

/// A run of the predecessor that has an outcome.
pub(crate) struct FinishedRun {
    pub(crate) id: String,
    pub(crate) record: OutcomeRecord,
    pub(crate) objects: PredecessorObjects,
}

/// A run of the predecessor that has none.
pub(crate) struct UnfinishedRun {
    pub(crate) id: String,
    pub(crate) facts: RunFacts,
    pub(crate) request: RequestCopy,
    pub(crate) objects: PredecessorObjects,
}

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

/// Loads the records of runs that this server does not know.
pub(crate) struct RecordLoader<'a> {
    pub(crate) reader: JournalReader<'a>,
    pub(crate) keeper: &'a RecordKeeper,
    pub(crate) stop: &'a Cancel,
}

impl RecordLoader<'_> {
    /// Reads the journals, passes every run that has an outcome to `adopt` at once, and returns the others. Errors: the engine
    /// failed; a second call continues.
    pub(crate) fn load(
        &self,
        unknown: UnknownRuns,
        adopt: &mut dyn FnMut(FinishedRun),
    ) -> Result<Unfinished, docker::Error> {
        let mut left = unknown.orphaned;
        let mut requests = HashMap::new();
        let mut found = Unfinished::default();
        for journal in unknown.journals {
            let mut unreadable = Vec::new();
            self.reader.read(&journal, &mut |run, record| {
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
                        adopt(FinishedRun {
                            id: run.to_owned(),
                            record,
                            objects,
                        });
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

/// Parses a record. Error: why it cannot be read, without quoting it.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|error| {
        // Not serde's own words, which may quote the record.
        let place = format!("line {}, column {}", error.line(), error.column());
        format!("its JSON is broken or of another version, at {place}")
    })
}
