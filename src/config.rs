//! Reads the environment; nothing else does. One table has every setting with its default and meaning; [`Config`] has the
//! typed values.

mod env_file;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod mutation_tests;
mod values;

use crate::docker::Host;
use crate::memory::MemoryBudget;
use crate::runner::{InitMode, Policy, Retention, WarmSettings};
use env_file::EnvFile;
use std::path::Path;
use std::time::Duration;
pub use values::Setting;
use values::Values;

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
        "name under which leftovers are recognized after a restart; two live servers may share it during a rolling update",
    ),
    setting(
        "RUNNER_MAX_CONCURRENT_RUNS",
        "2 x cores",
        "runs in progress at once",
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
        "RUNNER_INIT",
        "auto",
        "which runs that do not say it have this service's PID 1: auto: all but those whose program is an init itself; on: all; off: none",
    ),
    setting(
        "RUNNER_WARM_CONTAINERS",
        "0",
        "containers that may wait for runs, already started; 0: none",
    ),
    setting(
        "RUNNER_WARM_IDLE_SECS",
        "300",
        "how long containers wait for runs of a kind that does not come",
    ),
    setting(
        "RUNNER_WARM_IMAGES",
        "",
        "images of which containers wait from the start, with their number, such as alpine:latest=2",
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
        "most bytes that all archives in a request together may unpack to",
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
        "most bytes of results kept, beyond it the oldest go; and of the requests of asynchronous runs that have not ended, beyond it: 503",
    ),
    setting(
        "RUNNER_SHUTDOWN_GRACE_SECS",
        "10",
        "most time from SIGTERM to the end of the process; about 60 % of it is for running requests to finish, the rest to cancel and remove what has not",
    ),
    setting(
        "RUNNER_ALLOWED_IMAGES",
        "*",
        "images that may run: patterns of references, such as alpine:* or ghcr.io/acme/*",
    ),
    setting(
        "RUNNER_ALLOWED_VOLUMES",
        "",
        "named volumes that may be used, whoever created them: globs; empty: those that this service created",
    ),
    setting(
        "RUNNER_ALLOWED_VOLUME_TYPES",
        "",
        "network file systems that a volume's driver_opts may mount: nfs, nfs4, cifs, smb3; empty: none",
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
    pub init: InitMode,
    pub warm: WarmSettings,
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
    /// Reads the environment and, for variables that are absent or empty there, `.env` in the working directory. Errors: name and
    /// reason of the first invalid value.
    pub fn from_environment() -> Result<Self, String> {
        let file = EnvFile::read(Path::new(".env"))?;
        let read = |name: &str| match std::env::var(name) {
            Ok(value) if !value.is_empty() => Ok(Some(value)),
            Err(std::env::VarError::NotUnicode(_)) => Err("is not UTF-8".to_owned()),
            Ok(_) | Err(std::env::VarError::NotPresent) => file.value(name),
        };
        Self::from_lookup(&read)
    }

    /// Reads any source of values. An empty value counts as absent.
    pub fn from_lookup(
        lookup: &dyn Fn(&str) -> Result<Option<String>, String>,
    ) -> Result<Self, String> {
        let values = Values::read(SETTINGS, lookup)?;
        let docker_host = Host::parse(
            &values.text("DOCKER_HOST"),
            values.optional("DOCKER_TLS_VERIFY").as_deref(),
            values.cert_path()?.as_deref(),
        )
        .map_err(|reason| format!("DOCKER_HOST: {reason}"))?;
        Ok(Self {
            host: values.text("HOST"),
            port: values.number("PORT")?,
            auth_token: values.token("AUTH_TOKEN")?,
            docker_host,
            docker_api_version: values.api_version("DOCKER_API_VERSION")?,
            log_filter: values.text("RUST_LOG"),
            instance: values.optional("RUNNER_INSTANCE"),
            max_concurrent_runs: match values.optional("RUNNER_MAX_CONCURRENT_RUNS") {
                Some(_) => values.positive("RUNNER_MAX_CONCURRENT_RUNS")?,
                None => 2 * std::thread::available_parallelism().map_or(1, usize::from),
            },
            queue_length: values.number("RUNNER_QUEUE_LENGTH")?,
            pull_timeout: values.limit_seconds("RUNNER_PULL_TIMEOUT_SECS")?,
            init: values.init_mode("RUNNER_INIT")?,
            warm: values.warm()?,
            body_limit_bytes: values.limit_bytes("RUNNER_MAX_BODY_BYTES")?,
            memory: MemoryBudget::new(values.limit_bytes("RUNNER_MAX_BODY_MEMORY")?),
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
            mcp_test_tools: (lookup)("RUNNER_MCP_TEST_TOOLS") == Ok(Some("1".into())),
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
    use std::collections::HashMap;

    fn config(values: &[(&str, &str)]) -> Result<Config, String> {
        let values: HashMap<String, String> = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Config::from_lookup(&|name| Ok(values.get(name).cloned()))
    }

    #[test]
    fn every_default_is_valid() {
        let config = config(&[]).unwrap();
        assert_eq!((config.host.as_str(), config.port), ("127.0.0.1", 8000));
        assert_eq!(config.policy.default_memory_bytes, 2 << 30);
        assert_eq!(config.policy.allowed_images.patterns(), ["*"]);
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
            ("DOCKER_API_VERSION", "latest"),
            ("DOCKER_API_VERSION", "1.12"),
            ("DOCKER_API_VERSION", "2.99"),
            ("AUTH_TOKEN", "geh\u{e9}im"),
            ("AUTH_TOKEN", "sec\u{7}ret"),
            ("AUTH_TOKEN", "sec\nret"),
            ("AUTH_TOKEN", " \t "),
            ("AUTH_TOKEN", &"x".repeat(8193)),
            ("RUNNER_ALLOWED_IMAGES", "Alpine:*"),
            ("RUNNER_MAX_CPUS", "1e12"),
            ("RUNNER_DEFAULT_MEMORY", "1000000"),
            ("RUNNER_DEFAULT_PIDS_LIMIT", "9223372036854775808"),
        ] {
            let error = config(&[(name, value)]).unwrap_err();
            assert!(error.starts_with(name), "{name}={value}: {error}");
            assert!(!error.contains(value) || name == "DOCKER_HOST", "{error}");
        }
    }

    #[test]
    fn zero_never_means_no_limit() {
        for name in [
            "RUNNER_DEFAULT_MEMORY",
            "RUNNER_MAX_MEMORY",
            "RUNNER_DEFAULT_PIDS_LIMIT",
            "RUNNER_MAX_PIDS_LIMIT",
            "RUNNER_MAX_CPUS",
            "RUNNER_DEFAULT_TIMEOUT_SECS",
            "RUNNER_MAX_TIMEOUT_SECS",
            "RUNNER_PULL_TIMEOUT_SECS",
            "RUNNER_MAX_BODY_BYTES",
            "RUNNER_MAX_BODY_MEMORY",
        ] {
            let error = config(&[(name, "0")]).unwrap_err();
            assert!(error.starts_with(name), "{name}: {error}");
        }
        let below = [
            ("RUNNER_DEFAULT_MEMORY", "0"),
            ("RUNNER_MAX_MEMORY", "512m"),
        ];
        assert!(config(&below).is_err());
    }

    #[test]
    fn a_value_that_is_not_text_is_refused_and_does_not_count_as_absent() {
        for setting in SETTINGS {
            let broken = |name: &str| match name == setting.name {
                true => Err("is not UTF-8".to_owned()),
                false => Ok(None),
            };
            let error = Config::from_lookup(&broken).unwrap_err();
            assert_eq!(error, format!("{}: is not UTF-8", setting.name));
        }
    }
}
