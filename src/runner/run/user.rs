//! The owner of staged content: the uid and gid that the run will have.

use crate::archive::{self, Collected, UidGid};
use crate::docker::{Client, ContainerCreate, ImageInspect};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::{OBJECT_SLACK, without_effect};
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
    /// engine container; a run without mounts needs no owner, so that nothing is looked up for it.
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
                let owner = look_up(engine, spec, image, &key)?;
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

/// Reads the image's own `/etc/passwd` and `/etc/group` through a container that is never started.
fn look_up(
    engine: &Engine,
    spec: &RunSpec,
    image: &ImageInspect,
    key: &UserOfImage,
) -> Result<UidGid, Error> {
    let mut labels = without_effect(&image.config.labels);
    labels.extend(engine.identity.labels(&spec.id, OBJECT_SLACK));
    let name = format!("oneoff-{}-user", spec.id);
    let mut container = engine.removal.own(Object::Container(name.clone()));
    let config = ContainerCreate {
        image: key.image_id.clone(),
        cmd: Some(vec!["never-started".into()]),
        labels,
        network_disabled: true,
        ..ContainerCreate::default()
    };
    let created = engine
        .client
        .container_create(Some(&name), spec.platform.as_deref(), &config)
        .map_err(create_error)?;
    container.become_object(Object::Container(created.id));
    let passwd = small_text(&engine.client, container.id(), "/etc/passwd");
    let group = small_text(&engine.client, container.id(), "/etc/group");
    Ok(named_owner(&key.user, &passwd, &group))
}

/// The text of a file in a container; empty if it cannot be read or is larger than 1 MiB.
fn small_text(client: &Client, container: &str, path: &str) -> String {
    const LIMIT_BYTES: u64 = 1 << 20;
    let tar = client.archive_get(container, path);
    match tar.map(|mut tar| archive::collect_file(&mut *tar, LIMIT_BYTES)) {
        Ok(Ok(Collected::File(bytes))) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    }
}
