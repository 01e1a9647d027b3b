//! `GET /policy`: the server's defaults, maxima and allowlists, so that callers can read them before a request.

use crate::http::Reply;
use crate::runner::{Globs, Runner};
use schemars::JsonSchema;
use serde::Serialize;

/// Answer of `GET /policy`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PolicyAnswer {
    /// What holds for a run that does not say otherwise.
    pub defaults: Defaults,
    /// What a request may ask for at most; beyond it: 422, or 413 for a body. Null: no maximum.
    pub maxima: Maxima,
    /// What a request may name; anything else: 403.
    pub allowed: Allowed,
}

/// What holds for a run that does not say otherwise.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Defaults {
    /// Time limit.
    pub timeout_secs: f64,
    /// Memory limit, swap included.
    pub memory_bytes: u64,
    /// CPU limit; null: all there are.
    pub cpus: Option<f64>,
    /// Processes and threads.
    pub pids_limit: u64,
    /// Kept of each output stream.
    pub output_bytes: u64,
}

/// What a request may ask for at most.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Maxima {
    /// Time limit.
    pub timeout_secs: f64,
    /// Memory limit.
    pub memory_bytes: Option<u64>,
    /// CPU limit.
    pub cpus: Option<f64>,
    /// Processes and threads.
    pub pids_limit: Option<u64>,
    /// Kept of each output stream.
    pub output_bytes: u64,
    /// The request's body.
    pub body_bytes: u64,
    /// What an archive may unpack to.
    pub unpacked_bytes: u64,
    /// What is read back from all volumes of one run.
    pub collect_bytes: u64,
    /// Runs in progress at once.
    pub concurrent_runs: usize,
    /// Runs that wait; beyond it: 429.
    pub queue_length: usize,
}

/// What a request may name. `*` matches any text.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Allowed {
    /// Images.
    pub images: Vec<String>,
    /// Named volumes of any creator; empty: those that this service created.
    pub volumes: Vec<String>,
    /// Network file systems that a volume's `driver_opts` may mount.
    pub volume_types: Vec<String>,
    /// Prefixes of host paths.
    pub host_paths: Vec<String>,
    /// Networks.
    pub networks: Vec<String>,
    /// OCI runtimes.
    pub runtimes: Vec<String>,
}

/// The policy. `body_bytes` is the limit of a request's body, which the runner does not know.
pub fn get(runner: &Runner, body_bytes: u64) -> Reply {
    let policy = runner.policy();
    let occupancy = runner.occupancy();
    let patterns = |globs: &Globs| globs.patterns().to_vec();
    let no_more_than = |value: u64, max: Option<u64>| max.map_or(value, |max| max.min(value));
    let answer = PolicyAnswer {
        defaults: Defaults {
            timeout_secs: policy.default_timeout.min(policy.max_timeout).as_secs_f64(),
            memory_bytes: no_more_than(policy.default_memory_bytes, policy.max_memory_bytes),
            cpus: policy.max_cpus,
            pids_limit: no_more_than(policy.default_pids_limit, policy.max_pids_limit),
            output_bytes: policy.default_output_bytes.min(policy.max_output_bytes),
        },
        maxima: Maxima {
            timeout_secs: policy.max_timeout.as_secs_f64(),
            memory_bytes: policy.max_memory_bytes,
            cpus: policy.max_cpus,
            pids_limit: policy.max_pids_limit,
            output_bytes: policy.max_output_bytes,
            body_bytes,
            unpacked_bytes: policy.max_unpacked_bytes,
            collect_bytes: policy.max_collect_bytes,
            concurrent_runs: occupancy.slots,
            queue_length: occupancy.queue_length,
        },
        allowed: Allowed {
            images: policy.allowed_images.patterns().to_vec(),
            volumes: patterns(&policy.allowed_volumes),
            volume_types: policy.allowed_volume_types.clone(),
            host_paths: policy.allowed_host_paths.clone(),
            networks: patterns(&policy.allowed_networks),
            runtimes: patterns(&policy.allowed_runtimes),
        },
    };
    Reply::json(200, &answer)
}
