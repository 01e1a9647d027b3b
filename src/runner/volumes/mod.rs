//! Named volumes, which outlive a run: operations on them, write locks, and the atomic first filling.

pub(crate) mod fill;
pub(crate) mod named;
pub(crate) mod write_locks;
