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
    Pid1, STAGE_REFERENCE, container, container_name, image_digest, image_volumes, object_labels,
    podman_log, with_pid_1,
};
use crate::runner::run::stage::{Staged, missing_item, not_arrived, stage_name};
use crate::runner::run::start_error::create_error;
use crate::runner::staging::existing_volume::is_made_for;
use crate::runner::volumes::host_paths::{Claimant, claim_of};
use crate::runner::volumes::named::no_such_volume;

/// The container of a run, and where its staged items are.
pub(crate) struct Created {
    /// Id of the container.
    pub(crate) container: String,
    pub(crate) stage: StageObjects,
    /// The service's own PID 1, if it has that.
    pub(crate) pid_1: Option<Pid1>,
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
    pub(crate) pid_1: Option<Pid1>,
}

/// Where the staged items of a run can be read. Empty if it has none.
#[derive(Default)]
pub(crate) struct StageObjects {
    /// Id of the helper.
    pub(crate) helper: Option<String>,
    /// Name of the volume, which the run's container mounts too.
    pub(crate) volume: Option<String>,
    /// The volume's path on the engine's host.
    mountpoint: Option<String>,
}

impl StageObjects {
    /// The stage of a run whose container an earlier process made. Its helper may be gone; the volume is the one that the
    /// container mounts.
    pub(crate) fn of_container(
        client: &Client,
        container: &str,
        run: &str,
        helper: Option<String>,
    ) -> Result<Self, docker::Error> {
        let inspected = client.container_inspect(container)?;
        let mut mounts = inspected.mounts.into_iter();
        let volume = mounts
            .find(|mount| mount.destination == STAGE_REFERENCE || mount.name == stage_name(run));
        Ok(Self {
            helper,
            volume: volume.map(|mount| mount.name),
            mountpoint: None,
        })
    }

    /// The cause of an error before the container had started, if it is that what was staged did not arrive or was removed; else
    /// the error itself.
    pub(crate) fn explain(&self, client: &Client, spec: &RunSpec, error: Error) -> Error {
        let Some(helper) = &self.helper else {
            return error;
        };
        let is_source_missing = self.names_missing_source(&error);
        if !is_source_missing && !matches!(error, Error::Engine(_)) {
            return error;
        }
        match missing_item(client, helper, spec) {
            Ok(Some(mount)) => not_arrived(mount),
            _ if is_source_missing => {
                Error::Vanished(format!("the staged content was removed: {error}"))
            }
            Err(gone) if gone.is_object_gone() => gone.into(),
            Ok(None) | Err(_) => error,
        }
    }

    /// Whether the engine says that there is nothing where the stage's items are. Other errors of a mount name the place, too.
    fn names_missing_source(&self, error: &Error) -> bool {
        const WORDS: [&str; 2] = ["bind source path does not exist", "cannot access path"];
        let text = error.to_string();
        let names_stage = self
            .mountpoint
            .as_ref()
            .is_some_and(|path| text.contains(path));
        names_stage && WORDS.iter().any(|words| text.contains(words))
    }
}

impl From<Staged> for StageObjects {
    fn from(staged: Staged) -> Self {
        Self {
            helper: Some(staged.helper),
            volume: Some(staged.volume.name),
            mountpoint: Some(staged.volume.mountpoint),
        }
    }
}

/// The body of the create call.
fn body(
    engine: &Engine,
    spec: &RunSpec,
    ingredients: &Ingredients<'_>,
    claims: &[HostClaim],
) -> Result<ContainerCreate, Error> {
    let Ingredients {
        image,
        staged,
        pid_1,
    } = ingredients;
    let mut labels = without_effect(&image.config.labels);
    labels.extend(object_labels(spec, &engine.identity, Role::Run));
    labels.insert(HOST_PATHS.into(), to_label(claims));
    let volume = staged.as_ref().map(|staged| &staged.volume);
    let mut config = ContainerCreate {
        // What was inspected, whatever its name may mean by now: another run may just have pulled.
        image: image.id.clone(),
        ..container(spec, volume, labels.clone())
    };
    if let Some(pid_1) = pid_1 {
        config = with_pid_1(config, pid_1, &container_name(spec), &labels);
    }
    if spec.is_detached && engine.client.is_podman()? {
        config.host_config.log_config = podman_log();
    }
    Ok(config)
}

/// Creates the container of a run; it is not started. Errors: [`Error::Vanished`] if the image, the stage or the container was
/// removed meanwhile; [`Error::NotFound`] if a named volume was.
pub(crate) fn create(
    engine: &Engine,
    spec: &RunSpec,
    ingredients: Ingredients<'_>,
    owned: &mut Owned,
) -> Result<Created, Error> {
    let name = container_name(spec);
    let claims = host_claims(&engine.client, spec)?;
    let config = body(engine, spec, &ingredients, &claims)?;
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
    let stage = ingredients
        .staged
        .map(StageObjects::from)
        .unwrap_or_default();
    let created =
        created.map_err(|error| stage.explain(&engine.client, spec, create_error(error)))?;
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
        stage,
        pid_1: ingredients.pid_1,
        image_digest: image_digest(&spec.image, ingredients.image),
        image_volumes: image_volumes(ingredients.image),
        warnings: created.warnings,
    };
    refuse_new_volumes(engine, spec, owned)?;
    // The first call that makes the engine mount everything.
    make_parents(&engine.client, spec, &mut created)
        .map_err(|error| created.stage.explain(&engine.client, spec, error))?;
    Ok(created)
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
