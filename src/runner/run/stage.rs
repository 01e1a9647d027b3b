//! Stages a run's content: one helper container with one volume, filled by one archive. The run then binds single items of that
//! volume. The volume is one that no prune takes, so that what a run leaves there outlasts the containers that mount it.

use crate::archive::{self, Packer, UidGid};
use crate::docker::{self, Client};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::Role;
use crate::runner::cleanup::owned::Owned;
use crate::runner::cleanup::removal::Object;
use crate::runner::error::Error;
use crate::runner::request::mount_tree::MountTree;
use crate::runner::request::mounts::{MountSource, MountSpec};
use crate::runner::request::spec::RunSpec;
use crate::runner::run::container_config::{StageVolume, object_labels};
use crate::runner::run::host_kinds::host_kinds;
use crate::runner::staging::transfer_container::{HelperSpec, STAGE, lasting_volume};
use crate::runner::staging::upload::{Modes, StagedNames, pack_files, upload};
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

/// Name of a run's staging volume, and of the helper that mounts it.
pub(crate) fn stage_name(run: &str) -> String {
    format!("oneoff-{run}-stage")
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
    let name = stage_name(&spec.id);
    // Owned by name first: the volume is not removed with the helper.
    let volume = Object::Volume(name.clone());
    owned.add_last(engine.removal.own(volume));
    let volume = lasting_volume(&engine.client, &name, labels.clone())?;
    let guard = HelperSpec::with_mount(&name, labels, volume).create(engine)?;
    let helper = guard.id().to_owned();
    owned.add_first(guard);
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
    let tree = MountTree::with_host_kinds(spec, contents.image_volumes, host_kinds(engine, spec)?);
    upload(&engine.client, &helper, contents.owner, |packer, names| {
        pack(packer, names, &tree, spec)
    })?;
    // Podman takes an archive for a place where nothing is mounted. Docker finds out by itself when it mounts the items.
    if engine.client.is_podman()?
        && let Some(mount) = missing_item(&engine.client, &helper, spec)?
    {
        return Err(not_arrived(mount));
    }
    Ok(Some(Staged {
        helper,
        volume: StageVolume {
            name: mount.name,
            mountpoint: mount.source,
            masked_paths: inspected.host_config.masked_paths,
            mounts_parts: engine.client.mounts_parts_of_volumes()?,
        },
    }))
}

/// A mount whose content was sent and is not on the volume. `None`: it is all there.
pub(crate) fn missing_item<'a>(
    client: &Client,
    helper: &str,
    spec: &'a RunSpec,
) -> Result<Option<&'a MountSpec>, docker::Error> {
    let mut items = spec.mounts.iter().enumerate();
    // All went in one archive, so that one of them speaks for the others.
    let Some((index, mount)) = items.rfind(|(_, mount)| mount.is_staged()) else {
        return Ok(None);
    };
    let found = client.archive_stat(helper, &format!("{STAGE}/{index}"))?;
    Ok(found.is_none().then_some(mount))
}

pub(crate) fn not_arrived(mount: &MountSpec) -> Error {
    Error::Engine(format!(
        "the engine took the content for {} and does not have it; the container was not started",
        mount.key
    ))
}

fn pack<W: Write>(
    packer: &mut Packer<W>,
    names: StagedNames,
    tree: &MountTree<'_>,
    spec: &RunSpec,
) -> Result<(), archive::Error> {
    let mut allowance = archive::Allowance::new(spec.archive_limits());
    for (index, mount) in spec.mounts.iter().enumerate() {
        let name = names.below(&index.to_string());
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
