//! Creates a run's container, and in it the directories above files that are to be collected.

use crate::archive::{self, Packer, UidGid};
use crate::docker::{self, Client, ContainerCreate, ImageInspect};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::{HOST_PATHS, Role};
use crate::runner::cleanup::removal::{Object, RemovalGuard};
use crate::runner::error::Error;
use crate::runner::request::host_paths::{HostClaim, to_label};
use crate::runner::request::mounts::MountSource;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::collect::missing_parents;
use crate::runner::run::container_config::{container, image_digest, object_labels};
use crate::runner::run::stage::Staged;
use crate::runner::run::start_error::create_error;
use crate::runner::volumes::host_paths::{Claimant, claim_of};

/// What a run has in the engine from its create call on. Dropping it removes the container, then the stage.
pub(crate) struct Created {
    pub(crate) container: RemovalGuard,
    pub(crate) staged: Option<Staged>,
    pub(crate) image_digest: String,
    /// What the engine said that it cannot do as asked.
    pub(crate) warnings: Vec<String>,
}

/// Creates the container of a run; it is not started.
pub(crate) fn create(
    engine: &Engine,
    spec: &RunSpec,
    image: &ImageInspect,
    staged: Option<Staged>,
) -> Result<Created, Error> {
    let name = format!("oneoff-{}", spec.id);
    let mut labels = object_labels(spec, &engine.identity, Role::Run);
    let claims = host_claims(&engine.client, spec)?;
    labels.insert(HOST_PATHS.into(), to_label(&claims));
    // Owned by name first: a create call may fail on our side and succeed on the engine's.
    let mut guard = engine.removal.own(Object::Container(name.clone()));
    let config = ContainerCreate {
        // What was inspected, whatever its name may mean by now: another run may just have pulled.
        image: image.id.clone(),
        ..container(spec, staged.as_ref().map(Staged::mountpoint), labels)
    };
    let platform = spec.platform.as_deref();
    let created = engine
        .client
        .container_create(Some(&name), platform, &config)
        .map_err(create_error)?;
    guard.become_object(Object::Container(created.id));
    let claimant = Claimant {
        engine,
        container: guard.id(),
        run: &spec.id,
        allowed: &spec.allowed_host_paths,
    };
    // Before anything is read from the container or written to it, which uses its mounts.
    claimant.claim(&claims)?;
    let mut created = Created {
        container: guard,
        staged,
        image_digest: image_digest(&spec.image, image),
        warnings: created.warnings,
    };
    make_parents(&engine.client, spec, &mut created)?;
    Ok(created)
}

/// The host paths that the run mounts, also through named volumes.
fn host_claims(client: &Client, spec: &RunSpec) -> Result<Vec<HostClaim>, Error> {
    let mut claims = Vec::new();
    for mount in &spec.mounts {
        match &mount.source {
            MountSource::Host(path) => claims.push(HostClaim::new(path, mount.access)),
            MountSource::Named(name) => {
                let volume = client.volume_inspect(name)?;
                claims.extend(claim_of(&volume, mount.access));
            }
            _ => {}
        }
    }
    Ok(claims)
}

/// Makes the directories above each file that is to be collected, writable for every user. A directory that the engine refuses
/// to make is a warning.
fn make_parents(client: &Client, spec: &RunSpec, created: &mut Created) -> Result<(), Error> {
    let container = created.container.id();
    for mount in spec
        .mounts
        .iter()
        .filter(|mount| matches!(mount.source, MountSource::CollectedFile))
    {
        let missing = missing_parents(client, container, &mount.target)?;
        if missing.is_empty() {
            continue;
        }
        match put_directories(client, container, &missing) {
            Err(docker::Error::Status { message, .. }) => {
                let key = &mount.key;
                let warning = format!("{key}: its directory could not be made: {message}");
                created.warnings.push(warning);
            }
            other => other?,
        }
    }
    Ok(())
}

fn put_directories(
    client: &Client,
    container: &str,
    paths: &[String],
) -> Result<(), docker::Error> {
    let packed = || {
        let mut packer = Packer::new(Vec::new(), UidGid::default());
        for path in paths {
            packer.directory(path.trim_start_matches('/'), 0o777)?;
        }
        packer.finish()
    };
    let tar = packed().map_err(|error: archive::Error| docker::Error::Source {
        call: "archive_put",
        detail: error.to_string(),
    })?;
    client.archive_put(container, "/", &mut tar.as_slice())
}
