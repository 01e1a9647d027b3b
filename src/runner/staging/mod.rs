//! Helper containers: they are created and never started, and give access to a volume over the Engine API. Runs, named
//! volumes and the records of asynchronous runs all use them, so they belong to none of these.
//!
//! | file | what it does |
//! |---|---|
//! | `transfer_container` | creates a helper container with its mounts, and the volumes it uses |
//! | `existing_volume` | mounts volumes that must exist |
//! | `upload` | packs files and archives, and streams them into a helper's volume |
//! | `arrival` | whether what was streamed is there |
//! | `pipe` | the bounded pipe between packing and sending |

pub(crate) mod arrival;
pub(crate) mod existing_volume;
pub(crate) mod pipe;
pub(crate) mod transfer_container;
pub(crate) mod upload;
