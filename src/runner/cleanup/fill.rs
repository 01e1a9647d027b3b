//! The first filling of a named volume: whoever is killed in the middle of it leaves the volume absent or complete.
//!
//! A marker is there from before the volume's creation until the volume is complete or gone: an empty volume of its own,
//! since nothing mounts that, and its removal can neither fail for the filling's sake nor take long. The order is marker,
//! volume and helper (one call), content, then away with the helper, with the volume if it failed, and last the marker.

use crate::docker::{self, Client, Labels, Volume, VolumeCreate};
use crate::runner::cleanup::labels::{FILLS, KEPT, RUN};

/// A volume that is filled by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) id: String,
    pub(crate) volume: String,
}

impl Fill {
    /// The fill that helper and marker tell of by their labels.
    pub(crate) fn of(labels: &Labels) -> Option<Self> {
        Some(Self {
            id: labels.get(RUN)?.clone(),
            volume: labels.get(FILLS)?.clone(),
        })
    }

    /// Name of the helper that the content goes through.
    pub(crate) fn helper(&self) -> String {
        helper_name(&self.id)
    }

    fn marker(&self) -> String {
        marker_name(&self.id)
    }

    /// Says that the volume is not complete; `labels` are those of the helper.
    pub(crate) fn mark(&self, client: &Client, labels: &Labels) -> Result<(), docker::Error> {
        let marker = VolumeCreate {
            name: self.marker(),
            driver: "local".into(),
            labels: labels.clone(),
            ..VolumeCreate::default()
        };
        client.volume_create(&marker).map(drop)
    }

    /// Says that the volume is complete.
    pub(crate) fn complete(&self, client: &Client) -> Result<(), docker::Error> {
        client.container_remove(&self.helper())?;
        client.volume_remove(&self.marker())
    }

    /// Takes it back, if it is this fill that made the volume. Cut short anywhere, it can be done again.
    pub(crate) fn take_back(&self, client: &Client) -> Result<(), docker::Error> {
        client.container_remove(&self.helper())?;
        match client.volume_inspect(&self.volume) {
            Ok(found) if found.labels.get(KEPT) == Some(&self.id) => {
                client.volume_remove(&self.volume)?;
            }
            // Somebody else made it in the meantime.
            Ok(_) | Err(docker::Error::Status { status: 404, .. }) => {}
            Err(error) => return Err(error),
        }
        client.volume_remove(&self.marker())
    }
}

/// Name of the helper of a fill.
pub(crate) fn helper_name(fill: &str) -> String {
    format!("oneoff-{fill}-fill")
}

fn marker_name(fill: &str) -> String {
    format!("oneoff-{fill}-unfinished")
}

/// Whether a volume of ours is still being filled, or taken back, whoever does it.
pub(crate) fn is_unfinished(client: &Client, volume: &Volume) -> Result<bool, docker::Error> {
    let Some(fill) = volume.labels.get(KEPT) else {
        return Ok(false);
    };
    match client.volume_inspect(&marker_name(fill)) {
        Ok(marker) => Ok(marker.labels.get(FILLS) == Some(&volume.name)),
        // A label that somebody else wrote need not even make a name.
        Err(docker::Error::Status {
            status: 400 | 404, ..
        }) => Ok(false),
        Err(error) => Err(error),
    }
}
