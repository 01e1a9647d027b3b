//! The driver options of named volumes, beside those that a request names.

use crate::docker::{self, Client};
use crate::runner::request::volume::{LOCAL, VolumeSpec};
use std::collections::BTreeMap;

/// The options with which a volume is created. A plain volume of the `local` driver gets one that keeps prunes away, because it
/// belongs to the caller until it is deleted.
pub(crate) fn driver_options(
    client: &Client,
    spec: &VolumeSpec,
) -> Result<BTreeMap<String, String>, docker::Error> {
    match &spec.driver_opts {
        Some(asked) if !asked.is_empty() => Ok(asked.clone()),
        _ if spec.driver_or_default() == LOCAL => client.options_against_prunes(),
        _ => Ok(BTreeMap::new()),
    }
}

/// The options of an existing volume as a request would name them: without what [`driver_options`] adds.
pub(crate) fn named_options(options: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    match options.len() == 1 && options.get("size").is_some_and(|size| size == "0") {
        true => BTreeMap::new(),
        false => options.clone(),
    }
}
