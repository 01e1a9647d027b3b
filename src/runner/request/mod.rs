//! Requests: their JSON types, every check, and the checked results, [`spec::RunSpec`] and `volume::VolumeSpec`.

pub(crate) mod limits;
pub(crate) mod mounts;
pub(crate) mod spec;
pub(crate) mod types;
pub(crate) mod values;
pub(crate) mod volume;
pub mod wire;
