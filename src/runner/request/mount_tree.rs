//! How everything that is mounted in a run's container lies within each other: what a path in the container leads to, and what is
//! mounted inside what. Pure.

use crate::archive::{self, MountPoint, MountPointKind};
use crate::runner::request::check::Check;
use crate::runner::request::mounts::{self, Access, MountSource, MountSpec};
use crate::runner::request::spec::RunSpec;
use std::collections::BTreeMap;
use std::iter::successors;

/// Files that the engine mounts in every container.
const ENGINE_FILES: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// Everything that is mounted, by path.
pub(crate) struct MountTree<'a> {
    mounts: &'a [MountSpec],
    nodes: BTreeMap<String, Mounted>,
    /// By index of a mount: what is mounted directly inside it.
    points: BTreeMap<usize, Vec<MountPoint>>,
    /// By index of a mount: what a host path is, as far as it is known.
    host_kinds: BTreeMap<usize, MountPointKind>,
    /// By index of a mount: what it lies in. Absent: the image's own file system.
    around: BTreeMap<usize, Place>,
}

/// What is mounted at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mounted {
    /// The mount of the request with this index.
    Volume(usize),
    Tmpfs,
    /// A volume that the image declares.
    ImageVolume,
    EngineFile,
}

/// A path at which something is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    path: String,
    mounted: Mounted,
}

impl<'a> MountTree<'a> {
    /// `image_volumes`: the volumes that the image declares, as it spells them. What host paths are is not known.
    pub(crate) fn new(spec: &'a RunSpec, image_volumes: &[String]) -> Self {
        Self::with_host_kinds(spec, image_volumes, BTreeMap::new())
    }

    /// As [`MountTree::new`], with what the host paths of the mounts with these indices are.
    pub(crate) fn with_host_kinds(
        spec: &'a RunSpec,
        image_volumes: &[String],
        host_kinds: BTreeMap<usize, MountPointKind>,
    ) -> Self {
        let mut nodes = BTreeMap::new();
        nodes.extend(ENGINE_FILES.map(|path| (path.to_owned(), Mounted::EngineFile)));
        let declared = image_volumes
            .iter()
            .filter_map(|path| mounts::target(path).ok());
        nodes.extend(declared.map(|path| (path, Mounted::ImageVolume)));
        nodes.extend(spec.tmpfs.keys().map(|path| (path.clone(), Mounted::Tmpfs)));
        let mounted = spec.mounts.iter().enumerate();
        let mounted = mounted.filter(|(_, mount)| mount.is_mounted_at(&mount.target));
        nodes.extend(mounted.map(|(index, mount)| (mount.target.clone(), Mounted::Volume(index))));
        let mut tree = Self {
            mounts: &spec.mounts,
            nodes,
            points: BTreeMap::new(),
            host_kinds,
            around: BTreeMap::new(),
        };
        tree.nest();
        tree
    }

    /// Finds what each path lies in, in one pass over the sorted paths: a caller may send many deep ones.
    fn nest(&mut self) {
        let places = self.nodes.iter().map(|(path, mounted)| Place {
            path: path.clone(),
            mounted: *mounted,
        });
        let collected = self.mounts.iter().enumerate();
        let collected = collected.filter(|(_, mount)| !mount.is_mounted_at(&mount.target));
        let collected = collected.map(|(index, mount)| Place {
            path: mount.target.clone(),
            mounted: Mounted::Volume(index),
        });
        let mut places: Vec<Place> = places.chain(collected).collect();
        // Directories before what is in them: "/" sorts after "-" and "." otherwise. The sort is stable, so that what is mounted comes
        // before what is collected from the same path.
        places.sort_by_cached_key(|place| place.path.replace('/', "\0"));
        let mut above: Vec<Place> = Vec::new();
        for place in places {
            while above
                .last()
                .is_some_and(|outer| !is_in(&place.path, &outer.path))
            {
                above.pop();
            }
            self.put(&place, above.last());
            if self.nodes.get(&place.path) == Some(&place.mounted) {
                above.push(place);
            }
        }
    }

