//! Whether a run has the service's own PID 1 (see [`crate::init`]), and how that gets into its container.
//!
//! | file | what it does |
//! |---|---|
//! | `choice` | which runs are to have it; pure |
//! | `words` | the words that are executed, of a request and its image together; pure |
//! | `variables` | what PID 1 must not have of the command's variables; pure |
//! | `executable` | whether a file can be the init in a container of any image; pure |
//! | `refusals` | images in which it cannot be started; pure |
//! | `delivery` | the volume with the init, which containers mount |

pub(crate) mod choice;
pub(crate) mod delivery;
mod executable;
mod refusals;
pub(crate) mod variables;
pub(crate) mod words;
