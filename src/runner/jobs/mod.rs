//! Asynchronous runs: accepted, queued, remembered in the engine, and adopted after a restart.

pub(crate) mod adopt;
pub(crate) mod event_log;
pub(crate) mod logs;
pub(crate) mod registry;
pub(crate) mod store;
pub(crate) mod submit;
