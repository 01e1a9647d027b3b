//! What cannot be read back once a container has ended: file systems in memory, which are gone then. The engine would read what the
//! image has in their place.

use crate::docker::container::PathStat;
use crate::docker::{self, Client, Volume};
use crate::problem::Fault;
use crate::runner::error::Error;
use crate::runner::request::mount_tree::{MountTree, Mounted};
use crate::runner::request::mounts::{MountSource, MountSpec};
use crate::runner::request::spec::RunSpec;
use crate::runner::request::volume::is_in_memory;
use std::collections::HashMap;

/// Directories that the container's runtime mounts file systems of its own at.
const RUNTIME_DIRECTORIES: [&str; 3] = ["/dev", "/proc", "/sys"];
/// Most symbolic links that are followed for one path, as in the kernel.
const MOST_LINKS: u32 = 40;

/// Errors: [`Error::Invalid`] naming every mount that is to be collected from this volume, if it is one in memory.
pub(crate) fn require_collectable(spec: &RunSpec, volume: &Volume) -> Result<(), Error> {
    if !is_in_memory(&volume.driver, &volume.options) {
        return Ok(());
    }
    let tree = MountTree::new(spec, &[]);
    let of_volume = |mount: &&MountSpec| matches!(&mount.source, MountSource::Named(name) if *name == volume.name);
    let mounts = spec.mounts.iter().enumerate();
    let faults: Vec<Fault> = mounts
        .filter(|(_, mount)| of_volume(mount))
        .flat_map(|(index, mount)| {
            let itself = Some(mount).filter(|mount| mount.response);
            itself.into_iter().chain(tree.collected_from(index))
        })
        .map(|mount| Fault {
            loc: vec![
                spec.loc_root.to_owned(),
                "volumes".to_owned(),
                mount.sent_key.clone(),
            ],
            msg: format!(
                "cannot be collected: volume {} is in memory, and its content is gone when the container ends",
                volume.name
            ),
        })
        .collect();
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Error::Invalid(faults)),
    }
}

/// Resolves the directories of paths in an ended container, as the container itself would have.
pub(crate) struct Directories<'a> {
    client: &'a Client,
    container: &'a str,
    tree: &'a MountTree<'a>,
    /// What each path was found to be: where a link leads, or the path itself. `None`: nothing.
    known: HashMap<String, Option<String>>,
}

impl<'a> Directories<'a> {
    pub(crate) fn new(client: &'a Client, container: &'a str, tree: &'a MountTree<'a>) -> Self {
        Self {
            client,
            container,
            tree,
            known: HashMap::new(),
        }
    }

    /// Why the file at this path cannot be read, if a symbolic link on the way leads into a file system that is gone. Errors: the
    /// engine cannot be asked.
    pub(crate) fn lost(&mut self, path: &str) -> Result<Option<String>, docker::Error> {
        let Some((directory, _)) = path.rsplit_once('/') else {
            return Ok(None);
        };
        let mut left: Vec<String> = components(directory).rev().collect();
        let mut resolved = String::new();
        let mut links = 0;
        while let Some(component) = left.pop() {
            match component.as_str() {
                ".." => resolved.truncate(resolved.rfind('/').unwrap_or(0)),
                component => {
                    let next = format!("{resolved}/{component}");
                    match self.look(&next)? {
                        None => return Ok(None),
                        Some(found) if found == next => resolved = next,
                        Some(_) if links == MOST_LINKS => return Ok(None),
                        Some(target) => {
                            links += 1;
                            left.extend(components(&target).rev());
                            if target.starts_with('/') {
                                resolved.clear();
                            }
                        }
                    }
                }
            }
        }
        // Not before the end: in a file system that is gone, something may have been mounted that is not.
        Ok(self.gone(&resolved).map(|place| {
            format!(
                "a symbolic link leads to {resolved}, below {place}, whose content is gone when the container ends"
            )
        }))
    }

    /// Where the content at this path was mounted that is gone now.
    fn gone(&self, path: &str) -> Option<String> {
        match self.tree.covering(path) {
            Some((place, Mounted::Tmpfs)) => Some(place.to_owned()),
            Some(_) => None,
            None => {
                let is_in = |directory: &&str| {
                    let below = path.strip_prefix(*directory);
                    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
                };
                RUNTIME_DIRECTORIES
                    .into_iter()
                    .find(is_in)
                    .map(str::to_owned)
            }
        }
    }

    /// The path itself, or the target of the link that is there. What is gone need not exist any more.
    fn look(&mut self, path: &str) -> Result<Option<String>, docker::Error> {
        if self.gone(path).is_some() {
            return Ok(Some(path.to_owned()));
        }
        if let Some(known) = self.known.get(path) {
            return Ok(known.clone());
        }
        let found = match self.client.archive_stat(self.container, path) {
            Ok(stat) => stat.map(|stat| target(path, stat)),
            // The engine cannot resolve it; it will say so when the file is read.
            Err(docker::Error::Status { .. }) => None,
            Err(error) => return Err(error),
        };
        self.known.insert(path.to_owned(), found.clone());
        Ok(found)
    }
}

fn target(path: &str, stat: PathStat) -> String {
    match stat.is_symlink() {
        true => stat.link_target,
        false => path.to_owned(),
    }
}

fn components(path: &str) -> impl DoubleEndedIterator<Item = String> {
    let parts = path.split('/');
    parts
        .filter(|part| !part.is_empty() && *part != ".")
        .map(str::to_owned)
}
