//! Mounts volumes that must exist. An engine that does not have the volume creates it, empty, with the container that mounts it;
//! such a volume is recognised by a label, and never taken for the one that was asked for.

use crate::docker::{self, Client, Labels, Mount, VolumeOptions};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::removal::{Object, RemovalGuard};
use crate::runner::staging::transfer_container::{HelperSpec, STAGE};
use std::time::{Duration, Instant};

/// On a volume that the engine created for the lack of the one that was asked for: the name of the container that mounts it.
const MADE_FOR: &str = "oneoff.made-for";

/// How long the removal of such a volume is waited for.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(10);

/// The options for a mount of a volume that must exist, in a container of this name with these labels. Nothing that the image has
/// at that path is copied into an empty volume: the mount hides it.
pub(crate) fn must_exist(container: &str, mut labels: Labels) -> VolumeOptions {
    labels.insert(MADE_FOR.into(), container.to_owned());
    VolumeOptions {
        no_copy: true,
        labels,
        ..VolumeOptions::default()
    }
}

/// Whether the engine created the volume for the container of this name, which mounts it by [`must_exist`].
pub(crate) fn is_made_for(
    client: &Client,
    volume: &str,
    container: &str,
) -> Result<bool, docker::Error> {
    let volume = client.volume_inspect(volume)?;
    Ok(volume
        .labels
        .get(MADE_FOR)
        .is_some_and(|made_for| made_for == container))
}

/// A helper with an existing volume at [`STAGE`], read only. `name` and `labels` are the helper's. `Ok(None)`: there is no such
/// volume.
pub(crate) fn open_volume(
    engine: &Engine,
    volume: &str,
    name: &str,
    labels: Labels,
) -> Result<Option<RemovalGuard>, docker::Error> {
    let mount = Mount {
        kind: "volume".into(),
        source: volume.to_owned(),
        target: STAGE.into(),
        read_only: true,
        volume_options: Some(must_exist(name, labels.clone())),
    };
    let mut helper = HelperSpec::with_mount(name, labels, mount).create(engine)?;
    if !is_made_for(&engine.client, volume, name)? {
        return Ok(Some(helper));
    }
    helper.then(engine.removal.own(Object::Volume(volume.to_owned())));
    // Before the answer, because the caller may create a volume of this name next.
    helper.remove_by(Instant::now() + REMOVAL_PATIENCE);
    Ok(None)
}
