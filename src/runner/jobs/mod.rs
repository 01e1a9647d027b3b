//! Asynchronous runs: accepted, queued, stored in the engine, and adopted after a restart. Each is executed by `run`, which does
//! not know this room.
//!
//! | file | what it does |
//! |---|---|
//! | `submit` | every operation: submit, state, wait, cancel, forget, list, events, logs, close |
//! | `scheduler` | queues runs, and executes them when they get their slots |
//! | `run_thread` | the thread of a run, which may have to be waited for |
//! | `record_keeper` | stores requests and outcomes, in step with the registry |
//! | `kept_run` | what is stored of a run while it is executed |
//! | `marks` | empty volumes in the engine: which runs there are, and how far each came |
//! | `journal` | the engine as database: requests and outcomes are files on one volume |
//! | `journal_reader` | reads the journals of dead servers |
//! | `record` | the JSON of those records; pure |
//! | `digest` | recognises the request of an idempotency key; pure |
//! | `registry` | table of runs and results in memory |
//! | `entry` | one run in memory |
//! | `event_log` | its events, for any number of readers |
//! | `logs` | reads events one by one, or output in pages |
//! | `adopt` | takes over the runs of dead predecessors |
//! | `adopt_records` | loads the records of dead predecessors |
//! | `predecessor` | finds what dead predecessors left in the engine |
//! | `unadopted` | runs in the engine that this server cannot answer for |
//! | `shown_command` | a command as lists show it; pure |
//! | `request_copies` | requests in memory, because a prune may remove the engine's |
//! | `heal` | stores again what the engine has lost |

mod adopt;
mod adopt_records;
mod digest;
pub(crate) mod entry;
pub(crate) mod event_log;
mod heal;
mod journal;
mod journal_reader;
mod kept_run;
pub(crate) mod logs;
mod marks;
mod predecessor;
pub(crate) mod record;
pub(crate) mod record_keeper;
pub(crate) mod registry;
mod request_copies;
mod run_thread;
mod scheduler;
pub(crate) mod shown_command;
pub(crate) mod submit;
mod unadopted;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod mutation_tests;
