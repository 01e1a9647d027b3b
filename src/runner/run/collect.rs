//! Reads the volumes that the caller asked for back from the engine, after the container has ended.

use crate::archive::{self, Collected};
use crate::docker::container::PathStat;
use crate::docker::{self, Client};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::OBJECT_SLACK;
use crate::runner::error::Error;
use crate::runner::request::mounts::{MountSource, MountSpec};
use crate::runner::run::answer_memory::CollectRoom;
use crate::runner::run::result::CollectedVolume;
use crate::runner::run::stage::Staged;
use crate::runner::staging::helper::{HelperSpec, STAGE, reading_mount};
use std::collections::BTreeMap;
use std::io::Read;

/// The outcome of a collection. `volumes` is keyed by path; `None`: the run left nothing there.
#[derive(Default)]
pub(crate) struct Collection {
    pub(crate) volumes: BTreeMap<String, Option<CollectedVolume>>,
    pub(crate) warnings: Vec<String>,
}

/// Everything that a collection reads from, and its limit.
pub(crate) struct Sources<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) staged: Option<&'a Staged>,
    /// Id of the container that ran.
    pub(crate) container: &'a str,
    /// Id of the run.
    pub(crate) run: &'a str,
    /// Most bytes to read back from all mounts together.
    pub(crate) limit_bytes: u64,
    /// Grants the memory for what is read.
    pub(crate) room: CollectRoom<'a>,
}

impl Sources<'_> {
    /// Collects every mount that asks for a response. A mount over the limit is answered with a reason instead of content.
    pub(crate) fn collect(mut self, mounts: &[MountSpec]) -> Result<Collection, Error> {
        let mut collection = Collection::default();
        for (index, mount) in mounts
            .iter()
            .enumerate()
            .filter(|(_, mount)| mount.response)
        {
            let volume = self.collect_mount(index, mount, &mut collection.warnings)?;
            let content = volume.as_ref().and_then(|volume| volume.content.as_ref());
            // All contents stay in memory until the answer is sent, so they share one limit.
            let held_bytes = content.map_or(0, |base64| base64.len() as u64 / 4 * 3);
            self.limit_bytes = self.limit_bytes.saturating_sub(held_bytes);
            collection.volumes.insert(mount.key.clone(), volume);
        }
        Ok(collection)
    }

    fn collect_mount(
        &self,
        index: usize,
        mount: &MountSpec,
        warnings: &mut Vec<String>,
    ) -> Result<Option<CollectedVolume>, Error> {
        let client = &self.engine.client;
        match (&mount.source, self.staged) {
            (MountSource::CollectedFile, _) => {
                self.collect_file(client, self.container, &mount.target, warnings)
            }
            (MountSource::File { .. }, Some(staged)) => {
                let (helper, path) = staged.item(index);
                self.collect_file(client, helper, &path, warnings)
            }
            (MountSource::Archive(_) | MountSource::Files(_), Some(staged)) => {
                let (helper, path) = staged.item(index);
                self.collect_directory(client.archive_get(helper, &path), &mount.key, warnings)
            }
            (MountSource::Named(name), _) => {
                let helper_name = format!("oneoff-{}-read{index}", self.run);
                let labels = self.engine.identity.labels(self.run, OBJECT_SLACK);
                let helper = HelperSpec::with_mount(&helper_name, labels, reading_mount(name))
                    .create(self.engine)?;
                self.collect_directory(client.archive_get(helper.id(), STAGE), &mount.key, warnings)
            }
            _ => Ok(None),
        }
    }

    fn collect_file(
        &self,
        client: &Client,
        container: &str,
        path: &str,
        warnings: &mut Vec<String>,
    ) -> Result<Option<CollectedVolume>, Error> {
        let mut tar = match client.archive_get(container, path) {
            Ok(tar) => tar,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let room = &mut |bytes| self.room.take(bytes);
        match archive::collect_file_text(&mut *tar, self.limit_bytes, room) {
            Ok(Collected::File(content)) => Ok(Some(volume("file", content))),
            Ok(Collected::Other(kind)) => {
                warnings.push(format!("{path}: is a {kind} after the run, not a file"));
                Ok(None)
            }
            Err(error) => without_content("file", error),
        }
    }

    fn collect_directory(
        &self,
        tar: Result<Box<dyn Read + Send>, docker::Error>,
        key: &str,
        warnings: &mut Vec<String>,
    ) -> Result<Option<CollectedVolume>, Error> {
        let mut tar = match tar {
            Ok(tar) => tar,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let room = &mut |bytes| self.room.take(bytes);
        match archive::collect_directory(&mut *tar, self.limit_bytes, room) {
            Ok(collected) => {
                warnings.extend(
                    collected
                        .skipped
                        .iter()
                        .map(|entry| format!("{key}: left out {entry}")),
                );
                Ok(Some(volume("directory", collected.content)))
            }
            Err(error) => without_content("directory", error),
        }
    }
}

/// The parent directories of `path` that do not exist in the container, outermost first.
pub(crate) fn missing_parents(
    client: &Client,
    container: &str,
    path: &str,
) -> Result<Vec<String>, Error> {
    let mut missing = Vec::new();
    let mut parent = path;
    while let Some((above, _)) = parent
        .rsplit_once('/')
        .filter(|(above, _)| !above.is_empty())
    {
        match client.archive_stat(container, above)? {
            Some(PathStat { .. }) => break,
            None => missing.insert(0, above.to_owned()),
        }
        parent = above;
    }
    Ok(missing)
}

fn volume(kind: &'static str, content: String) -> CollectedVolume {
    CollectedVolume {
        kind,
        content: Some(content),
        detail: None,
    }
}

/// The volume without content if it is over the limit or there is no memory for it; any other error fails the run.
fn without_content(
    kind: &'static str,
    error: archive::Error,
) -> Result<Option<CollectedVolume>, Error> {
    let absent = |detail| {
        Ok(Some(CollectedVolume {
            kind,
            content: None,
            detail: Some(detail),
        }))
    };
    match error {
        archive::Error::TooLarge(detail) => absent(detail),
        archive::Error::NoRoom => absent(
            "the server had no memory for it: other requests and answers use it (RUNNER_MAX_BODY_MEMORY)".into(),
        ),
        other => Err(Error::Engine(format!(
            "the engine's archive cannot be read: {other}"
        ))),
    }
}

/// Whether the path does not exist. The engine answers 500 instead of 404 when a parent of it is a file.
fn is_absent(error: &docker::Error) -> bool {
    match error {
        docker::Error::Status { status: 404, .. } => true,
        docker::Error::Status { message, .. } => message.ends_with(": not a directory"),
        _ => false,
    }
}
