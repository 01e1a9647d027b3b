//! What a caller may send: the one set of Rust types behind `POST /run`, `POST /volume`, OpenAPI and the MCP tools.

use crate::runner::request::wire::{Reader, Wire, kind_of, wire_enum, wire_struct};
use schemars::JsonSchema;
use serde_json::Value;
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
        /// Environment variables. Numbers and booleans as JSON prints them; null removes the image's variable.
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
        /// Host name within the container.
        hostname: String,
        /// Platform of the image, as `os/arch` or `os/arch/variant`.
        platform: String,
        /// Labels of the container.
        labels: BTreeMap<String, String>,
        /// Run an init process as PID 1, which reaps and forwards signals.
        init: bool,
        /// Mount the container's root file system read-only.
        read_only: bool,
        /// Temporary file systems: path to mount options, or a list of `path[:options]`.
        tmpfs: Tmpfs,
        /// Size of `/dev/shm`, such as `"64m"` or a number of bytes.
        shm_size: ByteSize,
        /// Capabilities to drop, such as `NET_RAW` or `ALL`.
        cap_drop: Vec<String>,
        /// Extra `/etc/hosts` lines: host to address, or a list of `host:address`.
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
        /// Name: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`. Required.
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
    /// How bytes stand in JSON.
    pub enum Encoding {
        /// As text.
        Utf8 = "utf8",
        /// As base64.
        Base64 = "base64",
    }
}

/// A command line: one string to be split, or its words.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum StringOrList {
    /// To be split as a POSIX shell would.
    Line(String),
    /// Taken as it is.
    Words(Vec<String>),
}

impl Wire for StringOrList {
    const EXPECTED: &'static str = "a string or an array of strings";
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        match value {
            Value::String(line) => Some(Self::Line(line)),
            Value::Array(_) => Vec::take(value, reader).map(Self::Words),
            other => mismatch::<Self>(&other, reader),
        }
    }
}

/// The value of an environment variable; `None` removes the image's.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvValue(pub Option<String>);

impl JsonSchema for EnvValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EnvValue".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": ["string", "number", "boolean", "null"]})
    }
}

impl Wire for EnvValue {
    const EXPECTED: &'static str = "a string, a number, a boolean or null";
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        match value {
            Value::Null => Some(Self(None)),
            Value::String(text) => Some(Self(Some(text))),
            Value::Number(_) | Value::Bool(_) => Some(Self(Some(value.to_string()))),
            other => mismatch::<Self>(&other, reader),
        }
    }
}

/// A number of bytes: an integer, or a string with a unit (`b`, `k`, `m`, `g`, `t`; powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?\\s*([bkmgtBKMGT]([iI]?[bB])?)?$"},
        ]})
    }
}

impl ByteSize {
    /// Parses `512m`, `1.5g`, `2GiB`, `1048576`. Errors: not a number with a known unit, or too large.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let split = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(text.len());
        let (number, unit) = (&text[..split], text[split..].trim_start());
        let factor = match unit {
            "" | "b" => 1u64,
            "k" | "kb" | "kib" => 1 << 10,
            "m" | "mb" | "mib" => 1 << 20,
            "g" | "gb" | "gib" => 1 << 30,
            "t" | "tb" | "tib" => 1 << 40,
            _ => return None,
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole
                .checked_mul(factor)
                .filter(|bytes| *bytes <= i64::MAX as u64)
                .map(Self);
        }
        let fraction: f64 = number.parse().ok()?;
        let bytes = fraction * factor as f64;
        (bytes.is_finite() && bytes < i64::MAX as f64).then_some(Self(bytes as u64))
    }
}

impl Wire for ByteSize {
    const EXPECTED: &'static str = "a number of bytes, or a string such as \"512m\"";
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        let size = match &value {
            Value::Number(n) => n
                .as_u64()
                .filter(|bytes| *bytes <= i64::MAX as u64)
                .map(Self),
            Value::String(text) => Self::parse(text),
            _ => None,
        };
        size.or_else(|| mismatch::<Self>(&value, reader))
    }
}

/// A file mode, sent as an octal string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OctalMode(pub u32);

impl JsonSchema for OctalMode {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OctalMode".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^(0o)?[0-7]{1,5}$"})
    }
}

impl Wire for OctalMode {
    const EXPECTED: &'static str = "an octal string such as \"0755\"";
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        let Value::String(text) = &value else {
            let hint = if value.is_number() {
                " (a number could be octal or decimal)"
            } else {
                ""
            };
            reader.fault(format!(
                "expected {}, got {}{hint}",
                Self::EXPECTED,
                kind_of(&value)
            ));
            return None;
        };
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let sane =
            (1..=5).contains(&digits.len()) && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
        match u32::from_str_radix(digits, 8) {
            Ok(mode) if sane && mode <= 0o1777 => Some(Self(mode)),
            Ok(mode) if sane && mode <= 0o7777 => {
                reader.fault("setuid and setgid bits are not allowed");
                None
            }
            _ => {
                reader.fault(format!("expected {}", Self::EXPECTED));
                None
            }
        }
    }
}

/// Temporary file systems: path to options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tmpfs(pub Vec<(String, String)>);

impl JsonSchema for Tmpfs {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Tmpfs".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        map_or_list_schema()
    }
}

impl Wire for Tmpfs {
    const EXPECTED: &'static str =
        "an object of path to options, or an array of \"path[:options]\"";
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        map_or_list::<Self>(value, reader).map(Self)
    }
}

/// Extra `/etc/hosts` lines: host to address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtraHosts(pub Vec<(String, String)>);

impl JsonSchema for ExtraHosts {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ExtraHosts".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        map_or_list_schema()
    }
}

impl Wire for ExtraHosts {
    const EXPECTED: &'static str = "an object of host to address, or an array of \"host:address\"";
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        map_or_list::<Self>(value, reader).map(Self)
    }
}

fn map_or_list_schema() -> schemars::Schema {
    schemars::json_schema!({"anyOf": [
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "array", "items": {"type": "string"}},
    ]})
}

fn map_or_list<T: Wire>(value: Value, reader: &mut Reader) -> Option<Vec<(String, String)>> {
    match value {
        Value::Object(_) => BTreeMap::take(value, reader).map(|map| map.into_iter().collect()),
        Value::Array(_) => {
            let lines: Vec<String> = Vec::take(value, reader)?;
            Some(
                lines
                    .into_iter()
                    .map(|line| split_at_colon(&line))
                    .collect(),
            )
        }
        other => {
            mismatch::<T>(&other, reader);
            None
        }
    }
}

fn split_at_colon(line: &str) -> (String, String) {
    match line.split_once(':') {
        Some((left, right)) => (left.to_owned(), right.to_owned()),
        None => (line.to_owned(), String::new()),
    }
}

fn mismatch<T: Wire>(found: &Value, reader: &mut Reader) -> Option<T> {
    reader.fault(format!("expected {}, got {}", T::EXPECTED, kind_of(found)));
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn byte_sizes_are_read_as_docker_reads_them() {
        for (text, bytes) in [
            ("512m", Some(512 << 20)),
            ("1.5g", Some(3 << 29)),
            ("2GiB", Some(2 << 30)),
            ("10 kb", Some(10 << 10)),
            ("7", Some(7)),
            ("m", None),
            ("", None),
            ("-1", None),
            ("1x", None),
            ("99999999999t", None),
        ] {
            assert_eq!(ByteSize::parse(text).map(|s| s.0), bytes, "{text}");
        }
    }

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
