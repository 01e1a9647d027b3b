//! Reads the environment; nothing else does. One table has every setting with its default and meaning; [`Config`] has the
//! typed values.

use crate::docker::Host;
use crate::memory::MemoryBudget;
use crate::runner::{ByteSize, Globs, Policy, Retention};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// One setting, as `--help` and the README list it.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Environment variable.
    pub name: &'static str,
    /// The value if the variable is absent or empty, as it would be written.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

const fn setting(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting {
        name,
        default,
        meaning,
    }
}

/// Every setting, in the order of `--help`.
pub const SETTINGS: &[Setting] = &[
    setting(
        "HOST",
        "127.0.0.1",
        "address to listen on; the image sets 0.0.0.0",
    ),
    setting("PORT", "8000", "port to listen on; 0 takes a free one"),
    setting(
        "AUTH_TOKEN",
        "",
        "bearer token that every request must carry; empty: open to whoever reaches the port",
    ),
    setting(
        "DOCKER_HOST",
        "unix:///var/run/docker.sock",
        "the engine: unix://, tcp://",
    ),
    setting(
        "DOCKER_TLS_VERIFY",
        "",
        "1: verify the engine's certificate (tcp:// with TLS)",
    ),
    setting(
        "DOCKER_CERT_PATH",
        "",
        "directory of ca.pem, cert.pem and key.pem; with DOCKER_TLS_VERIFY, ~/.docker unless set",
    ),
    setting(
        "DOCKER_API_VERSION",
        "",
        "Engine API version to speak instead of the negotiated one",
    ),
    setting(
        "RUST_LOG",
        "info",
        "log filter, such as debug or access=off; logs go to stderr",
    ),
    setting(
        "RUNNER_INSTANCE",
        "<host name>:<port>",
        "name under which leftovers are recognized after a restart; no two live servers may share it",
    ),
    setting(
        "RUNNER_MAX_CONCURRENT_RUNS",
        "2 x cores",
        "runs that go on at once",
    ),
    setting(
        "RUNNER_QUEUE_LENGTH",
        "256",
        "runs that may wait for a slot; beyond it: 429",
    ),
    setting(
        "RUNNER_DEFAULT_TIMEOUT_SECS",
        "600",
        "time limit of a run that names none",
    ),
    setting(
        "RUNNER_MAX_TIMEOUT_SECS",
        "3600",
        "longest time limit a run may ask for",
    ),
    setting(
        "RUNNER_PULL_TIMEOUT_SECS",
        "600",
        "longest time for pulling an image",
    ),
    setting(
        "RUNNER_DEFAULT_MEMORY",
        "2g",
        "memory limit of a run that names none, swap included",
    ),
    setting(
        "RUNNER_MAX_MEMORY",
        "",
        "largest memory limit a run may ask for; empty: no maximum",
    ),
    setting(
        "RUNNER_MAX_CPUS",
        "",
        "largest CPU limit a run may ask for, and the limit of one that names none; empty: no maximum",
    ),
    setting(
        "RUNNER_DEFAULT_PIDS_LIMIT",
        "1024",
        "process limit of a run that names none",
    ),
    setting(
        "RUNNER_MAX_PIDS_LIMIT",
        "",
        "largest process limit a run may ask for; empty: no maximum",
    ),
    setting(
        "RUNNER_DEFAULT_OUTPUT_BYTES",
        "10m",
        "bytes kept of each of stdout and stderr",
    ),
    setting(
        "RUNNER_MAX_OUTPUT_BYTES",
        "64m",
        "most bytes of each stream that a run may ask to keep",
    ),
    setting("RUNNER_MAX_BODY_BYTES", "512m", "largest request body"),
    setting(
        "RUNNER_MAX_BODY_MEMORY",
        "1g",
        "memory that request bodies, results, contents of volumes and answers may use together; beyond it: 429",
    ),
    setting(
        "RUNNER_MAX_UNPACKED_BYTES",
        "2g",
        "most bytes that one archive in a request may unpack to",
    ),
    setting(
        "RUNNER_MAX_COLLECT_BYTES",
        "512m",
        "most bytes read back from the volumes of one run together",
    ),
    setting(
        "RUNNER_MAX_ASYNC_RUNS",
        "10000",
        "asynchronous runs that may wait or go on, and results that are kept",
    ),
    setting(
        "RUNNER_RESULT_TTL_SECS",
        "3600",
        "how long the result of an asynchronous run is kept",
    ),
    setting(
        "RUNNER_MAX_RESULT_BYTES",
        "256m",
        "most bytes of results kept; beyond it the oldest go",
    ),
    setting(
        "RUNNER_SHUTDOWN_GRACE_SECS",
        "10",
        "how long running requests may finish after SIGTERM",
    ),
    setting(
        "RUNNER_ALLOWED_IMAGES",
        "*",
        "images that may run: globs, comma separated",
    ),
    setting(
        "RUNNER_ALLOWED_VOLUMES",
        "*",
        "named volumes that may be used: globs",
    ),
    setting(
        "RUNNER_ALLOWED_HOST_PATHS",
        "",
        "prefixes of host paths that may be mounted; empty: none",
    ),
    setting(
        "RUNNER_ALLOWED_NETWORKS",
        "bridge,none",
        "networks that a run may join: globs; host and container:… must be named",
    ),
    setting(
        "RUNNER_ALLOWED_RUNTIMES",
        "",
        "OCI runtimes that a run may name: globs; empty: none",
    ),
    setting(
        "RUNNER_ALLOWED_HOSTS",
        "",
        "host names under which browsers may reach the server, beyond local ones: globs",
    ),
    setting(
        "RUNNER_ALLOWED_ORIGINS",
        "",
        "origins of web pages that may call the server: globs",
    ),
    setting(
        "RUNNER_CLIENT_SESSION_IDS",
        "true",
        "whether an MCP client may choose its session's id on /sse",
    ),
];

