//! Requests: JSON types, every check, and [`spec::RunSpec`], which the rest of the runner works from. Nothing is done here.
//!
//! | file | what it does |
//! |---|---|
//! | `types` | the fields of requests, as JSON has them |
//! | `wire` | reads JSON into these types, and collects faults |
//! | `check` | a check under way: faults, policy |
//! | `mounts`, `limits` | the checks of `volumes`, and of values with defaults and maxima |
//! | `spec` | all other checks, and the checked run |

pub(crate) mod check;
pub(crate) mod limits;
pub(crate) mod mounts;
pub(crate) mod spec;
pub(crate) mod types;
pub mod wire;
