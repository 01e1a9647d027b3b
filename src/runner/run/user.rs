//! The owner of staged content: the uid and gid that the run will have. A failure to look a name up is an error; it never
//! makes root the owner.

use crate::archive::{self, Collected, UidGid};
use crate::docker::{self, Client, ContainerCreate, ImageInspect};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::{HOST_PATHS, OBJECT_SLACK, without_effect};
use crate::runner::cleanup::removal::Object;
use crate::runner::error::Error;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::container_config::{named_owner, numeric_owner, user};
use crate::runner::run::start_error::create_error;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Cache of image id and user name → uid and gid. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct UserCache(Arc<Mutex<HashMap<UserOfImage, UidGid>>>);

#[derive(PartialEq, Eq, Hash)]
struct UserOfImage {
    image_id: String,
    user: String,
}

impl UserCache {
    /// The owner of what is staged for a run of this image. A user given by name is looked up in the image, which takes an
    /// engine container; a run without mounts needs no owner, so that nothing is looked up for it. A name that the image
    /// does not have is not cached and gives root: the engine refuses to start such a run, in its own words.
    pub(crate) fn owner(
        &self,
        engine: &Engine,
        spec: &RunSpec,
        image: &ImageInspect,
    ) -> Result<UidGid, Error> {
        let user = user(spec, image);
        match numeric_owner(user) {
            Some(owner) => Ok(owner),
            None if spec.mounts.is_empty() => Ok(UidGid::default()),
            None => {
                let key = UserOfImage {
                    image_id: image.id.clone(),
                    user: user.to_owned(),
                };
                if let Some(owner) = self.get(&key) {
                    return Ok(owner);
                }
                let Some(owner) = look_up(engine, spec, image, &key)? else {
                    return Ok(UidGid::default());
                };
                self.insert(key, owner);
                Ok(owner)
            }
        }
    }

    fn get(&self, key: &UserOfImage) -> Option<UidGid> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .copied()
    }

    /// The number of entries is bounded, since callers choose the names.
    fn insert(&self, key: UserOfImage, owner: UidGid) {
        const MOST: usize = 1024;
        let mut owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.len() >= MOST {
            owners.clear();
        }
        owners.insert(key, owner);
    }
}

/// Reads the image's own `/etc/passwd` and `/etc/group` through a container that is never started. `None`: they do not have
/// the user or its group. Errors: the engine's, or a file that is too large.
fn look_up(
    engine: &Engine,
    spec: &RunSpec,
    image: &ImageInspect,
    key: &UserOfImage,
) -> Result<Option<UidGid>, Error> {
    let name = format!("oneoff-{}-user", spec.id);
    let mut container = engine.removal.own(Object::Container(name.clone()));
    let mut labels = without_effect(&image.config.labels);
    labels.extend(engine.identity.labels(&spec.id, OBJECT_SLACK));
    labels.insert(HOST_PATHS.into(), String::new());
    let config = ContainerCreate {
        image: key.image_id.clone(),
        cmd: Some(vec!["never-started".into()]),
        labels,
        network_disabled: true,
        ..ContainerCreate::default()
    };
    let platform = spec.platform.as_ref().map(ToString::to_string);
    let created = engine
        .client
        .container_create(Some(&name), platform.as_deref(), &config)
        .map_err(create_error)?;
    container.become_object(Object::Container(created.id));
    let passwd = text_file(&engine.client, container.id(), "/etc/passwd")?;
    let group = text_file(&engine.client, container.id(), "/etc/group")?;
    Ok(named_owner(&key.user, &passwd, &group))
}

/// The text of a file in a container. Symbolic links are followed within the container. Empty if there is no such file.
fn text_file(client: &Client, container: &str, path: &str) -> Result<String, Error> {
    const LIMIT_BYTES: u64 = 16 << 20;
    let Some(file) = follow_links(client, container, path)? else {
        return Ok(String::new());
    };
    let mut tar = client.archive_get(container, &file)?;
    match archive::collect_file(&mut *tar, LIMIT_BYTES) {
        Ok(Collected::File(bytes)) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        // A directory, for example: the engine finds no names there either.
        Ok(Collected::Other(_)) => Ok(String::new()),
        Err(archive::Error::TooLarge(detail)) => Err(Error::StartFailed(format!(
            "the user cannot be looked up in the image's {path}: {detail}"
        ))),
        Err(error) => Err(Error::Engine(format!(
            "the engine's archive of the image's {path} cannot be read: {error}"
        ))),
    }
}

/// The path at which the file itself is, after any symbolic links. `None`: there is nothing. The engine resolves links
/// within the container's own root, whether absolute or relative.
fn follow_links(client: &Client, container: &str, path: &str) -> Result<Option<String>, Error> {
    const MOST_LINKS: usize = 8;
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let stat = client.archive_stat(container, &path);
        match stat.map_err(|error| explained(client, container, &path, error))? {
            None => return Ok(None),
            Some(stat) if stat.is_symlink() => path = link_target(&path, &stat.link_target),
            Some(_) => return Ok(Some(path)),
        }
    }
    Err(Error::StartFailed(format!(
        "the user cannot be looked up: the image's {path} is behind more than {MOST_LINKS} symbolic links"
    )))
}

/// The reason why the engine cannot look at a path. The answer to that call has no text; reading the path gives the same fault with
/// one. Links that lead in a circle are the image's fault: the engine does not start a container of such a user either.
fn explained(client: &Client, container: &str, path: &str, error: docker::Error) -> Error {
    let is_unexplained = matches!(error, docker::Error::Status { .. }) && !error.is_object_gone();
    match is_unexplained.then(|| client.archive_get(container, path)) {
        Some(Err(docker::Error::Status { message, .. })) if message.contains("too many l") => {
            Error::StartFailed(format!(
                "the user cannot be looked up: the symbolic links at the image's {path} lead in a circle"
            ))
        }
        _ => error.into(),
    }
}

/// Where a link at `path` leads. Docker returns an absolute path, other engines may return the link's own text.
fn link_target(path: &str, target: &str) -> String {
    match path.rsplit_once('/') {
        Some((directory, _)) if !target.starts_with('/') => format!("{directory}/{target}"),
        _ => target.to_owned(),
    }
}
