//! Named volumes that outlive a run.

pub(crate) mod fill;
pub(crate) mod named;
pub(crate) mod write_locks;
