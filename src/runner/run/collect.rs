//! Reads the volumes that the caller asked for back from the engine, after the container has ended. A volume that cannot be read
//! does not fail the run: the answer says so in its place.

use crate::archive::{self, Collected};
use crate::docker;
use crate::runner::cleanup::removal::RemovalGuard;
use crate::runner::request::mount_tree::MountTree;
use crate::runner::request::mounts::{MountSource, MountSpec};
use crate::runner::request::spec::RunSpec;
use crate::runner::run::answer_memory::CollectRoom;
use crate::runner::run::collectable::Directories;
use crate::runner::run::result::CollectedVolume;
use crate::runner::run::sources::{Fault, Opened, Sources};
use std::collections::BTreeMap;
use std::thread::Builder;
use std::time::{Duration, Instant};

const NO_MEMORY: &str =
    "the server had no memory for it: other requests and answers use it (RUNNER_MAX_BODY_MEMORY)";

/// The outcome of a collection. `volumes` is keyed by path; `None`: the run left nothing there.
#[derive(Default)]
pub(crate) struct Collection {
    pub(crate) volumes: BTreeMap<String, Option<CollectedVolume>>,
    pub(crate) warnings: Vec<String>,
    /// Helpers that were made for reading.
    pub(crate) helpers: Vec<RemovalGuard>,
    /// Whether the engine could not be asked for some of the volumes, so that a later try may bring more.
    pub(crate) is_engine_away: bool,
    /// Whether the engine sent only a part of some volume.
    pub(crate) is_cut: bool,
}

/// Collects every mount that asks for a response, `max_collect_bytes` of all together at most. A mount that is over the limit, or
/// that cannot be read, or for which `room` has no memory, is answered with a reason instead of content. To be called as soon as
/// the container has ended, before any other call for it: a prune may remove it from then on.
pub(crate) fn collect(sources: &Sources<'_>, spec: &RunSpec, room: CollectRoom<'_>) -> Collection {
    let tree = MountTree::new(spec, &sources.created.image_volumes);
    let mut collector = Collector {
        sources,
        tree: &tree,
        whole_limit_bytes: spec.max_collect_bytes,
        limit_bytes: spec.max_collect_bytes,
        room,
        collection: Collection::default(),
        engine_is_away: None,
        broken_off: Vec::new(),
    };
    let mounts = spec.mounts.iter().enumerate();
    let wanted = mounts.filter(|(_, mount)| mount.response);
    let (in_container, in_volumes): (Vec<Wanted<'_>>, Vec<Wanted<'_>>) =
        wanted.partition(|(_, mount)| matches!(mount.source, MountSource::CollectedFile));
    for files in in_container.chunks(MOST_AT_ONCE) {
        collector.add_together(files);
    }
    // Not before: these calls wait until what was opened has been read.
    collector.read_broken_off_again();
    collector.take_back_lost(&in_container);
    for (index, mount) in in_volumes {
        let opened = collector.open(index, mount);
        collector.add(opened, (index, mount));
    }
    collector.read_broken_off_again();
    collector.collection
}

/// What is answered for a run that was cancelled: its outputs are not read.
pub(crate) fn cancelled(spec: &RunSpec) -> Collection {
    let mut collection = Collection::default();
    for mount in spec.mounts.iter().filter(|mount| mount.response) {
        let volume = without_content(mount, "the run was cancelled".into());
        collection.volumes.insert(mount.key.clone(), Some(volume));
    }
    collection
}

/// A mount to collect, and its index in the run.
type Wanted<'a> = (usize, &'a MountSpec);

/// What [`Sources::open`] returns.
type Opening = Result<Option<Opened>, Fault>;

/// What reading a mount gave. `Ok(None)`: the run left nothing there.
type Reading = Result<Option<CollectedVolume>, Fault>;

/// How long what breaks off is read again.
const UNMOUNTING: Duration = Duration::from_secs(5);
/// Between two readings.
const PAUSE: Duration = Duration::from_millis(50);

/// How many files of the container are requested at once.
const MOST_AT_ONCE: usize = 16;

struct Collector<'a> {
    sources: &'a Sources<'a>,
    tree: &'a MountTree<'a>,
    whole_limit_bytes: u64,
    /// What is left of the limit.
    limit_bytes: u64,
    /// Grants the memory for what is read.
    room: CollectRoom<'a>,
    collection: Collection,
    /// The fault of the first mount for which the engine could not be asked.
    engine_is_away: Option<String>,
    /// To be read again.
    broken_off: Vec<Wanted<'a>>,
}

