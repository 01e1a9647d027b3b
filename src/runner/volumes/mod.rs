//! Named volumes that outlive a run.

pub(crate) mod named;
pub(crate) mod names;
