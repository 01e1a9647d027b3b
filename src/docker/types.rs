//! JSON objects of the Engine API, reduced to the fields that are used. Names and shapes are the Engine API's; sizes are in
//! bytes.
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Labels.
pub type Labels = BTreeMap<String, String>;

/// Body of `POST /containers/create`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)] // the Engine API's own names
pub struct ContainerCreate {
    pub image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    pub labels: Labels,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    pub open_stdin: bool,
    pub stdin_once: bool,
    pub network_disabled: bool,
    pub host_config: HostConfig,
}

/// `Healthcheck` of a container.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)] // the Engine API's own names
pub struct HealthConfig {
    /// `["NONE"]` disables the image's.
    pub test: Vec<String>,
}

/// `HostConfig` of a container.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)] // the Engine API's own names
pub struct HostConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_mode: Option<String>,
    /// Bytes.
    pub memory: i64,
    /// Bytes, memory included.
    pub memory_swap: i64,
    pub nano_cpus: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    pub readonly_rootfs: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tmpfs: BTreeMap<String, String>,
    /// Bytes; 0: the engine's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_opt: Vec<String>,
    pub log_config: LogConfig,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Instead of the engine's own list; empty: the engine's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub masked_paths: Vec<String>,
}

/// `HostConfig.LogConfig`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)] // the Engine API's own names
pub struct LogConfig {
    #[serde(rename = "Type")]
    pub kind: String,
    pub config: BTreeMap<String, String>,
}

/// `HostConfig.Mounts[]`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)] // the Engine API's own names
pub struct Mount {
    #[serde(rename = "Type")]
    pub kind: String,
    pub source: String,
    pub target: String,
    pub read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_options: Option<VolumeOptions>,
}

/// `Mounts[].VolumeOptions`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)] // the Engine API's own names
pub struct VolumeOptions {
    pub no_copy: bool,
    pub labels: Labels,
    /// Path in the volume of what is mounted, which must exist when the container starts; `None`: the whole volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subpath: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_config: Option<DriverConfig>,
}

/// `Mounts[].VolumeOptions.DriverConfig`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)] // the Engine API's own names
pub struct DriverConfig {
    pub name: String,
    pub options: BTreeMap<String, String>,
}

/// Response of `POST /containers/create`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)] // the Engine API's own names
pub struct ContainerCreateResponse {
    pub id: String,
    #[serde(deserialize_with = "null_as_default")]
    pub warnings: Vec<String>,
}

/// Response of `GET /containers/{id}/json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)] // the Engine API's own names
pub struct ContainerInspect {
    pub id: String,
    pub name: String,
    /// Id of its image.
    pub image: String,
    pub state: ContainerState,
    pub config: ContainerConfig,
    pub host_config: InspectedHostConfig,
    #[serde(deserialize_with = "null_as_default")]
    pub mounts: Vec<MountPoint>,
}

/// `HostConfig` of an inspected container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)] // the Engine API's own names
pub struct InspectedHostConfig {
    #[serde(deserialize_with = "null_as_default")]
    pub masked_paths: Vec<String>,
    pub memory: Option<i64>,
    pub nano_cpus: Option<i64>,
    pub pids_limit: Option<i64>,
}

/// `State` of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)] // the Engine API's own names
pub struct ContainerState {
    pub status: String,
    pub running: bool,
    pub paused: bool,
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    pub exit_code: i64,
    /// RFC 3339, by the engine's clock; year 1 before the first start.
    pub started_at: String,
    /// RFC 3339, by the engine's clock; year 1 before the first end.
    pub finished_at: String,
}

/// `Config` of a container or image.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)] // the Engine API's own names
pub struct ContainerConfig {
    pub user: String,
    #[serde(deserialize_with = "null_as_default")]
    pub labels: Labels,
    #[serde(deserialize_with = "null_as_default")]
    pub env: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub cmd: Vec<String>,
    pub working_dir: String,
    /// The volumes that it declares: path to an empty object.
    #[serde(deserialize_with = "null_as_default")]
    pub volumes: BTreeMap<String, serde_json::Value>,
}

/// `Mounts[]` of an inspected container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)] // the Engine API's own names
pub struct MountPoint {
    pub name: String,
    pub source: String,
    pub destination: String,
}

/// Element of `GET /containers/json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)] // the Engine API's own names
pub struct ContainerSummary {
    pub id: String,
    #[serde(deserialize_with = "null_as_default")]
    pub names: Vec<String>,
    #[serde(rename = "ImageID")]
    pub image_id: String,
    pub state: String,
    #[serde(deserialize_with = "null_as_default")]
    pub labels: Labels,
    /// Seconds since 1970.
    pub created: i64,
}

