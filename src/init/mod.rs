//! PID 1 inside a run's container: `oneoff-docker-runner init`. It starts the command as its child, sees the exact end of it, and
//! says on the output streams what the run used. It talks to nobody else, opens no socket, and copies no byte of the command's
//! input or output.
//!
//! | file | what it does | may be used by |
//! |---|---|---|
//! | `protocol` | what the service sends to the init, and the marks that it gets back; pure | the runner |
//! | `marks` | finds the marks in an output stream, and takes them out; pure | the runner |
//! | `program` | finds the program of a command, as container runtimes do | |
//! | `usage` | reads what the container used from its cgroup | |
//! | `oom` | keeps the kernel from killing the init when memory runs out | |
//! | `streams` | reads the description from stdin, writes marks to stdout and stderr | |
//! | `life` | the life of PID 1, from the description to the last mark | |

mod life;
pub mod marks;
mod oom;
mod program;
pub mod protocol;
mod streams;
mod usage;

pub use life::run;
