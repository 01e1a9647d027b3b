//! The first filling of a named volume, atomic: a crash at any point leaves a complete volume, or one that counts as
//! absent until it is removed.
//!
//! A marker exists from before the volume's creation until the volume is complete or removed. The marker is an empty
//! volume of its own: no container mounts it, so its removal is quick and does not fail with "in use". The order is:
//! create the marker; create the volume and the helper container (one call); put the content; remove the helper, on failure
//! also the volume; remove the marker.

use crate::docker::{self, Client, Labels, Volume, VolumeCreate};
use crate::runner::cleanup::labels::{FILLS, KEPT, RUN};

/// One first filling: its id and the name of the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) id: String,
    pub(crate) volume: String,
}

impl Fill {
    /// Reads a fill from the labels of its helper or its marker. `None`: they belong to neither.
    pub(crate) fn from_labels(labels: &Labels) -> Option<Self> {
        Some(Self {
            id: labels.get(RUN)?.clone(),
            volume: labels.get(FILLS)?.clone(),
        })
    }

    /// Name of the helper container through which the content is put.
    pub(crate) fn helper(&self) -> String {
        helper_name(&self.id)
    }

    fn marker(&self) -> String {
        marker_name(&self.id)
    }

    /// Creates the marker: from here on the volume is not complete. `labels` are those of the helper.
    pub(crate) fn create_marker(
        &self,
        client: &Client,
        labels: &Labels,
    ) -> Result<(), docker::Error> {
        let marker = VolumeCreate {
            name: self.marker(),
            driver: "local".into(),
            driver_opts: client.options_against_prunes()?,
            labels: labels.clone(),
        };
        client.volume_create(&marker).map(drop)
    }

    /// Removes the helper, then the marker: from here on the volume is complete.
    pub(crate) fn complete(&self, client: &Client) -> Result<(), docker::Error> {
        client.container_remove(&self.helper())?;
        client.volume_remove(&self.marker())
    }

    /// Removes the helper, the volume if this fill created it, and the marker. Can be repeated after a failure at any point.
    pub(crate) fn roll_back(&self, client: &Client) -> Result<(), docker::Error> {
        client.container_remove(&self.helper())?;
        match client.volume_inspect(&self.volume) {
            Ok(found) if found.labels.get(KEPT) == Some(&self.id) => {
                client.volume_remove(&self.volume)?;
            }
            // Created by another client, or absent.
            Ok(_) | Err(docker::Error::Status { status: 404, .. }) => {}
            Err(error) => return Err(error),
        }
        client.volume_remove(&self.marker())
    }
}

/// What the name of a fill's helper ends with.
pub(crate) const FILL_PART: &str = "fill";

/// Name of the helper container of the fill with this id.
pub(crate) fn helper_name(fill: &str) -> String {
    format!("oneoff-{fill}-{FILL_PART}")
}

fn marker_name(fill: &str) -> String {
    format!("oneoff-{fill}-unfinished")
}

/// Whether the volume is still being filled or rolled back, by this process or another.
pub(crate) fn is_unfinished(client: &Client, volume: &Volume) -> Result<bool, docker::Error> {
    let Some(fill) = volume.labels.get(KEPT) else {
        return Ok(false);
    };
    match client.volume_inspect(&marker_name(fill)) {
        Ok(marker) => Ok(marker.labels.get(FILLS) == Some(&volume.name)),
        // 400: another client set the label to something that cannot be part of a name.
        Err(docker::Error::Status {
            status: 400 | 404, ..
        }) => Ok(false),
        Err(error) => Err(error),
    }
}
