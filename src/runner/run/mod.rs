//! The life of a run: `lifecycle` has its steps in order, each other file is one of them.

pub(crate) mod admission;
pub(crate) mod collect;
pub(crate) mod container_config;
pub(crate) mod lifecycle;
pub(crate) mod output;
pub(crate) mod pull;
pub(crate) mod pull_error;
pub(crate) mod result;
pub(crate) mod shared_pull;
pub(crate) mod stage;
pub(crate) mod supervise;
pub(crate) mod utf8_chunks;
