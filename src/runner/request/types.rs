//! The types of requests, from which `POST /run`, `POST /volume`, OpenAPI and the MCP tools all derive.

use crate::runner::request::values::{
    ByteSize, EnvValue, ExtraHosts, NumericOwner, OctalMode, StringOrList, Tmpfs,
};
use crate::runner::request::wire::{wire_enum, wire_struct};
use std::collections::BTreeMap;

wire_struct! {
    /// One run of one container.
    #[schemars(extend("required" = ["image"]))]
    pub struct RunRequest {
        /// Image reference: `alpine`, `repo/x:tag` or `reg:5000/x@sha256:…`. Required.
        image: String,
        /// Command, replacing the image's `CMD`. A string is split as a POSIX shell would.
        command: StringOrList,
        /// Entry point, replacing the image's; empty (`[]` or `""`) resets it.
        entrypoint: StringOrList,
        /// Environment variables. Numbers keep their digits, booleans are `true` and `false`; null removes the image's variable.
        env_vars: BTreeMap<String, EnvValue>,
        /// When to pull the image; `always` unless said otherwise.
        pull_policy: PullPolicy,
        /// Credentials for the image's registry.
        auth_config: AuthRequest,
        /// Mounts, keyed by absolute path in the container with an optional `:ro` or `:rw`.
        volumes: BTreeMap<String, VolumeMount>,
        /// Fed to the container's standard input, which is then closed.
        stdin: String,
        /// How `stdin` is encoded: `utf8` (default) or `base64`.
        stdin_encoding: Encoding,
        /// Seconds after which the container is killed; what it printed until then is returned.
        timeout_secs: f64,
        /// Working directory: an absolute path in the container.
        working_dir: String,
        /// User, as `name`, `uid`, `name:group` or `uid:gid`.
        user: String,
        /// Host name within the container: at most 64 letters, digits, `-`, `_` and `.`.
        hostname: String,
        /// Platform of the image, by any name that Docker takes: `linux/amd64`, `x86_64`, `linux/arm64/v8`, …
        platform: String,
        /// Labels of the container.
        labels: BTreeMap<String, String>,
        /// Whether this service's own PID 1 runs the command: it reaps orphans, forwards signals, and sees the exact end and what was
        /// used. `false`: the command is PID 1. Absent: as the server's `RUNNER_INIT` says, which is true by default unless the
        /// program is an init itself.
        init: bool,
        /// Mount the container's root file system read-only.
        read_only: bool,
        /// Temporary file systems: path to mount options, or a list of `path[:options]`.
        tmpfs: Tmpfs,
        /// Size of `/dev/shm`, such as `"64m"` or a number of bytes.
        shm_size: ByteSize,
        /// Capabilities to drop, such as `NET_RAW` or `ALL`.
        cap_drop: Vec<String>,
        /// Extra `/etc/hosts` lines: host to address, or a list of `host:address` or `host=address`; also `host-gateway`.
        extra_hosts: ExtraHosts,
        /// OCI runtime; only those the server allows.
        runtime: String,
        /// Network: `bridge` (default), `none`, or one that the server allows.
        network: String,
        /// Memory limit including swap, such as `"512m"` or a number of bytes.
        memory: ByteSize,
        /// CPU limit, such as 0.5.
        cpus: f64,
        /// Largest number of processes and threads.
        pids_limit: u64,
        /// Bytes kept of each of stdout and stderr; over it the first and last halves are kept.
        max_output_bytes: ByteSize,
        /// How `stdout` and `stderr` are returned: `utf8` (lossy, default) or `base64`.
        output_encoding: Encoding,
    }
}

wire_struct! {
    /// What is mounted at a path.
    #[schemars(extend("required" = ["type"]))]
    pub struct VolumeMount {
        /// `file`, `directory`, `volume` or `host`. Required.
        kind: VolumeKind = "type",
        /// Base64 of a file, or base64 of a tar.gz for a directory.
        content: String,
        /// A file's content as text, instead of `content`.
        text: String,
        /// A directory's files as text: relative path to content, instead of `content`.
        files: BTreeMap<String, String>,
        /// A file's mode as an octal string; `"0644"` unless said otherwise.
        mode: OctalMode,
        /// Name of a named volume.
        name: String,
        /// Absolute path on the engine's host; only below prefixes that the server allows.
        host_path: String,
        /// Whether to return what is there after the run.
        response: bool,
    }
}

