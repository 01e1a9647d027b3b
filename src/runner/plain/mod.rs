//! Plain runs, whose callers wait for their results, as others see them: listed, followed and cancelled while they go on, and
//! listed for a while afterwards.
//!
//! | file | what it does |
//! |---|---|
//! | `registry` | table of plain runs: those that go on, and the last that have ended |
//! | `plain_run` | one of them |

mod plain_run;
pub(crate) mod registry;
