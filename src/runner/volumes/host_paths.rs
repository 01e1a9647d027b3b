//! Makes sure that a container's host paths lead where their names say, and not through a symbolic link that a run has made.
//!
//! A created container says in a label which host paths it mounts. Before its mounts are used, two things are checked through
//! the engine, which alone sees the host: no other container may write to a directory above one of the paths, as long as that
//! container can run and this one exists; and no component below the allowed directory is a symbolic link. Both sides publish
//! their label before they look, so two servers cannot miss each other.

use crate::docker::container::PathStat;
use crate::docker::{ContainerSummary, Labels, Volume};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::{HOST_PATHS, INSTANCE, OBJECT_SLACK};
use crate::runner::error::Error;
use crate::runner::request::host_paths::{HostClaim, PathBelow, below_outermost, from_label};
use crate::runner::request::mounts::Access;
use crate::runner::staging::transfer_container::{HelperSpec, STAGE, reading_bind};
use std::time::{Duration, Instant};

/// How long a container waits while another may write above one of its paths.
const REDIRECTED_WAIT: Duration = Duration::from_secs(1);
/// How long a container that may write waits while another mounts a path below.
const REDIRECTING_WAIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// A created container, whose label [`HOST_PATHS`] has the claims.
pub(crate) struct Claimant<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) container: &'a str,
    /// The run or volume operation that it belongs to.
    pub(crate) run: &'a str,
    /// The allowed host paths.
    pub(crate) allowed: &'a [String],
}

impl Claimant<'_> {
    /// Returns once the claims are safe, for as long as the container exists. To be called before the container is started and
    /// before anything is read from it or written to it. Errors: [`Error::Conflict`], [`Error::Forbidden`] or the engine's.
    pub(crate) fn claim(&self, claims: &[HostClaim]) -> Result<(), Error> {
        if claims.is_empty() {
            return Ok(());
        }
        if let Some(path) = self_redirected(claims) {
            return Err(not_allowed(format!(
                "{path} cannot be mounted together with a writable directory above it"
            )));
        }
        self.await_others(claims)?;
        for (index, claim) in claims.iter().enumerate() {
            if let Some(path) = below_outermost(self.allowed, &claim.path) {
                self.refuse_links(index, &path)?;
            }
        }
        Ok(())
    }

    /// A container that may be redirected waits a second, for one that is about to be removed; one that could redirect another
    /// waits longer. So of two that meet, one goes on.
    fn await_others(&self, claims: &[HostClaim]) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            let others = self.others()?;
            let waited = begun.elapsed();
            match (redirected(claims, &others), redirectable(claims, &others)) {
                (None, None) => return Ok(()),
                (Some(path), _) if waited >= REDIRECTED_WAIT => {
                    return Err(busy(format!(
                        "{path} cannot be mounted while another run may write to a directory above it, because it could put a symbolic link there"
                    )));
                }
                (_, Some(path)) if waited >= REDIRECTING_WAIT => {
                    return Err(busy(format!(
                        "nothing above {path} can be mounted for writing while another run mounts it"
                    )));
                }
                _ => std::thread::sleep(POLL),
            }
        }
    }

    fn others(&self) -> Result<Vec<Other>, Error> {
        let labels = [INSTANCE, HOST_PATHS].map(str::to_owned);
        let all = self.engine.client.container_list(&labels)?;
        let others = all.iter().filter(|other| other.id != self.container);
        Ok(others.map(Other::of).collect())
    }

    fn refuse_links(&self, index: usize, path: &PathBelow) -> Result<(), Error> {
        if path.components.is_empty() {
            return Ok(());
        }
        let name = format!("oneoff-{}-path-{index}", self.run);
        let labels = self.engine.identity.labels(self.run, OBJECT_SLACK);
        let helper = HelperSpec::with_mount(&name, labels, reading_bind(&path.base));
        look_below(self.engine, helper, path).map(drop)
    }
}

/// Looks at every component below the allowed directory through a container that mounts that directory and is never started, so
/// that no link leads out of it. Returns what is at the end. Errors: a component is a link, or is not there.
pub(crate) fn look_below(
    engine: &Engine,
    helper: HelperSpec<'_>,
    path: &PathBelow,
) -> Result<Option<PathStat>, Error> {
    let helper = helper.create(engine).map_err(Error::of_the_request)?;
    let stat = |below: &str| {
        let at = format!("{STAGE}{below}");
        engine.client.archive_stat(helper.id(), &at)
    };
    let mut found = match path.components.is_empty() {
        true => stat("")?,
        false => None,
    };
    let mut below = String::new();
    for component in &path.components {
        below = format!("{below}/{component}");
        let full = format!("{}{below}", path.base);
        found = match stat(&below)? {
            Some(stat) if stat.is_symlink() => {
                return Err(not_allowed(format!(
                    "{full} is a symbolic link, which a host path must not contain"
                )));
            }
            None => {
                return Err(Error::StartFailed(format!(
                    "there is no {full} on the engine's host"
                )));
            }
            found => found,
        };
    }
    Ok(found)
}

/// Another container with claims.
struct Other {
    claims: Vec<HostClaim>,
    /// Whether it runs or may be started.
    can_run: bool,
}

impl Other {
    fn of(container: &ContainerSummary) -> Self {
        let text = container.labels.get(HOST_PATHS);
        Self {
            claims: text.map_or(Vec::new(), |text| from_label(text)),
            // The process of one that is being removed has ended.
            can_run: !["exited", "removing", "dead"].contains(&container.state.as_str()),
        }
    }
}

/// The first of our paths that we can redirect ourselves. The engine resolves it again when files are collected.
fn self_redirected(ours: &[HostClaim]) -> Option<&str> {
    let is_redirected = |our: &&HostClaim| ours.iter().any(|other| other.can_redirect(our));
    ours.iter().find(is_redirected).map(|our| our.path.as_str())
}

/// The first of our paths that another container can redirect.
fn redirected<'a>(ours: &'a [HostClaim], others: &[Other]) -> Option<&'a str> {
    let theirs = || others.iter().filter(|other| other.can_run);
    let is_redirected = |our: &&HostClaim| {
        theirs().any(|other| other.claims.iter().any(|their| their.can_redirect(our)))
    };
    ours.iter().find(is_redirected).map(|our| our.path.as_str())
}

/// The first path of another container that we can redirect. The engine may resolve it as long as that container exists.
fn redirectable<'a>(ours: &[HostClaim], others: &'a [Other]) -> Option<&'a str> {
    let theirs = others.iter().flat_map(|other| &other.claims);
    let is_redirectable = |their: &&HostClaim| ours.iter().any(|our| our.can_redirect(their));
    theirs
        .into_iter()
        .find(is_redirectable)
        .map(|their| their.path.as_str())
}

fn not_allowed(detail: String) -> Error {
    Error::Forbidden {
        code: "host_path_not_allowed",
        detail,
    }
}

fn busy(detail: String) -> Error {
    Error::Conflict {
        code: "host_path_busy",
        detail,
    }
}

/// The host path behind a named volume of the `local` driver. `None`: there is none.
pub(crate) fn claim_of(volume: &Volume, access: Access) -> Option<HostClaim> {
    device_claim(&volume.driver, &volume.options, access)
}

/// The host path behind a volume with these options. `None`: there is none.
pub(crate) fn device_claim(driver: &str, options: &Labels, access: Access) -> Option<HostClaim> {
    let device = options.get("device")?;
    let is_path = device.starts_with('/') && !device.starts_with("//");
    (driver == "local" && is_path).then(|| HostClaim::new(device, access))
}
