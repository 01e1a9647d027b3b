//! The life of one run, from its slot to its result. It knows nothing of asynchronous runs: what must be kept of them it hands
//! to [`context::RunHooks`].
//!
//! | file | what it does |
//! |---|---|
//! | `lifecycle` | the steps of a run, in order |
//! | `context` | what a run is given beside its spec: cancel token, sink, hooks |
//! | `admission` | the queue in front of a fixed number of slots |
//! | `archive_checks` | checks archives of requests that hold no slot |
//! | `pull` | gets the image; equal pulls are shared |
//! | `abilities` | what the engine at hand cannot do of the request |
//! | `executable` | whether the kernel can execute what request and image say together; pure |
//! | `user` | uid and gid of staged content |
//! | `host_kinds` | whether host paths are files or directories |
//! | `stage` | puts the content of mounts on one volume |
//! | `container_config` | the body of the create call; pure |
//! | `create` | creates the container |
//! | `pid_1` | whether the container has the service's own PID 1 |
//! | `warm_run` | what is different with a container that had waited |
//! | `resumed` | what is different with a container that an earlier server has started |
//! | `warm_start` | gives the run a container that waits, and starts those |
//! | `warm_images` | images of which containers always wait |
//! | `start_error` | which create and start failures are the caller's |
//! | `supervise` | starts the container and reads it to its end |
//! | `follow` | follows, by its log, a container that an earlier process started or whose connections broke |
//! | `engine_away` | waits for an engine that is away, and goes on then |
//! | `watchdog` | kills the container at its time limit or on cancel |
//! | `streams`, `log_lines`, `utf8_chunks`, `output` | read the output, restore it from a log, cut it between characters, keep a bounded part |
//! | `ending` | exit code and reason |
//! | `sources` | finds where mounts can still be read after the end |
//! | `collectable` | what is gone when the container ends, and cannot be collected |
//! | `collect` | reads volumes back |
//! | `answer_memory` | takes the memory of the answer from the budget |
//! | `answer` | builds the result |
//! | `tally` | counts how runs end and how long their phases take |
//! | `result` | the types of results and events |

mod abilities;
pub(crate) mod admission;
mod answer;
pub(crate) mod answer_memory;
pub(crate) mod archive_checks;
mod collect;
mod collectable;
pub(crate) mod container_config;
pub(crate) mod context;
mod create;
mod ending;
pub(crate) mod engine_away;
mod executable;
mod follow;
mod host_kinds;
pub(crate) mod lifecycle;
mod log_lines;
mod output;
mod pid_1;
pub(crate) mod pull;
pub(crate) mod pull_error;
pub(crate) mod result;
mod resumed;
pub(crate) mod shared_pull;
mod sources;
pub(crate) mod stage;
mod start_error;
mod streams;
mod supervise;
mod tally;
pub(crate) mod user;
pub(crate) mod utf8_chunks;
pub(crate) mod warm_images;
mod warm_run;
pub(crate) mod warm_start;
mod watchdog;