/// The whole configuration, typed.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // each field is a setting of `SETTINGS`
pub struct Config {
    pub host: String,
    pub port: u16,
    pub auth_token: Option<String>,
    pub docker_host: Host,
    pub docker_api_version: Option<String>,
    pub log_filter: String,
    /// `None`: host name and port are the name, once the port is known.
    pub instance: Option<String>,
    pub max_concurrent_runs: usize,
    pub queue_length: usize,
    pub pull_timeout: Duration,
    pub body_limit_bytes: u64,
    /// One budget for all parts: clones share it.
    pub memory: MemoryBudget,
    pub retention: Retention,
    pub shutdown_grace: Duration,
    pub policy: Policy,
    pub allowed_hosts: Vec<String>,
    pub allowed_origins: Vec<String>,
    pub client_session_ids: bool,
    /// Whether to serve the tools that only MCP conformance tests need (`RUNNER_MCP_TEST_TOOLS`, not a setting for users).
    pub mcp_test_tools: bool,
}

impl Config {
    /// Reads the environment and, for variables that are not in it, `.env` in the working directory. Errors: name and reason
    /// of the first invalid value.
    pub fn from_environment() -> Result<Self, String> {
        let file = read_env_file(Path::new(".env"))?;
        Self::from_lookup(&|name| std::env::var(name).ok().or_else(|| file.get(name).cloned()))
    }

