//! Named volumes: created, filled completely or not at all, read and removed on request. They outlive runs.
//!
//! | file | what it does |
//! |---|---|
//! | `named` | the operations |
//! | `host_paths` | host paths behind mounts and volumes lead where their names say |
//! | `write_locks` | at most one writer per volume name |

pub(crate) mod host_paths;
pub(crate) mod named;
pub(crate) mod write_locks;
