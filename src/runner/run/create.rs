//! Creates a run's container, and in it the directories above files that are to be collected.

use crate::archive::{self, Packer, UidGid};
use crate::docker::container::PathStat;
use crate::docker::{self, Client, ContainerCreate, ImageInspect};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::{HOST_PATHS, Role, without_effect};
use crate::runner::cleanup::owned::Owned;
use crate::runner::cleanup::removal::Object;
use crate::runner::error::Error;
use crate::runner::request::host_paths::{HostClaim, to_label};
use crate::runner::request::mounts::MountSource;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::container_config::{
    STAGE_REFERENCE, StageVolume, container, container_name, image_digest, image_volumes,
    object_labels,
};
use crate::runner::run::stage::Staged;
use crate::runner::run::start_error::create_error;
use crate::runner::staging::existing_volume::is_made_for;
use crate::runner::volumes::host_paths::{Claimant, claim_of};
use crate::runner::volumes::named::no_such_volume;

/// The container of a run, and where its staged items are.
pub(crate) struct Created {
    /// Id of the container.
    pub(crate) container: String,
    pub(crate) stage: StageObjects,
    pub(crate) image_digest: String,
    /// The volumes that the image declares.
    pub(crate) image_volumes: Vec<String>,
    /// What the engine said that it cannot do as asked.
    pub(crate) warnings: Vec<String>,
}

/// What a run's container is made of.
pub(crate) struct Ingredients<'a> {
    pub(crate) image: &'a ImageInspect,
    pub(crate) staged: Option<Staged>,
}

/// Where the staged items of a run can be read. Empty if it has none.
#[derive(Default)]
pub(crate) struct StageObjects {
    /// Id of the helper.
    pub(crate) helper: Option<String>,
    /// Name of the volume, which the run's container mounts too.
    pub(crate) volume: Option<String>,
}

impl StageObjects {
    /// The stage of a run whose container an earlier process made. Its helper may be gone; the volume is the one that the
    /// container mounts.
    pub(crate) fn of_container(
        client: &Client,
        container: &str,
        helper: Option<String>,
    ) -> Result<Self, docker::Error> {
        let inspected = client.container_inspect(container)?;
        let mut mounts = inspected.mounts.into_iter();
        let reference = mounts.find(|mount| mount.destination == STAGE_REFERENCE);
        Ok(Self {
            helper,
            volume: reference.map(|mount| mount.name),
        })
    }
}

/// Creates the container of a run; it is not started. Errors: [`Error::Vanished`] if the image, the stage or the container was
/// removed meanwhile; [`Error::NotFound`] if a named volume was.
pub(crate) fn create(
    engine: &Engine,
    spec: &RunSpec,
    ingredients: Ingredients<'_>,
    owned: &mut Owned,
) -> Result<Created, Error> {
    let Ingredients { image, staged } = ingredients;
    let name = container_name(spec);
    let mut labels = without_effect(&image.config.labels);
    labels.extend(object_labels(spec, &engine.identity, Role::Run));
    let claims = host_claims(&engine.client, spec)?;
    labels.insert(HOST_PATHS.into(), to_label(&claims));
    let volume = staged.as_ref().map(|staged| &staged.volume);
    let config = ContainerCreate {
        // What was inspected, whatever its name may mean by now: another run may just have pulled.
        image: image.id.clone(),
        ..container(spec, volume, labels)
    };
    // Owned by name first: a create call may fail on our side and succeed on the engine's.
    let mut guard = engine.removal.own(Object::Container(name.clone()));
    let platform = spec.platform.as_ref().map(ToString::to_string);
    let created = engine
        .client
        .container_create(Some(&name), platform.as_deref(), &config);
    if let Ok(created) = &created {
        guard.become_object(Object::Container(created.id.clone()));
    }
    owned.add_first(guard);
    let created = created.map_err(|error| stage_or_create_error(error, volume))?;
    let claimant = Claimant {
        engine,
        container: &created.id,
        run: &spec.id,
        allowed: &spec.allowed_host_paths,
    };
    // Before anything is read from the container or written to it, which uses its mounts.
    claimant.claim(&claims)?;
    let mut created = Created {
        container: created.id,
        stage: staged.map_or_else(StageObjects::default, |staged| StageObjects {
            helper: Some(staged.helper),
            volume: Some(staged.volume.name),
        }),
        image_digest: image_digest(&spec.image, image),
        image_volumes: image_volumes(image),
        warnings: created.warnings,
    };
    refuse_new_volumes(engine, spec, owned)?;
    make_parents(&engine.client, spec, &mut created)?;
    Ok(created)
}

/// An error that names the stage's own path does not come from the request: the volume is gone.
fn stage_or_create_error(error: docker::Error, volume: Option<&StageVolume>) -> Error {
    match volume {
        Some(volume) if error.to_string().contains(&volume.mountpoint) => {
            Error::Vanished(format!("the staged content was removed: {error}"))
        }
        _ => create_error(error),
    }
}

/// An engine creates a named volume that it does not have. Here that means that another client removed it after this service had
/// seen it: the volume is removed again, and the run refused.
fn refuse_new_volumes(engine: &Engine, spec: &RunSpec, owned: &mut Owned) -> Result<(), Error> {
    for mount in &spec.mounts {
        let MountSource::Named(name) = &mount.source else {
            continue;
        };
        if is_made_for(&engine.client, name, &container_name(spec))? {
            let volume = Object::Volume(name.clone());
            owned.add_last(engine.removal.own(volume));
            return Err(no_such_volume(name));
        }
    }
    Ok(())
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
    let container = &created.container;
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

/// The parent directories of `path` that do not exist in the container, outermost first.
fn missing_parents(client: &Client, container: &str, path: &str) -> Result<Vec<String>, Error> {
    let mut missing = Vec::new();
    let mut parent = path;
    while let Some((above, _)) = parent
        .rsplit_once('/')
        .filter(|(above, _)| !above.is_empty())
    {
        match client.archive_stat(container, above)? {
            Some(PathStat { .. }) => break,
            None => missing.insert(0, above.to_owned()),
        }
        parent = above;
    }
    Ok(missing)
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
