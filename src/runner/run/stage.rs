//! Stages a run's content: one helper container with one anonymous volume, filled by one archive. The run then binds single
//! items of that volume.

use crate::archive::{self, Packer, UidGid};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::Role;
use crate::runner::cleanup::removal::RemovalGuard;
use crate::runner::error::Error;
use crate::runner::request::mounts::MountSource;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::container_config::object_labels;
use crate::runner::staging::helper::{HelperSpec, STAGE, anonymous_volume};
use crate::runner::staging::upload::{pack_files, staged_name, upload};
use std::io::Write;

/// A filled stage. Dropping it removes helper and volume.
pub(crate) struct Staged {
    helper: RemovalGuard,
    /// Where the engine keeps the volume: the source of the run's binds.
    mountpoint: String,
}

impl Staged {
    /// A stage that an earlier process filled. Items can be read back from it; it cannot be mounted.
    pub(crate) fn adopted(helper: RemovalGuard) -> Self {
        Self {
            helper,
            mountpoint: String::new(),
        }
    }

    /// Path of the volume on the engine's host.
    pub(crate) fn mountpoint(&self) -> &str {
        &self.mountpoint
    }

    /// The helper's id, and the path in it of the item with this index.
    pub(crate) fn item(&self, index: usize) -> (&str, String) {
        (self.helper.id(), format!("{STAGE}/{index}"))
    }
}

/// Puts every item of the run on one volume, owned by `owner`. `None`: the run has nothing to stage.
pub(crate) fn stage(
    engine: &Engine,
    spec: &RunSpec,
    owner: UidGid,
) -> Result<Option<Staged>, Error> {
    if !spec.mounts.iter().any(|mount| is_staged(&mount.source)) {
        return Ok(None);
    }
    let labels = object_labels(spec, &engine.identity, Role::Stage);
    let volume = anonymous_volume(labels.clone());
    let name = format!("oneoff-{}-stage", spec.id);
    let helper = HelperSpec::with_mount(&name, labels, volume).create(engine)?;
    let inspected = engine.client.container_inspect(helper.id())?;
    let Some(mountpoint) = inspected
        .mounts
        .into_iter()
        .find(|mount| mount.destination == STAGE)
    else {
        return Err(Error::Engine(
            "the engine does not say where the staging volume is".into(),
        ));
    };
    upload(&engine.client, helper.id(), owner, |packer| {
        pack(packer, spec)
    })?;
    Ok(Some(Staged {
        helper,
        mountpoint: mountpoint.source,
    }))
}

fn is_staged(source: &MountSource) -> bool {
    matches!(
        source,
        MountSource::File { .. } | MountSource::Archive(_) | MountSource::Files(_)
    )
}

fn pack<W: Write>(packer: &mut Packer<W>, spec: &RunSpec) -> Result<(), archive::Error> {
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
                pack_files(packer, &format!("{name}/"), files)?;
            }
            MountSource::CollectedFile | MountSource::Named(_) | MountSource::Host(_) => {}
        }
    }
    Ok(())
}
