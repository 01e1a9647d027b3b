//! Requests: their JSON types, every check, and the checked results, [`spec::RunSpec`] and `volume::VolumeSpec`. Nothing
//! is done here.
//!
//! | file | what it does |
//! |---|---|
//! | `types` | the fields of requests, as JSON has them; `values` has those with more than one spelling |
//! | `wire` | reads JSON into these types, and collects faults |
//! | `lenient` | what language models send in place of what a schema says |
//! | `check` | a check under way: faults, policy |
//! | `mounts`, `limits` | the checks of `volumes`, and of values with defaults and maxima |
//! | `mount_tree` | how mounts lie within each other, and the checks of that |
//! | `host_names` | the check of `extra_hosts` |
//! | `execution` | the check that the kernel can execute the command |
//! | `kernel_limits` | lengths that the kernel cannot execute or resolve |
//! | `platform` | the names of platforms |
//! | `host_paths` | host paths that must not be mounted at the same time |
//! | `spec` | all other checks of a run, and the checked run |
//! | `archives` | the checks of a run's archives, made once the run has a slot |
//! | `volume` | the checks of `POST /volume`, and the checked volume |

pub(crate) mod archives;
pub(crate) mod check;
pub(crate) mod execution;
pub(crate) mod host_names;
pub(crate) mod host_paths;
pub(crate) mod kernel_limits;
pub(crate) mod lenient;
pub(crate) mod limits;
pub(crate) mod mount_tree;
pub(crate) mod mounts;
pub(crate) mod platform;
pub(crate) mod spec;
pub(crate) mod types;
pub(crate) mod values;
pub(crate) mod volume;
pub mod wire;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod mutation_tests;
