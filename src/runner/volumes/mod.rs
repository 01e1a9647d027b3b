//! Named volumes: created, filled completely or not at all, read and removed on request. They outlive runs.
//!
//! | file | what it does |
//! |---|---|
//! | `named` | the operations |
//! | `content` | writes the content, with its owner and modes |
//! | `existing` | whether a volume that exists is the one asked for; pure |
//! | `driver_options` | the driver options that this service adds |
//! | `host_paths` | host paths behind mounts and volumes lead where their names say |
//! | `write_locks` | at most one writer per volume name |

mod content;
mod driver_options;
mod existing;
pub(crate) mod host_paths;
pub(crate) mod named;
pub(crate) mod write_locks;
