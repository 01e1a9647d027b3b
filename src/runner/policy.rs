//! What the server's owner allows: defaults, maxima and allow-lists. Pure; `config` fills it.

use crate::glob;
use std::time::Duration;

/// The rules every run and volume is checked against.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Time limit of a run that names none.
    pub default_timeout: Duration,
    /// Longest time limit a run may ask for.
    pub max_timeout: Duration,
    /// Memory limit of a run that names none, in bytes.
    pub default_memory_bytes: u64,
    /// Largest memory limit a run may ask for, in bytes.
    pub max_memory_bytes: Option<u64>,
    /// Largest CPU limit; also what a run gets that names none.
    pub max_cpus: Option<f64>,
    /// Process limit of a run that names none.
    pub default_pids_limit: u64,
    /// Largest process limit a run may ask for.
    pub max_pids_limit: Option<u64>,
    /// Bytes kept of each output stream of a run that names no number.
    pub default_output_bytes: u64,
    /// Most bytes a run may ask to keep.
    pub max_output_bytes: u64,
    /// Most bytes that an archive may unpack to, on the way in.
    pub max_unpacked_bytes: u64,
    /// Most bytes read back from one volume.
    pub max_collect_bytes: u64,
    /// Image references that may run.
    pub allowed_images: Globs,
    /// Named volumes that may be mounted or written.
    pub allowed_volumes: Globs,
    /// Prefixes of host paths that may be mounted.
    pub allowed_host_paths: Vec<String>,
    /// Networks a run may join.
    pub allowed_networks: Globs,
    /// OCI runtimes a run may name.
    pub allowed_runtimes: Globs,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default_timeout: Duration::from_secs(600),
            max_timeout: Duration::from_secs(3600),
            default_memory_bytes: 2 << 30,
            max_memory_bytes: None,
            max_cpus: None,
            default_pids_limit: 1024,
            max_pids_limit: None,
            default_output_bytes: 10 << 20,
            max_output_bytes: 64 << 20,
            max_unpacked_bytes: 2 << 30,
            max_collect_bytes: 512 << 20,
            allowed_images: Globs::parse("*"),
            allowed_volumes: Globs::parse("*"),
            allowed_host_paths: Vec::new(),
            allowed_networks: Globs::parse("bridge,none"),
            allowed_runtimes: Globs::default(),
        }
    }
}

impl Policy {
    /// Whether a (normalized, absolute) host path is one of the allowed prefixes or below one.
    pub fn allows_host_path(&self, path: &str) -> bool {
        self.allowed_host_paths.iter().any(|prefix| {
            let prefix = prefix.trim_end_matches('/');
            path == prefix
                || path
                    .strip_prefix(prefix)
                    .is_some_and(|rest| rest.starts_with('/'))
        })
    }
}

/// A list of patterns in which `*` stands for any text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Globs(Vec<String>);

impl Globs {
    /// Parses a comma separated list; white space around an item is dropped.
    pub fn parse(list: &str) -> Self {
        Self(
            list.split(',')
                .map(str::trim)
                .filter(|p| !p.is_empty())
                .map(str::to_owned)
                .collect(),
        )
    }

    /// Whether any pattern matches the whole text.
    pub fn allow(&self, text: &str) -> bool {
        self.0.iter().any(|pattern| glob::matches(pattern, text))
    }

    /// The patterns.
    pub fn patterns(&self) -> &[String] {
        &self.0
    }

    /// Whether a pattern allows the text that is as particular as the text: one that begins as `prefix` does.
    pub fn allow_by_name(&self, prefix: &str, text: &str) -> bool {
        let mut named = self.0.iter().filter(|pattern| pattern.starts_with(prefix));
        named.any(|pattern| glob::matches(pattern, text))
    }

    /// The list, as it may be shown to a caller.
    pub fn describe(&self) -> String {
        if self.0.is_empty() {
            "none".into()
        } else {
            self.0.join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_texts_only() {
        for (patterns, text, allowed) in [
            ("*", "alpine", true),
            ("alpine", "alpine:latest", false),
            ("alpine:*", "alpine:latest", true),
            ("ghcr.io/acme/*", "ghcr.io/acme/x@sha256:ab", true),
            ("ghcr.io/acme/*", "evil/ghcr.io/acme/x", false),
            ("a*b*c", "aXbXbc", true),
            ("a, b", "b", true),
            ("", "a", false),
        ] {
            assert_eq!(
                Globs::parse(patterns).allow(text),
                allowed,
                "{patterns} {text}"
            );
        }
    }

    #[test]
    fn a_pattern_for_everything_does_not_name_anything() {
        for (patterns, prefix, text, allowed) in [
            ("*", "host", "host", false),
            ("*, host", "host", "host", true),
            ("*", "container:", "container:x", false),
            ("container:*", "container:", "container:x", true),
        ] {
            assert_eq!(
                Globs::parse(patterns).allow_by_name(prefix, text),
                allowed,
                "{patterns} {text}"
            );
        }
    }

    #[test]
    fn host_prefixes_match_whole_components() {
        let policy = Policy {
            allowed_host_paths: vec!["/srv/data/".into()],
            ..Policy::default()
        };
        assert!(policy.allows_host_path("/srv/data"));
        assert!(policy.allows_host_path("/srv/data/x"));
        assert!(!policy.allows_host_path("/srv/database"));
        assert!(!policy.allows_host_path("/srv"));
        assert!(!Policy::default().allows_host_path("/"));
    }
}