    /// Reads any source of values. An empty value counts as absent.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let values = Values { lookup };
        let tls_verify = values.optional("DOCKER_TLS_VERIFY");
        let docker_host = Host::parse(
            &values.text("DOCKER_HOST"),
            tls_verify.as_deref(),
            values.cert_path(tls_verify.is_some()).as_deref(),
        )
        .map_err(|reason| format!("DOCKER_HOST: {reason}"))?;
        Ok(Self {
            host: values.text("HOST"),
            port: values.number("PORT")?,
            auth_token: values.optional("AUTH_TOKEN"),
            docker_host,
            docker_api_version: values.optional("DOCKER_API_VERSION"),
            log_filter: values.text("RUST_LOG"),
            instance: values.optional("RUNNER_INSTANCE"),
            max_concurrent_runs: match values.optional("RUNNER_MAX_CONCURRENT_RUNS") {
                Some(_) => values.positive("RUNNER_MAX_CONCURRENT_RUNS")?,
                None => 2 * std::thread::available_parallelism().map_or(1, usize::from),
            },
            queue_length: values.number("RUNNER_QUEUE_LENGTH")?,
            pull_timeout: values.seconds("RUNNER_PULL_TIMEOUT_SECS")?,
            body_limit_bytes: values.bytes("RUNNER_MAX_BODY_BYTES")?,
            memory: MemoryBudget::new(values.bytes("RUNNER_MAX_BODY_MEMORY")?),
            retention: Retention {
                result_ttl: values.seconds("RUNNER_RESULT_TTL_SECS")?,
                max_result_bytes: values.bytes("RUNNER_MAX_RESULT_BYTES")?,
                max_runs: values.number("RUNNER_MAX_ASYNC_RUNS")?,
            },
            shutdown_grace: values.seconds("RUNNER_SHUTDOWN_GRACE_SECS")?,
            policy: values.policy()?,
            allowed_hosts: values.list("RUNNER_ALLOWED_HOSTS"),
            allowed_origins: values.list("RUNNER_ALLOWED_ORIGINS"),
            client_session_ids: values.switch("RUNNER_CLIENT_SESSION_IDS")?,
            mcp_test_tools: (lookup)("RUNNER_MCP_TEST_TOOLS").is_some_and(|value| value == "1"),
        })
    }

    /// The settings as `--help` prints them.
    pub fn help() -> String {
        let rows = SETTINGS.iter().map(|setting| {
            let default = if setting.default.is_empty() {
                "(empty)"
            } else {
                setting.default
            };
            format!(
                "  {:<28} {:<28} {}\n",
                setting.name, default, setting.meaning
            )
        });
        rows.collect()
    }
}

