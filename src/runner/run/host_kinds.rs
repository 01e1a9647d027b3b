//! Whether host paths are files or directories, asked of the engine, which alone sees its host.

use crate::archive::MountPointKind;
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::OBJECT_SLACK;
use crate::runner::error::Error;
use crate::runner::request::host_paths::below_outermost;
use crate::runner::request::mount_tree::MountTree;
use crate::runner::request::spec::RunSpec;
use crate::runner::staging::transfer_container::{HelperSpec, reading_bind};
use crate::runner::volumes::host_paths::look_below;
use std::collections::BTreeMap;

/// What each host path is whose place to be mounted on has to be staged, by index of its mount. Errors:
/// there is no such path, a link is in it, or the engine's.
pub(crate) fn host_kinds(
    engine: &Engine,
    spec: &RunSpec,
) -> Result<BTreeMap<usize, MountPointKind>, Error> {
    let tree = MountTree::new(spec, &[]);
    let mut kinds = BTreeMap::new();
    for (index, path) in tree.hosts_in_sealed_stages() {
        let Some(path) = below_outermost(&spec.allowed_host_paths, path) else {
            continue;
        };
        let name = format!("oneoff-{}-kind-{index}", spec.id);
        let labels = engine.identity.labels(&spec.id, OBJECT_SLACK);
        let helper = HelperSpec::with_mount(&name, labels, reading_bind(&path.base));
        if let Some(found) = look_below(engine, helper, &path)? {
            let kind = match found.is_directory() {
                true => MountPointKind::Directory,
                false => MountPointKind::File,
            };
            kinds.insert(index, kind);
        }
    }
    Ok(kinds)
}