/// Response of `GET /images/{name}/json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)] // the Engine API's own names
pub struct ImageInspect {
    pub id: String,
    #[serde(deserialize_with = "null_as_default")]
    pub repo_digests: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub config: ContainerConfig,
    pub architecture: String,
    pub os: String,
    /// The CPU variant, such as `v8`.
    pub variant: String,
}

/// Element of `GET /images/json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)] // the Engine API's own names
pub struct ImageSummary {
    pub id: String,
    #[serde(deserialize_with = "null_as_default")]
    pub repo_tags: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub repo_digests: Vec<String>,
    /// Seconds since 1970.
    pub created: i64,
    /// Bytes.
    pub size: i64,
}

/// Body of `POST /volumes/create`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)] // the Engine API's own names
pub struct VolumeCreate {
    pub name: String,
    pub driver: String,
    pub driver_opts: BTreeMap<String, String>,
    pub labels: Labels,
}

/// Response of `GET /volumes/{name}` and of `POST /volumes/create`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)] // the Engine API's own names
pub struct Volume {
    pub name: String,
    pub driver: String,
    pub mountpoint: String,
    #[serde(deserialize_with = "null_as_default")]
    pub labels: Labels,
    #[serde(deserialize_with = "null_as_default")]
    pub options: BTreeMap<String, String>,
}

/// Response of `GET /version`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)] // the Engine API's own names
pub struct Version {
    pub version: String,
    pub api_version: String,
    /// The oldest API version that the engine answers to; empty if it does not say.
    #[serde(rename = "MinAPIVersion")]
    pub min_api_version: String,
    pub os: String,
}

/// Response of `GET /info`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)] // the Engine API's own names
pub struct SystemInfo {
    /// The engine's clock, as RFC 3339.
    pub system_time: String,
    /// The machine, as `uname -m` prints it.
    pub architecture: String,
    /// Name of the runtime of containers for which none is asked.
    pub default_runtime: String,
    /// By name. Podman lists paths only.
    #[serde(deserialize_with = "null_as_default")]
    pub runtimes: BTreeMap<String, Runtime>,
    /// How many CPUs it has; 0 if it does not say.
    #[serde(rename = "NCPU")]
    pub cpus: u32,
    /// `cgroupfs`, `systemd` or `none`.
    pub cgroup_driver: String,
    /// Version of the control groups, `1` or `2`.
    pub cgroup_version: String,
    /// Such as `name=rootless`.
    #[serde(deserialize_with = "null_as_default")]
    pub security_options: Vec<String>,
}

impl SystemInfo {
    /// The configuration of a runtime; `None` names the engine's default. None if the engine does not name it.
    pub fn runtime(&self, name: Option<&str>) -> Option<&Runtime> {
        self.runtimes.get(name.unwrap_or(&self.default_runtime))
    }
}

/// A runtime that the engine is configured with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Runtime {
    /// Its program. Empty for one that containerd knows by a name.
    #[serde(deserialize_with = "null_as_default")]
    pub path: String,
    /// What the engine adds to each of its command lines.
    #[serde(deserialize_with = "null_as_default")]
    pub runtime_args: Vec<String>,
}

/// One progress message of `POST /images/create`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct PullProgress {
    /// Such as `Downloading`.
    pub status: String,
    /// Layer id or tag.
    pub id: String,
    /// Progress in bytes; zeros if the message has none.
    #[serde(rename = "progressDetail", deserialize_with = "null_as_default")]
    pub progress_detail: ProgressDetail,
}

/// `progressDetail` of a [`PullProgress`].
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct ProgressDetail {
    /// Bytes so far.
    #[serde(deserialize_with = "negative_as_zero")]
    pub current: u64,
    /// Total bytes; 0 if unknown.
    #[serde(deserialize_with = "negative_as_zero")]
    pub total: u64,
}

/// Credentials for one registry. `Debug` shows the address only.
#[derive(Clone, Default, Serialize)]
#[allow(missing_docs)] // the Engine API's own names
pub struct AuthConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub email: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub serveraddress: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub identitytoken: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub registrytoken: String,
}

impl std::fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthConfig")
            .field("serveraddress", &self.serveraddress)
            .finish_non_exhaustive()
    }
}

/// Response of `POST /containers/{id}/wait`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)] // the Engine API's own names
pub struct ContainerWaitResponse {
    pub status_code: i64,
}

/// Reads `null` as the default value, because the engine writes it for an empty list or map.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a negative number as 0, because the engine writes -1 for an unknown size.
fn negative_as_zero<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(u64::try_from(i64::deserialize(deserializer)?).unwrap_or(0))
}