    fn put(&mut self, place: &Place, outer: Option<&Place>) {
        let Some(outer) = outer else { return };
        if let Mounted::Volume(index) = place.mounted {
            self.around.insert(index, outer.clone());
        }
        let is_mounted = self.nodes.get(&place.path) == Some(&place.mounted);
        if let (Mounted::Volume(index), true) = (outer.mounted, is_mounted) {
            let point = MountPoint {
                name: place.path[outer.path.len() + 1..].to_owned(),
                kind: self.kind(place.mounted),
            };
            self.points.entry(index).or_default().push(point);
        }
    }

    /// The innermost mount that `path` lies in or is mounted at, and where that is mounted. `None`: the image's own file system.
    pub(crate) fn covering(&self, path: &str) -> Option<(&str, Mounted)> {
        let mut parents = successors(Some(path), |path| parent(path));
        let found = parents.find_map(|path| self.nodes.get_key_value(path));
        found.map(|(path, mounted)| (path.as_str(), *mounted))
    }

    /// What is mounted directly inside the mount with this index, outermost first.
    pub(crate) fn points_in(&self, index: usize) -> &[MountPoint] {
        self.points.get(&index).map_or(&[], Vec::as_slice)
    }

    /// The files that are collected from the mount with this index.
    pub(crate) fn collected_from(&self, index: usize) -> impl Iterator<Item = &MountSpec> {
        let is_in = move |outer: &Place| outer.mounted == Mounted::Volume(index);
        let mounts = self.around.iter().filter(move |(_, outer)| is_in(outer));
        let mounts = mounts.map(|(index, _)| &self.mounts[*index]);
        mounts.filter(|mount| matches!(mount.source, MountSource::CollectedFile))
    }

    /// Index and path of every host path that is mounted directly inside a staged `:ro` directory, where the engine cannot make
    /// the place to mount it on.
    pub(crate) fn hosts_in_sealed_stages(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_sealed = |outer: &Place| match outer.mounted {
            Mounted::Volume(outer) => {
                let outer = &self.mounts[outer];
                outer.is_staged() && outer.access == Access::ReadOnly
            }
            _ => false,
        };
        let inside = self
            .around
            .iter()
            .filter(move |(_, outer)| is_sealed(outer));
        inside.filter_map(|(index, _)| match &self.mounts[*index].source {
            MountSource::Host(path) => Some((*index, path.as_str())),
            _ => None,
        })
    }

    fn kind(&self, mounted: Mounted) -> MountPointKind {
        match mounted {
            Mounted::Tmpfs | Mounted::ImageVolume => MountPointKind::Directory,
            Mounted::EngineFile => MountPointKind::File,
            Mounted::Volume(index) => match self.mounts[index].source {
                MountSource::File { .. } | MountSource::CollectedFile => MountPointKind::File,
                MountSource::Host(_) => {
                    let known = self.host_kinds.get(&index).copied();
                    known.unwrap_or(MountPointKind::Unknown)
                }
                MountSource::Archive(_) | MountSource::Files(_) | MountSource::Named(_) => {
                    MountPointKind::Directory
                }
            },
        }
    }
}

fn parent(path: &str) -> Option<&str> {
    let (parent, _) = path.rsplit_once('/')?;
    Some(parent).filter(|parent| !parent.is_empty())
}

fn is_in(path: &str, directory: &str) -> bool {
    let below = path.strip_prefix(directory);
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

impl Check<'_> {
    /// Refuses mounts that cannot be made or read back because of where they lie. What is inside an archive is not known yet.
    pub(crate) fn nesting(&mut self, spec: &RunSpec) {
        let tree = MountTree::new(spec, &[]);
        for (index, mount) in spec.mounts.iter().enumerate() {
            if let Some(fault) = tree.fault(index, mount) {
                self.reader
                    .within("volumes", |reader| reader.fault_at(&mount.sent_key, fault));
            }
        }
        for path in spec.tmpfs.keys() {
            let outer = parent(path).and_then(|parent| tree.covering(parent));
            if let Some(fault) = outer.and_then(|(_, outer)| tree.file_above(outer)) {
                self.reader
                    .within("tmpfs", |reader| reader.fault_at(path, fault));
            }
        }
    }
}