impl<'a> Collector<'a> {
    /// Collects files that only the container has. All calls are made at once: the engine answers them one after the other, and
    /// removes the container for nobody before it has answered those that came first. It answers the next one once the answer
    /// before has been read, so that answers are read in the order in which they arrive, and no call is waited for meanwhile.
    fn add_together(&mut self, files: &[Wanted<'a>]) {
        let sources = self.sources;
        std::thread::scope(|scope| {
            let (sender, openings) = crossbeam_channel::unbounded();
            let mut late = Vec::new();
            for (index, mount) in files {
                let sender = sender.clone();
                let call =
                    move || drop(sender.send((sources.open(*index, mount), (*index, *mount))));
                let spawned = Builder::new()
                    .name("collect".into())
                    .spawn_scoped(scope, call);
                if spawned.is_err() {
                    late.push((*index, *mount));
                }
            }
            drop(sender);
            for (opened, wanted) in openings {
                self.add(opened, wanted);
            }
            for (index, mount) in late {
                let opened = self.open(index, mount);
                self.add(opened, (index, mount));
            }
        });
    }

    fn open(&self, index: usize, mount: &MountSpec) -> Opening {
        match &self.engine_is_away {
            Some(fault) => Err(Fault::EngineAway(fault.clone())),
            None => self.sources.open(index, mount),
        }
    }

    fn add(&mut self, opened: Opening, wanted: Wanted<'a>) {
        let read = self.read_opened(opened, wanted);
        match self.is_worth_another_reading(&read) {
            true => self.broken_off.push(wanted),
            false => self.keep(read, wanted),
        }
    }

    /// Podman unmounts the container's file system soon after the end of the run, also while it is reading from it, and the
    /// archive breaks off. Under load the process in which it reads fails now and then, which is a 500.
    fn is_worth_another_reading(&self, read: &Reading) -> bool {
        let is_passing = match read {
            Err(fault @ Fault::Archive(_)) => !fault.is_engine_away(),
            Err(Fault::Engine(docker::Error::Status { status, .. })) => *status >= 500,
            _ => false,
        };
        is_passing && self.sources.engine.client.is_podman().unwrap_or(false)
    }

    /// Blocks for [`UNMOUNTING`] at most, plus one reading.
    fn read_broken_off_again(&mut self) {
        let deadline = Instant::now() + UNMOUNTING;
        for wanted in std::mem::take(&mut self.broken_off) {
            loop {
                let opened = self.open(wanted.0, wanted.1);
                let read = self.read_opened(opened, wanted);
                if Instant::now() > deadline || !self.is_worth_another_reading(&read) {
                    self.keep(read, wanted);
                    break;
                }
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn read_opened(&mut self, opened: Opening, (index, mount): Wanted<'_>) -> Reading {
        match opened? {
            Some(opened) => self.read(opened, index, mount),
            None => Ok(None),
        }
    }

    fn keep(&mut self, read: Reading, (_, mount): Wanted<'_>) {
        let volume = read.unwrap_or_else(|fault| {
            let text = fault.to_string();
            self.collection.is_cut |= fault.is_cut();
            if fault.is_engine_away() {
                self.engine_is_away = Some(text.clone());
                self.collection.is_engine_away = true;
            }
            self.warn(mount, &text);
            Some(without_content(mount, text))
        });
        let content = volume.as_ref().and_then(|volume| volume.content.as_ref());
        // All contents stay in memory until the answer is sent, so they share one limit.
        let held_bytes = content.map_or(0, |base64| base64.len() as u64 / 4 * 3);
        self.limit_bytes = self.limit_bytes.saturating_sub(held_bytes);
        self.collection.volumes.insert(mount.key.clone(), volume);
    }

    /// Takes back files behind symbolic links that lead into file systems which were gone: the engine has read what the image has
    /// there. If the container was removed meanwhile, this cannot be known any more.
    fn take_back_lost(&mut self, files: &[Wanted<'_>]) {
        let client = &self.sources.engine.client;
        let mut directories = Directories::new(client, &self.sources.created.container, self.tree);
        for (_, mount) in files {
            match directories.lost(&mount.target) {
                Ok(None) => {}
                Ok(Some(text)) => {
                    self.warn(mount, &text);
                    let volume = without_content(mount, text);
                    let volumes = &mut self.collection.volumes;
                    volumes.insert(mount.key.clone(), Some(volume));
                }
                Err(error) => {
                    log::debug!("the links above {} cannot be looked at: {error}", mount.key);
                    return;
                }
            }
        }
    }

    fn warn(&mut self, mount: &MountSpec, text: &str) {
        let warning = format!("{}: not collected: {text}", mount.key);
        self.collection.warnings.push(warning);
    }

    fn read(&mut self, opened: Opened, index: usize, mount: &MountSpec) -> Reading {
        let mut tar = opened.tar;
        self.collection.helpers.extend(opened.helper);
        let room = &mut |bytes| self.room.take(bytes);
        let read = match kind(mount) {
            "file" if opened.is_symlink => {
                return Ok(self.file(Collected::Other("symbolic link"), mount));
            }
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
            Err(archive::Error::TooLarge(detail)) => {
                let detail = format!("{detail}{}", self.what_is_left());
                Ok(Some(without_content(mount, detail)))
            }
            Err(archive::Error::NoRoom) => Ok(Some(without_content(mount, NO_MEMORY.into()))),
            Err(error) => Err(Fault::Archive(error)),
            Ok(volume) => Ok(volume),
        }
    }

    /// Says of the number of bytes in an error what it is, if it is not the limit.
    fn what_is_left(&self) -> String {
        let whole = self.whole_limit_bytes;
        match self.limit_bytes < whole {
            true => format!(", what other volumes have left of the run's {whole}"),
            false => String::new(),
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
