//! Reads the volumes that the caller asked for back from the engine, after the container has ended. A volume that cannot be read
//! does not fail the run: the answer says so in its place.

use crate::archive::{self, Collected};
use crate::runner::cleanup::removal::RemovalGuard;
use crate::runner::request::mount_tree::MountTree;
use crate::runner::request::mounts::{MountSource, MountSpec};
use crate::runner::request::spec::RunSpec;
use crate::runner::run::answer_memory::CollectRoom;
use crate::runner::run::collectable::Directories;
use crate::runner::run::result::CollectedVolume;
use crate::runner::run::sources::{Fault, Opened, Sources};
use std::collections::BTreeMap;

const NO_MEMORY: &str =
    "the server had no memory for it: other requests and answers use it (RUNNER_MAX_BODY_MEMORY)";

/// The outcome of a collection. `volumes` is keyed by path; `None`: the run left nothing there.
#[derive(Default)]
pub(crate) struct Collection {
    pub(crate) volumes: BTreeMap<String, Option<CollectedVolume>>,
    pub(crate) warnings: Vec<String>,
    /// Helpers that were made for reading.
    pub(crate) helpers: Vec<RemovalGuard>,
}

/// Collects every mount that asks for a response, `max_collect_bytes` of all together at most. A mount that is over the limit, or
/// that cannot be read, or for which `room` has no memory, is answered with a reason instead of content.
pub(crate) fn collect(sources: &Sources<'_>, spec: &RunSpec, room: CollectRoom<'_>) -> Collection {
    let tree = MountTree::new(spec, &sources.created.image_volumes);
    let container = &sources.created.container;
    let mut collector = Collector {
        sources,
        tree: &tree,
        directories: Directories::new(&sources.engine.client, container, &tree),
        limit_bytes: spec.max_collect_bytes,
        room,
        collection: Collection::default(),
        engine_is_away: None,
    };
    let mounts = spec.mounts.iter().enumerate();
    for (index, mount) in mounts.filter(|(_, mount)| mount.response) {
        collector.add(index, mount);
    }
    collector.collection
}

struct Collector<'a> {
    sources: &'a Sources<'a>,
    tree: &'a MountTree<'a>,
    directories: Directories<'a>,
    /// What is left of the limit.
    limit_bytes: u64,
    /// Grants the memory for what is read.
    room: CollectRoom<'a>,
    collection: Collection,
    /// The fault of the first mount for which the engine could not be asked.
    engine_is_away: Option<String>,
}

impl Collector<'_> {
    fn add(&mut self, index: usize, mount: &MountSpec) {
        let collected = match &self.engine_is_away {
            Some(fault) => Err(fault.clone()),
            None => self.collect(index, mount),
        };
        let volume = collected.unwrap_or_else(|fault| {
            let warning = format!("{}: not collected: {fault}", mount.key);
            self.collection.warnings.push(warning);
            Some(without_content(mount, fault))
        });
        let content = volume.as_ref().and_then(|volume| volume.content.as_ref());
        // All contents stay in memory until the answer is sent, so they share one limit.
        let held_bytes = content.map_or(0, |base64| base64.len() as u64 / 4 * 3);
        self.limit_bytes = self.limit_bytes.saturating_sub(held_bytes);
        self.collection.volumes.insert(mount.key.clone(), volume);
    }

    fn collect(
        &mut self,
        index: usize,
        mount: &MountSpec,
    ) -> Result<Option<CollectedVolume>, String> {
        let opened = self.require_kept(mount);
        let opened = opened.and_then(|()| self.sources.open(index, mount));
        let read = opened.and_then(|opened| match opened {
            Some(opened) => self.read(opened, index, mount),
            None => Ok(None),
        });
        read.map_err(|fault| {
            let text = fault.to_string();
            if fault.is_engine_away() {
                self.engine_is_away = Some(text.clone());
            }
            text
        })
    }

    /// Checks that the engine reads the file that the container would have.
    fn require_kept(&mut self, mount: &MountSpec) -> Result<(), Fault> {
        if !matches!(mount.source, MountSource::CollectedFile) {
            return Ok(());
        }
        match self.directories.lost(&mount.target) {
            Ok(None) => Ok(()),
            Ok(Some(lost)) => Err(Fault::Lost(lost)),
            Err(error) => Err(Fault::Engine(error)),
        }
    }

    fn read(
        &mut self,
        opened: Opened,
        index: usize,
        mount: &MountSpec,
    ) -> Result<Option<CollectedVolume>, Fault> {
        let mut tar = opened.tar;
        self.collection.helpers.extend(opened.helper);
        let room = &mut |bytes| self.room.take(bytes);
        let read = match kind(mount) {
            "file" => archive::collect_file_text(&mut *tar, self.limit_bytes, room)
                .map(|collected| self.file(collected, mount)),
            _ => archive::collect_directory_without(
                &mut *tar,
                self.tree.points_in(index),
                self.limit_bytes,
                room,
            )
            .map(|collected| {
                let skipped = collected.skipped.iter();
                let warnings = skipped.map(|entry| format!("{}: left out {entry}", mount.key));
                self.collection.warnings.extend(warnings);
                Some(with_content(mount, collected.content))
            }),
        };
        match read {
            Err(archive::Error::TooLarge(detail)) => Ok(Some(without_content(mount, detail))),
            Err(archive::Error::NoRoom) => Ok(Some(without_content(mount, NO_MEMORY.into()))),
            Err(error) => Err(Fault::Archive(error)),
            Ok(volume) => Ok(volume),
        }
    }

    fn file(&mut self, collected: Collected<String>, mount: &MountSpec) -> Option<CollectedVolume> {
        match collected {
            Collected::File(content) => Some(with_content(mount, content)),
            Collected::Other(kind) => {
                let warning = format!("{}: is a {kind} after the run, not a file", mount.target);
                self.collection.warnings.push(warning);
                None
            }
        }
    }
}

fn kind(mount: &MountSpec) -> &'static str {
    match mount.source {
        MountSource::File { .. } | MountSource::CollectedFile => "file",
        _ => "directory",
    }
}

fn with_content(mount: &MountSpec, content: String) -> CollectedVolume {
    CollectedVolume {
        kind: kind(mount),
        content: Some(content),
        detail: None,
    }
}

fn without_content(mount: &MountSpec, detail: String) -> CollectedVolume {
    CollectedVolume {
        kind: kind(mount),
        content: None,
        detail: Some(detail),
    }
}