wire_struct! {
    /// Registry credentials.
    pub struct AuthRequest {
        /// User name; `_json_key` for Google registries.
        username: String,
        /// Password or token.
        password: String,
        /// E-mail address; registries ignore it.
        email: String,
        /// Registry; `https://index.docker.io/v1/` unless said otherwise.
        serveraddress: String,
        /// Identity token, instead of a password.
        identitytoken: String,
        /// Bearer token that is sent to the registry as it is.
        registrytoken: String,
    }
}

wire_struct! {
    /// A named volume to create, optionally filled.
    #[schemars(extend("required" = ["name"]))]
    pub struct VolumeRequest {
        /// Name: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`. Required.
        name: String,
        /// Base64 of a tar.gz. When all entries share one top-level directory it is stripped.
        content: String,
        /// Files as text: relative path to content, instead of `content`.
        files: BTreeMap<String, String>,
        /// How many leading directories of each entry to drop, instead of the automatic rule.
        strip_components: u64,
        /// Volume driver; `local` unless said otherwise.
        driver: String,
        /// Options for the driver.
        driver_opts: BTreeMap<String, String>,
        /// Labels of the volume.
        labels: BTreeMap<String, String>,
        /// Owner of the volume's directory and of everything that is written to it: `uid` or `uid:gid`, in numbers; without a gid
        /// it is 0. Without an owner everything belongs to root, and every user may write to the volume.
        owner: NumericOwner,
    }
}

wire_enum! {
    /// When to pull an image.
    pub enum PullPolicy {
        /// Before every run.
        Always = "always",
        /// Only when the engine does not have it.
        Missing = "missing",
        /// Never.
        Never = "never",
    }
}

wire_enum! {
    /// Kinds of mounts.
    pub enum VolumeKind {
        /// One file.
        File = "file",
        /// A directory.
        Directory = "directory",
        /// A named volume of the engine.
        Volume = "volume",
        /// A path on the engine's host.
        Host = "host",
    }
}

wire_enum! {
    /// How a run is executed.
    pub enum RunKind {
        /// Its caller waits for the result.
        Plain = "plain",
        /// It outlives its caller and its server, so that its container has a log and other labels.
        Asynchronous = "async",
    }
}

wire_enum! {
    /// How bytes are written in JSON.
    pub enum Encoding {
        /// As text.
        Utf8 = "utf8",
        /// As base64.
        Base64 = "base64",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::runner::request::wire::{Reader, Wire};

    #[test]
    fn every_fault_of_a_request_is_found_in_one_pass() {
        let value = serde_json::json!({
            "image": 5, "command": {"a": 1}, "pull_policy": "sometimes", "colour": 1, "env_vars": {"A": []},
            "volumes": {"/a": {"type": "file", "mode": 755, "extra": 1}, "/b": 3},
        });
        let mut reader = Reader::new("body");
        RunRequest::take(value, &mut reader);
        let found: Vec<String> = reader
            .into_faults()
            .iter()
            .map(|f| f.loc.join("/"))
            .collect();
        for place in [
            "body/image",
            "body/command",
            "body/pull_policy",
            "body/colour",
            "body/env_vars/A",
            "body/volumes//a/mode",
            "body/volumes//a/extra",
            "body/volumes//b",
        ] {
            assert!(
                found.iter().any(|f| f == place),
                "{place} is missing in {found:?}"
            );
        }
    }

    #[test]
    fn the_schema_names_exactly_the_fields_that_are_read() {
        let schema = schemars::schema_for!(RunRequest);
        let mut named: Vec<&str> = schema
            .get("properties")
            .unwrap()
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut read = RunRequest::FIELDS.to_vec();
        named.sort_unstable();
        read.sort_unstable();
        assert_eq!(named, read);
    }
}
