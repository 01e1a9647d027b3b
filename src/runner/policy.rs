//! What the server's operator allows: defaults, maxima and allow-lists. Pure; `config` fills it.

use crate::glob;
use crate::runner::image_patterns::ImagePatterns;
use std::time::Duration;

/// The rules every run and volume is checked against.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Time limit of a run that requests none.
    pub default_timeout: Duration,
    /// Longest time limit that a run may request.
    pub max_timeout: Duration,
    /// Memory limit of a run that requests none, in bytes.
    pub default_memory_bytes: u64,
    /// Largest memory limit that a run may request, in bytes. `None`: no maximum.
    pub max_memory_bytes: Option<u64>,
    /// Largest CPU limit that a run may request, and the limit of a run that requests none. `None`: no limit.
    pub max_cpus: Option<f64>,
    /// Process limit of a run that requests none.
    pub default_pids_limit: u64,
    /// Largest process limit that a run may request. `None`: no maximum.
    pub max_pids_limit: Option<u64>,
    /// Bytes kept of each of stdout and stderr for a run that requests no number.
    pub default_output_bytes: u64,
    /// Most bytes of each stream that a run may request to keep.
    pub max_output_bytes: u64,
    /// Most bytes that all archives in one request together may unpack to.
    pub max_unpacked_bytes: u64,
    /// Most bytes read back in one run, from all its volumes together; also in one read of a named volume.
    pub max_collect_bytes: u64,
    /// Images that runs may use.
    pub allowed_images: ImagePatterns,
    /// Names of volumes that may be mounted or written, by any creator. Empty: any that this service created.
    pub allowed_volumes: Globs,
    /// Network file systems that options of a volume may name.
    pub allowed_volume_types: Vec<String>,
    /// Host paths that may be mounted, with everything below them.
    pub allowed_host_paths: Vec<String>,
    /// Networks that a run may join. `*` does not include `host` and `container:…`; see [`Globs::allow_by_name`].
    pub allowed_networks: Globs,
    /// OCI runtimes that a run may request.
    pub allowed_runtimes: Globs,
}

/// Whose named volumes a run may mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeOwners {
    /// Those that this service created.
    Ours,
    /// Those that other clients of the engine created too.
    Anyone,
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
            allowed_images: ImagePatterns::all(),
            allowed_volumes: Globs::default(),
            allowed_volume_types: Vec::new(),
            allowed_host_paths: Vec::new(),
            allowed_networks: Globs::parse("bridge,none"),
            allowed_runtimes: Globs::default(),
        }
    }
}

impl Policy {
    /// Whether a volume of this name may be used, if [`Policy::volume_owners`] allows its owner too.
    pub fn allows_volume(&self, name: &str) -> bool {
        self.allowed_volumes.is_empty() || self.allowed_volumes.allow(name)
    }

    /// Whose volumes runs may mount.
    pub fn volume_owners(&self) -> VolumeOwners {
        match self.allowed_volumes.is_empty() {
            true => VolumeOwners::Ours,
            false => VolumeOwners::Anyone,
        }
    }

    /// Whether a (normalized, absolute) host path is one of the allowed paths or below one.
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

/// A list of patterns in which `*` matches any text, slashes and the empty text included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Globs(Vec<String>);

impl Globs {
    /// Parses a comma separated list. Drops white space around items, and empty items.
    pub fn parse(list: &str) -> Self {
        Self(
            list.split(',')
                .map(str::trim)
                .filter(|p| !p.is_empty())
                .map(str::to_owned)
                .collect(),
        )
    }

    /// Whether any pattern matches the complete text.
    pub fn allow(&self, text: &str) -> bool {
        self.0.iter().any(|pattern| glob::matches(pattern, text))
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The patterns.
    pub fn patterns(&self) -> &[String] {
        &self.0
    }

    /// As [`Globs::allow`], but only patterns that start with `prefix` count: `*` does not match `host` here.
    pub fn allow_by_name(&self, prefix: &str, text: &str) -> bool {
        let mut named = self.0.iter().filter(|pattern| pattern.starts_with(prefix));
        named.any(|pattern| glob::matches(pattern, text))
    }

    /// The list for an error message; `none` if it is empty.
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
    fn a_glob_matches_the_complete_text_only() {
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
    fn allow_by_name_ignores_patterns_without_the_prefix() {
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