/// Reads values by name, with the defaults of [`SETTINGS`].
struct Values<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl Values<'_> {
    fn optional(&self, name: &str) -> Option<String> {
        (self.lookup)(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    fn text(&self, name: &str) -> String {
        let default = || {
            SETTINGS
                .iter()
                .find(|setting| setting.name == name)
                .map_or("", |s| s.default)
        };
        self.optional(name).unwrap_or_else(|| default().to_owned())
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, String> {
        self.text(name)
            .parse()
            .map_err(|_| format!("{name}: expected a whole number in range"))
    }

    fn positive(&self, name: &str) -> Result<usize, String> {
        match self.number(name)? {
            0 => Err(format!("{name}: must be at least 1")),
            number => Ok(number),
        }
    }

    /// At most ten years, so that adding it to a time cannot overflow.
    fn seconds(&self, name: &str) -> Result<Duration, String> {
        const MOST_SECS: u64 = 10 * 365 * 24 * 3600;
        match self.number(name)? {
            secs if secs > MOST_SECS => Err(format!("{name}: must be at most {MOST_SECS}")),
            secs => Ok(Duration::from_secs(secs)),
        }
    }

    fn bytes(&self, name: &str) -> Result<u64, String> {
        let size = ByteSize::parse(&self.text(name));
        size.map(|size| size.0)
            .ok_or_else(|| format!("{name}: expected a size such as 512m"))
    }

    fn optional_bytes(&self, name: &str) -> Result<Option<u64>, String> {
        self.optional(name).map(|_| self.bytes(name)).transpose()
    }

    fn switch(&self, name: &str) -> Result<bool, String> {
        match self.text(name).to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(format!("{name}: expected true or false")),
        }
    }

    fn list(&self, name: &str) -> Vec<String> {
        self.text(name)
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn cpus(&self, name: &str) -> Result<Option<f64>, String> {
        let Some(text) = self.optional(name) else {
            return Ok(None);
        };
        match text.parse::<f64>() {
            Ok(cpus) if cpus >= 0.01 && cpus.is_finite() => Ok(Some(cpus)),
            _ => Err(format!("{name}: expected a number of CPUs, at least 0.01")),
        }
    }

    fn host_paths(&self, name: &str) -> Result<Vec<String>, String> {
        let paths = self.list(name);
        match paths
            .iter()
            .find(|path| !path.starts_with('/') || path.split('/').any(|part| part == ".."))
        {
            Some(_) => Err(format!("{name}: expected absolute paths without \"..\"")),
            None => Ok(paths),
        }
    }

    /// The directory of the TLS files; the default is that of the Docker client.
    fn cert_path(&self, verifies: bool) -> Option<String> {
        self.optional("DOCKER_CERT_PATH").or_else(|| {
            let home = (self.lookup)("HOME").filter(|_| verifies)?;
            Some(format!("{home}/.docker"))
        })
    }

    fn policy(&self) -> Result<Policy, String> {
        Ok(Policy {
            default_timeout: self.seconds("RUNNER_DEFAULT_TIMEOUT_SECS")?,
            max_timeout: self.seconds("RUNNER_MAX_TIMEOUT_SECS")?,
            default_memory_bytes: self.bytes("RUNNER_DEFAULT_MEMORY")?,
            max_memory_bytes: self.optional_bytes("RUNNER_MAX_MEMORY")?,
            max_cpus: self.cpus("RUNNER_MAX_CPUS")?,
            default_pids_limit: self.number("RUNNER_DEFAULT_PIDS_LIMIT")?,
            max_pids_limit: self
                .optional("RUNNER_MAX_PIDS_LIMIT")
                .map(|_| self.number("RUNNER_MAX_PIDS_LIMIT"))
                .transpose()?,
            default_output_bytes: self.bytes("RUNNER_DEFAULT_OUTPUT_BYTES")?,
            max_output_bytes: self.bytes("RUNNER_MAX_OUTPUT_BYTES")?,
            max_unpacked_bytes: self.bytes("RUNNER_MAX_UNPACKED_BYTES")?,
            max_collect_bytes: self.bytes("RUNNER_MAX_COLLECT_BYTES")?,
            allowed_images: Globs::parse(&self.text("RUNNER_ALLOWED_IMAGES")),
            allowed_volumes: Globs::parse(&self.text("RUNNER_ALLOWED_VOLUMES")),
            allowed_host_paths: self.host_paths("RUNNER_ALLOWED_HOST_PATHS")?,
            allowed_networks: Globs::parse(&self.text("RUNNER_ALLOWED_NETWORKS")),
            allowed_runtimes: Globs::parse(&self.text("RUNNER_ALLOWED_RUNTIMES")),
        })
    }
}

fn read_env_file(path: &Path) -> Result<HashMap<String, String>, String> {
    if !path.exists() {
        return Ok(HashMap::new());
    }
    // Without the parser's error: it may quote a line that holds a secret.
    let unreadable = |_| ".env: cannot be read or has a line that is not NAME=value".to_owned();
    let items = dotenvy::from_path_iter(path).map_err(unreadable)?;
    items.map(|item| item.map_err(unreadable)).collect()
}

/// The host's name, a part of the default instance name.
pub fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn config(values: &[(&str, &str)]) -> Result<Config, String> {
        let values: HashMap<String, String> = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Config::from_lookup(&|name| values.get(name).cloned())
    }

    #[test]
    fn every_default_is_valid() {
        let config = config(&[]).unwrap();
        assert_eq!((config.host.as_str(), config.port), ("127.0.0.1", 8000));
        assert_eq!(config.policy.default_memory_bytes, 2 << 30);
        assert!(config.policy.allowed_images.allow("anything"));
        assert!(!config.policy.allowed_runtimes.allow("runc"));
        assert!(config.auth_token.is_none() && config.client_session_ids);
    }

    #[test]
    fn an_invalid_value_is_refused_with_the_name_of_its_setting() {
        for (name, value) in [
            ("PORT", "70000"),
            ("RUNNER_QUEUE_LENGTH", "-1"),
            ("RUNNER_MAX_CONCURRENT_RUNS", "0"),
            ("RUNNER_DEFAULT_MEMORY", "lots"),
            ("RUNNER_MAX_CPUS", "none"),
            ("RUNNER_CLIENT_SESSION_IDS", "perhaps"),
            ("RUNNER_ALLOWED_HOST_PATHS", "srv"),
            ("RUNNER_ALLOWED_HOST_PATHS", "/srv/../etc"),
            ("RUNNER_SHUTDOWN_GRACE_SECS", "soon"),
            ("RUNNER_MAX_TIMEOUT_SECS", "18446744073709551615"),
            ("DOCKER_HOST", "carrier-pigeon://coop"),
        ] {
            let error = config(&[(name, value)]).unwrap_err();
            assert!(error.starts_with(name), "{name}={value}: {error}");
            assert!(!error.contains(value) || name == "DOCKER_HOST", "{error}");
        }
    }
}
