//! Stages a run's content: one helper container with one anonymous volume, filled by one archive. The run then binds single
//! items of that volume.

use crate::archive::{self, Packer, UidGid};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::Role;
use crate::runner::cleanup::owned::Owned;
use crate::runner::cleanup::removal::Object;
use crate::runner::error::Error;
use crate::runner::request::mount_tree::MountTree;
use crate::runner::request::mounts::{MountSource, MountSpec};
use crate::runner::request::spec::RunSpec;
use crate::runner::run::container_config::{StageVolume, object_labels};
use crate::runner::staging::helper::{HelperSpec, STAGE, anonymous_volume};
use crate::runner::staging::upload::{Modes, pack_files, staged_name, upload};
use std::io::Write;

/// Modes of what was sent as text. It belongs to the run's user.
const TEXT_MODES: Modes = Modes {
    file: 0o644,
    directory: 0o777,
};

/// A filled stage.
pub(crate) struct Staged {
    /// Id of the helper.
    pub(crate) helper: String,
    pub(crate) volume: StageVolume,
}

/// What is staged.
pub(crate) struct Contents<'a> {
    pub(crate) spec: &'a RunSpec,
    pub(crate) owner: UidGid,
    /// The volumes that the image declares.
    pub(crate) image_volumes: &'a [String],
}

/// Puts every item of the run on one volume. `None`: the run has nothing to stage.
pub(crate) fn stage(
    engine: &Engine,
    contents: &Contents<'_>,
    owned: &mut Owned,
) -> Result<Option<Staged>, Error> {
    let spec = contents.spec;
    if !spec.mounts.iter().any(MountSpec::is_staged) {
        return Ok(None);
    }
    let labels = object_labels(spec, &engine.identity, Role::Stage);
    let volume = anonymous_volume(labels.clone());
    let name = format!("oneoff-{}-stage", spec.id);
    let guard = HelperSpec::with_mount(&name, labels, volume).create(engine)?;
    let helper = guard.id().to_owned();
    owned.add_last(guard);
    let inspected = engine.client.container_inspect(&helper)?;
    let Some(mount) = inspected
        .mounts
        .into_iter()
        .find(|mount| mount.destination == STAGE)
    else {
        return Err(Error::Engine(
            "the engine does not say where the staging volume is".into(),
        ));
    };
    // By name too, because a prune of containers removes the helper without its volume.
    let volume = Object::Volume(mount.name.clone());
    owned.add_last(engine.removal.own(volume));
    upload(&engine.client, &helper, contents.owner, |packer| {
        pack(packer, contents)
    })?;
    Ok(Some(Staged {
        helper,
        volume: StageVolume {
            name: mount.name,
            mountpoint: mount.source,
            masked_paths: inspected.host_config.masked_paths,
        },
    }))
}

fn pack<W: Write>(packer: &mut Packer<W>, contents: &Contents<'_>) -> Result<(), archive::Error> {
    let spec = contents.spec;
    let tree = MountTree::new(spec, contents.image_volumes);
    let mut allowance = archive::Allowance::new(spec.archive_limits());
    for (index, mount) in spec.mounts.iter().enumerate() {
        let name = staged_name(&index.to_string());
        match &mount.source {
            MountSource::File { mode, content } => packer.file(&name, *mode, content)?,
            MountSource::Archive(content) => {
                packer.directory(&name, 0o777)?;
                packer.targz(&name, content, 0, &mut allowance)?;
            }
            MountSource::Files(files) => {
                packer.directory(&name, 0o777)?;
                pack_files(packer, &format!("{name}/"), files, TEXT_MODES)?;
            }
            MountSource::CollectedFile | MountSource::Named(_) | MountSource::Host(_) => continue,
        }
        for point in tree.points_in(index) {
            packer.mount_point(&name, point)?;
        }
    }
    Ok(())
}
