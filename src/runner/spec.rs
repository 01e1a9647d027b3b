//! A checked run.

/// A run request that passed every check.
pub struct RunSpec {}
