//! Containers that were started before anybody asked for them, and wait for their command. Each is used for one run and then
//! removed; none is used twice.
//!
//! | file | what it does |
//! |---|---|
//! | `shape` | what a container is made of beside what a run brings at the last moment, and which runs can have one; pure |
//! | `waiting` | one container that waits, with its connections |
//! | `stock` | how many of which shape are to wait, and which go first; pure |
//! | `host_memory` | whether this machine is short of memory |
//! | `pool` | the containers that wait, and the thread that starts and removes them |

pub(crate) mod host_memory;
pub(crate) mod pool;
pub(crate) mod shape;
pub(crate) mod stock;
pub(crate) mod waiting;
