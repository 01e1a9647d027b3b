//! Reads the journals of dead servers.

use crate::archive;
use crate::docker;
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::engine::Engine;
use crate::runner::jobs::journal::{COMPLETE, OUTCOME, REQUEST};
use crate::runner::staging::existing_volume::open_volume;
use crate::runner::staging::transfer_container::STAGE;
use std::time::Duration;

/// A record as it is stored.
pub(crate) enum StoredRecord {
    /// What was asked for.
    Request(Vec<u8>),
    /// What came of it.
    Outcome(Vec<u8>),
    /// It cannot be read, with the reason.
    Unreadable(String),
}

/// How long the container through which a journal is read may exist, if this process dies.
const READING: Duration = Duration::from_secs(600);

/// Reads journals in one engine.
pub(crate) struct JournalReader<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) active: &'a Active,
    /// Longest record.
    pub(crate) limit_bytes: u64,
}

impl JournalReader<'_> {
    /// Passes every record that was written to its end to `each`, with the id of its run. A run has an outcome or a request, not
    /// both. A volume that is gone has none. Errors: the engine failed; the records passed before are right.
    pub(crate) fn read(
        &self,
        volume: &str,
        each: &mut dyn FnMut(&str, StoredRecord),
    ) -> Result<(), docker::Error> {
        let id = self.active.enter();
        let name = format!("oneoff-{}-reader", id.id());
        let labels = self.engine.identity.labels(id.id(), READING);
        let Some(helper) = open_volume(self.engine, volume, &name, labels)? else {
            return Ok(());
        };
        let client = &self.engine.client;
        let mut tar = client.archive_get(helper.id(), STAGE)?;
        let mut complete = String::new();
        let read = archive::read_files(&mut *tar, self.limit_bytes, &mut |path, content| {
            let name = path.rsplit('/').next().unwrap_or_default();
            let Some((run, part)) = name.rsplit_once('.') else {
                return;
            };
            let record = |kind: fn(Vec<u8>) -> StoredRecord| match content {
                Ok(json) => kind(json),
                Err(error) => StoredRecord::Unreadable(error.to_string()),
            };
            match part {
                COMPLETE => complete = run.to_owned(),
                OUTCOME if complete == run => each(run, record(StoredRecord::Outcome)),
                REQUEST if complete != run => each(run, record(StoredRecord::Request)),
                _ => {}
            }
        });
        read.map_err(|error| docker::Error::Malformed {
            call: "archive_get",
            detail: error.to_string(),
        })
    }
}
