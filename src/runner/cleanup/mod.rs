//! Whose an engine object is, and its removal.

pub(crate) mod active;
pub(crate) mod engine;
pub(crate) mod fill;
pub(crate) mod labels;
pub(crate) mod reaper;
pub(crate) mod removal;