impl MountTree<'_> {
    fn fault(&self, index: usize, mount: &MountSpec) -> Option<String> {
        let outer = self.around.get(&index);
        outer
            .and_then(|outer| self.file_above(outer.mounted))
            .or_else(|| match &mount.source {
                MountSource::Files(files) => {
                    let checked = archive::check_mount_points(files.keys(), self.points_in(index));
                    checked.err().map(|error| error.to_string())
                }
                MountSource::CollectedFile => outer.and_then(lost_with),
                _ => None,
            })
    }

    fn file_above(&self, outer: Mounted) -> Option<String> {
        let Mounted::Volume(index) = outer else {
            return None;
        };
        let above = &self.mounts[index];
        let is_file = matches!(above.source, MountSource::File { .. });
        is_file.then(|| format!("lies below volumes.{}, which is a file", above.sent_key))
    }
}

/// Why a file cannot be collected from this place.
fn lost_with(outer: &Place) -> Option<String> {
    (outer.mounted == Mounted::Tmpfs).then(|| {
        format!(
            "cannot be collected: it lies in tmpfs.{}, whose content is gone when the container ends",
            outer.path
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::runner::policy::Policy;
    use crate::runner::request::check::ApiProfile;
    use crate::runner::request::lenient::Spelling;
    use crate::runner::request::types::PullPolicy;

    #[test]
    fn each_path_lies_in_the_innermost_mount_around_it() {
        let directory = || serde_json::json!({"type": "directory"});
        let collected = || serde_json::json!({"type": "file", "response": true});
        // In the order of the keys, which is that of the indices.
        let request = serde_json::json!({
            "image": "x", "tmpfs": ["/a/b/t"],
            "volumes": {"/a": directory(), "/a-b": directory(), "/a.b/c": directory(), "/a/b": directory(), "/a/b/t/d": directory(),
                "/a/c/d": directory(), "/a/c/e": collected()},
        });
        let profile = ApiProfile {
            root: "body",
            pull_policy: PullPolicy::Never,
            spelling: Spelling::Exact,
        };
        let spec = RunSpec::from_json(request, profile, &Policy::default()).unwrap();
        let tree = MountTree::new(&spec, &["/a/b/v/".to_owned(), "/a/c/d".to_owned()]);
        let points = |index: usize| -> Vec<&str> {
            let points = tree.points_in(index).iter();
            points.map(|point| point.name.as_str()).collect()
        };
        assert_eq!(points(0), ["b", "c/d"]);
        assert_eq!(points(3), ["t", "v"]);
        assert_eq!(
            [points(1), points(2), points(4), points(5)].concat(),
            [""; 0]
        );
        for (path, expected) in [
            ("/a", Some(("/a", Mounted::Volume(0)))),
            ("/a/x/y", Some(("/a", Mounted::Volume(0)))),
            ("/a/c/e", Some(("/a", Mounted::Volume(0)))),
            ("/a-b/x", Some(("/a-b", Mounted::Volume(1)))),
            ("/a.b/x", None),
            ("/a/b/t/x", Some(("/a/b/t", Mounted::Tmpfs))),
            ("/a/b/t/d/x", Some(("/a/b/t/d", Mounted::Volume(4)))),
            ("/a/b/v/x", Some(("/a/b/v", Mounted::ImageVolume))),
            ("/a/c/d", Some(("/a/c/d", Mounted::Volume(5)))),
            ("/etc/hosts", Some(("/etc/hosts", Mounted::EngineFile))),
            ("/", None),
        ] {
            assert_eq!(tree.covering(path), expected, "{path}");
        }
        let collected: Vec<&str> = tree
            .collected_from(0)
            .map(|mount| mount.key.as_str())
            .collect();
        assert_eq!(collected, ["/a/c/e"]);
    }
}
