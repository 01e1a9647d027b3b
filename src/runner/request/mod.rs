//! What was asked: JSON types, every check, and [`spec::RunSpec`], which the rest of the runner works from.

pub(crate) mod check;
pub(crate) mod limits;
pub(crate) mod mounts;
pub(crate) mod spec;
pub(crate) mod types;
pub mod wire;
