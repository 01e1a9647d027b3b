//! The engine for all three ways: the image, the label of our containers, and waiting for quiet before each sample.

use super::Outcome;
use oneoff_docker_runner::docker::{Client, Host};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The image of every echo run.
pub(crate) const IMAGE: &str = "oneoff-test:latest";
/// The image of the README's requests.
pub(crate) const ALPINE: &str = "alpine:latest";
/// The command of every echo run.
pub(crate) const COMMAND: [&str; 2] = ["echo", "hello"];
/// The output of [`COMMAND`].
pub(crate) const PRINTED: &str = "hello\n";
/// The label of every container of this program, whichever way created it.
pub(crate) const LABEL: &str = "oneoff-bench";

const POLL: Duration = Duration::from_millis(5);
/// The engine still cleans up for a moment after a container has left its list.
const SETTLE: Duration = Duration::from_millis(30);
const PATIENCE: Duration = Duration::from_secs(60);

/// A client of the engine that `DOCKER_HOST` and the related variables name, as the server reads them.
pub(crate) fn client() -> Outcome<Client> {
    let variable = |name: &str| std::env::var(name).ok();
    let (verify, certificates) = (variable("DOCKER_TLS_VERIFY"), variable("DOCKER_CERT_PATH"));
    let host = Host::parse(
        &variable("DOCKER_HOST").unwrap_or_default(),
        verify.as_deref(),
        certificates.as_deref(),
    )?;
    Ok(Client::new(host, variable("DOCKER_API_VERSION"))?)
}

/// A word that no other run of this program uses.
pub(crate) fn unique() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = now.map_or(0, |time| time.as_nanos());
    format!("{}-{nanos:x}", std::process::id())
}

/// Waits until no container with this label is left. Returns the moment when that was first seen.
pub(crate) fn until_empty(client: &Client, label: &str) -> Outcome<Instant> {
    let labels = [label.to_owned()];
    let begun = Instant::now();
    while !client.container_list(&labels)?.is_empty() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("containers with the label {label} do not go away").into());
        }
        sleep(POLL);
    }
    Ok(Instant::now())
}

/// As [`until_empty`], and a moment more, so that one sample does not include the removal of another.
pub(crate) fn until_quiet(client: &Client, label: &str) -> Outcome<()> {
    until_empty(client, label)?;
    sleep(SETTLE);
    Ok(())
}

/// Fails with the names of the containers and volumes that are left.
pub(crate) fn nothing_left(client: &Client, label: &str) -> Outcome<()> {
    let labels = [label.to_owned()];
    let containers = client.container_list(&labels)?;
    let volumes = client.volume_list(&labels)?;
    if containers.is_empty() && volumes.is_empty() {
        return Ok(());
    }
    let containers = containers.into_iter().map(|container| container.id);
    let left: Vec<String> = containers
        .chain(volumes.into_iter().map(|volume| volume.name))
        .collect();
    Err(format!(
        "left in the engine with the label {label}: {}",
        left.join(", ")
    )
    .into())
}
