//! Opens an existing volume for reading, through a helper. An engine that does not have the volume creates it, empty, with the
//! container that mounts it; such a volume is never taken for the one that was asked for.

use crate::docker::{self, Client, Labels, Mount, VolumeOptions};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::RUN;
use crate::runner::cleanup::removal::{Object, RemovalGuard};
use crate::runner::staging::helper::{HelperSpec, STAGE};

/// The mount of a volume that must exist. The labels are those of the container that mounts it: if the engine creates the volume
/// for it, they tell [`is_made_for`] so.
pub(crate) fn existing_volume(name: &str, labels: Labels) -> Mount {
    Mount {
        kind: "volume".into(),
        source: name.to_owned(),
        target: STAGE.into(),
        volume_options: Some(VolumeOptions {
            labels,
            ..VolumeOptions::default()
        }),
        ..Mount::default()
    }
}

/// Whether the engine created the volume for a container of this run, because there was no volume of this name.
pub(crate) fn is_made_for(client: &Client, volume: &str, run: &str) -> Result<bool, docker::Error> {
    let volume = client.volume_inspect(volume)?;
    Ok(volume.labels.get(RUN).is_some_and(|made| made == run))
}

/// A helper with an existing volume at [`STAGE`], read only. `name` and `labels` are the helper's. `Ok(None)`: there is no such
/// volume.
pub(crate) fn open_volume(
    engine: &Engine,
    volume: &str,
    name: &str,
    labels: Labels,
) -> Result<Option<RemovalGuard>, docker::Error> {
    let run = labels.get(RUN).cloned().unwrap_or_default();
    let mount = Mount {
        read_only: true,
        ..existing_volume(volume, labels.clone())
    };
    let mut helper = HelperSpec::with_mount(name, labels, mount).create(engine)?;
    if !is_made_for(&engine.client, volume, &run)? {
        return Ok(Some(helper));
    }
    helper.then(engine.removal.own(Object::Volume(volume.to_owned())));
    // Now, because the caller may create a volume of this name next.
    let _ = helper.remove_now(&engine.client);
    Ok(None)
}
