//! The part of a run's check that applies the policy's defaults, maxima and allow-lists.

use crate::runner::request::check::Check;
use crate::runner::request::values::ByteSize;
use std::time::Duration;

/// Smallest memory limit that engines accept, in bytes.
const MIN_MEMORY_BYTES: u64 = 6 << 20;

impl Check<'_> {
    pub(crate) fn timeout(&mut self, secs: Option<f64>) -> Duration {
        let max = self.policy.max_timeout;
        let Some(secs) = secs else {
            return self.policy.default_timeout.min(max);
        };
        match Duration::try_from_secs_f64(secs) {
            Ok(timeout) if !timeout.is_zero() && timeout <= max => timeout,
            _ => {
                let max_secs = max.as_secs();
                self.reader.fault_at(
                    "timeout_secs",
                    format!("expected a number of seconds above 0 and at most {max_secs}"),
                );
                max
            }
        }
    }

    pub(crate) fn runtime(&mut self, runtime: Option<String>) -> Option<String> {
        let runtime = self.plain_text("runtime", runtime)?;
        if !self.policy.allowed_runtimes.allow(&runtime) {
            let list = self.policy.allowed_runtimes.describe();
            self.forbid(
                "runtime_not_allowed",
                format!("this runtime is not allowed here; allowed: {list}"),
            );
        }
        Some(runtime)
    }

    pub(crate) fn network(&mut self, network: Option<String>) -> String {
        let network = self
            .plain_text("network", network)
            .unwrap_or_else(|| "bridge".into());
        // `host` and `container:…` share the network of the host or of another container. `*` does not allow them.
        let sharing = match network.as_str() {
            "host" => Some("host"),
            other => other.starts_with("container:").then_some("container:"),
        };
        let networks = &self.policy.allowed_networks;
        let is_allowed = match sharing {
            Some(prefix) => networks.allow_by_name(prefix, &network),
            None => networks.allow(&network),
        };
        if !is_allowed {
            let list = self.policy.allowed_networks.describe();
            self.forbid(
                "network_not_allowed",
                format!("this network is not allowed here; allowed: {list}"),
            );
        }
        network
    }

    pub(crate) fn shm_size_bytes(&mut self, size: Option<ByteSize>) -> Option<u64> {
        size.map(|size| self.at_least("shm_size", size.0, 1))
    }

    pub(crate) fn memory(&mut self, memory: Option<ByteSize>) -> u64 {
        let max = self.policy.max_memory_bytes;
        let Some(ByteSize(bytes)) = memory else {
            return max.map_or(self.policy.default_memory_bytes, |max| {
                max.min(self.policy.default_memory_bytes)
            });
        };
        self.at_most("memory", bytes, max);
        self.at_least("memory", bytes, MIN_MEMORY_BYTES)
    }

    /// In units of 10⁻⁹ CPUs; 0: no limit.
    pub(crate) fn nano_cpus(&mut self, cpus: Option<f64>) -> u64 {
        let max = self.policy.max_cpus;
        let Some(cpus) = cpus else {
            return max.map_or(0, |max| (max * 1e9) as u64);
        };
        match max {
            _ if !(0.01..=100_000.0).contains(&cpus) => {
                self.reader
                    .fault_at("cpus", "expected a number of CPUs, at least 0.01");
            }
            Some(max) if cpus > max => {
                self.reader
                    .fault_at("cpus", format!("the server's maximum is {max}"));
            }
            _ => {}
        }
        (cpus * 1e9) as u64
    }

    pub(crate) fn pids_limit(&mut self, limit: Option<u64>) -> u64 {
        let max = self.policy.max_pids_limit;
        let Some(limit) = limit else {
            return max.map_or(self.policy.default_pids_limit, |max| {
                max.min(self.policy.default_pids_limit)
            });
        };
        self.at_most("pids_limit", limit, max.or(Some(i64::MAX as u64)));
        self.at_least("pids_limit", limit, 1)
    }

    pub(crate) fn output_bytes(&mut self, size: Option<ByteSize>) -> u64 {
        let max = self.policy.max_output_bytes;
        let Some(ByteSize(bytes)) = size else {
            return self.policy.default_output_bytes.min(max);
        };
        self.at_most("max_output_bytes", bytes, Some(max));
        bytes
    }

    /// Records a fault if `value` is above `max`.
    fn at_most(&mut self, field: &str, value: u64, max: Option<u64>) {
        if let Some(max) = max.filter(|max| value > *max) {
            self.reader
                .fault_at(field, format!("the server's maximum is {max}"));
        }
    }

    /// Records a fault if `value` is below `min`. Returns `value`.
    pub(crate) fn at_least(&mut self, field: &str, value: u64, min: u64) -> u64 {
        if value < min {
            self.reader
                .fault_at(field, format!("must be at least {min}"));
        }
        value
    }
}
