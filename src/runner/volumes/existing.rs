//! Whether a volume that exists is the one that a request asks for. Pure.

use crate::docker::Volume;
use crate::runner::cleanup::labels::{KEPT, VOLUME_OWNER};
use crate::runner::error::Error;
use crate::runner::request::spec::LABEL_PREFIX;
use crate::runner::request::values::NumericOwner;
use crate::runner::request::volume::{KEEPS_NOTHING, VolumeSpec, is_in_memory};
use crate::runner::volumes::driver_options::named_options;
use std::collections::BTreeMap;

/// Checks a volume of this service against a request to write it. What the request does not name may be anything. Errors:
/// [`Error::Conflict`] naming what differs, without values, which may be secrets; [`Error::Invalid`] for content that the volume
/// would not keep.
pub(crate) fn require_as_asked(spec: &VolumeSpec, volume: &Volume) -> Result<(), Error> {
    let differences = differences(spec, volume);
    if !differences.is_empty() {
        return Err(Error::Conflict {
            code: "volume_differs",
            detail: format!(
                "volume {} exists, and differs from the request in {}",
                spec.name,
                differences.join(", ")
            ),
        });
    }
    match spec.content.field() {
        Some(field) if is_in_memory(&volume.driver, &volume.options) => {
            Err(Error::invalid(&[spec.loc_root, field], KEEPS_NOTHING))
        }
        _ => Ok(()),
    }
}

/// Checks that a create call made this volume: if another client was faster, the engine returns that client's. `id` is what the
/// call put into the label.
pub(crate) fn require_created_by(id: &str, volume: &Volume) -> Result<(), Error> {
    match volume.labels.get(KEPT).is_some_and(|label| label == id) {
        true => Ok(()),
        false => Err(Error::Conflict {
            code: "volume_not_ours",
            detail: format!(
                "another client created a volume {} at this moment",
                volume.name
            ),
        }),
    }
}

/// The owner that the volume was created with. `None`: none was asked for.
pub(crate) fn owner_of(volume: &Volume) -> Option<NumericOwner> {
    NumericOwner::parse(volume.labels.get(VOLUME_OWNER)?)
}

fn differences(spec: &VolumeSpec, volume: &Volume) -> Vec<String> {
    let mut found = Vec::new();
    if spec
        .driver
        .as_ref()
        .is_some_and(|driver| *driver != volume.driver)
    {
        found.push("driver".to_owned());
    }
    if let Some(asked) = &spec.driver_opts {
        let options = named_options(&volume.options);
        // A request may name the option that this service adds by itself.
        if *asked != volume.options {
            found.extend(different_keys("driver_opts", asked, &options));
        }
    }
    if let Some(asked) = &spec.labels {
        let mut labels = volume.labels.clone();
        labels.retain(|key, _| !key.starts_with(LABEL_PREFIX));
        found.extend(different_keys("labels", asked, &labels));
    }
    if spec
        .owner
        .is_some_and(|asked| owner_of(volume) != Some(asked))
    {
        found.push("owner".to_owned());
    }
    found
}

/// `field.key` for each key whose value differs, or which only one of the maps has.
fn different_keys(
    field: &str,
    asked: &BTreeMap<String, String>,
    found: &BTreeMap<String, String>,
) -> Vec<String> {
    let keys: std::collections::BTreeSet<&String> = asked.keys().chain(found.keys()).collect();
    keys.into_iter()
        .filter(|key| asked.get(*key) != found.get(*key))
        .map(|key| format!("{field}.{key}"))
        .collect()
}
