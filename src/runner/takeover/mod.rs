//! Servers that share an instance name, as during a rolling update: which of them live, and which of them adopts the runs of a
//! dead one. Everything is said through objects in the engine, so that it is seen across PID namespaces and hosts.
//!
//! | file | what it does |
//! |---|---|
//! | `life_signs` | asks other processes whether they live, and answers when this one is asked |
//! | `lead` | lets one server of a name adopt runs, and no two at once |

pub(crate) mod lead;
pub(crate) mod life_signs;
