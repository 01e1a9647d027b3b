//! Creates helper containers. Content travels through them over the Engine API only; no host directory is touched.

use crate::docker::{
    self, Client, ContainerCreate, DriverConfig, Labels, Mount, VolumeCreate, VolumeOptions,
};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::removal::{Object, RemovalGuard};
use std::io::{self, Read};

/// Where helpers mount the volume they give access to.
pub(crate) const STAGE: &str = "/stage";

/// Repository and tag of an image without a single file, for helpers: nothing inside it can be run or hide the volume. The
/// name is one that Podman, which adds `localhost/` and forgets the tag, does not change.
const EMPTY_IMAGE: (&str, &str) = ("localhost/oneoff-docker-runner/empty", "latest");

/// How often the empty image is imported for one helper.
const MOST_IMPORTS: u32 = 5;

/// A helper to create.
pub(crate) struct HelperSpec<'a> {
    pub(crate) name: &'a str,
    pub(crate) labels: Labels,
    pub(crate) mounts: Vec<Mount>,
    /// Variables in its configuration. No process ever sees them.
    pub(crate) env: Vec<String>,
}

impl<'a> HelperSpec<'a> {
    /// A helper with one mount.
    pub(crate) fn with_mount(name: &'a str, labels: Labels, mount: Mount) -> Self {
        Self {
            name,
            labels,
            mounts: vec![mount],
            env: Vec::new(),
        }
    }

    /// Creates the helper, and its image if the engine does not have it. A prune may take the image again before the helper
    /// refers to it, so that this is tried a few times.
    pub(crate) fn create(self, engine: &Engine) -> Result<RemovalGuard, docker::Error> {
        let name = self.name;
        // Owned by name first: a create call may fail on our side and succeed on the engine's.
        let mut helper = engine.removal.own(Object::Container(name.to_owned()));
        let client = &engine.client;
        create_new_volumes(client, &self.mounts)?;
        let config = self.config();
        let mut imports = 0;
        loop {
            match client.container_create(Some(name), None, &config) {
                Ok(created) => {
                    helper.become_object(Object::Container(created.id));
                    return Ok(helper);
                }
                Err(error) if error.is_no_such_image() && imports < MOST_IMPORTS => {
                    import_empty_image(client)?;
                    imports += 1;
                }
                Err(error) => {
                    let is_taken = matches!(error, docker::Error::Status { status: 409, .. });
                    if error.is_object_gone() || is_taken {
                        // There is nothing to remove: nothing was created, or what has this name is another's.
                        helper.release();
                    }
                    return Err(error);
                }
            }
        }
    }

    fn config(self) -> ContainerCreate {
        ContainerCreate {
            image: format!("{}:{}", EMPTY_IMAGE.0, EMPTY_IMAGE.1),
            cmd: Some(vec!["never-started".into()]),
            labels: self.labels,
            env: self.env,
            network_disabled: true,
            host_config: docker::HostConfig {
                network_mode: Some("none".into()),
                log_config: docker::LogConfig {
                    kind: "none".into(),
                    ..Default::default()
                },
                mounts: self.mounts,
                ..Default::default()
            },
            ..Default::default()
        }
    }
}

/// Docker creates new volumes with the container that mounts them. So does Podman, but without their labels and options.
fn create_new_volumes(client: &Client, mounts: &[Mount]) -> Result<(), docker::Error> {
    if !client.is_podman()? {
        return Ok(());
    }
    for mount in mounts.iter().filter(|mount| !mount.source.is_empty()) {
        let Some(VolumeOptions {
            labels,
            driver_config: Some(driver),
            ..
        }) = &mount.volume_options
        else {
            continue;
        };
        client.volume_create(&VolumeCreate {
            name: mount.source.clone(),
            driver: driver.name.clone(),
            driver_opts: driver.options.clone(),
            labels: labels.clone(),
        })?;
    }
    Ok(())
}

/// A new volume of this name at [`STAGE`], which no prune takes. It stays when its helper is removed.
pub(crate) fn lasting_volume(
    client: &Client,
    name: &str,
    labels: Labels,
) -> Result<Mount, docker::Error> {
    let driver_config = DriverConfig {
        name: "local".into(),
        options: client.options_against_prunes()?,
    };
    Ok(Mount {
        kind: "volume".into(),
        source: name.to_owned(),
        target: STAGE.into(),
        volume_options: Some(VolumeOptions {
            no_copy: true,
            labels,
            driver_config: Some(driver_config),
            ..VolumeOptions::default()
        }),
        ..Mount::default()
    })
}

/// A directory of the engine's host at [`STAGE`], to be read only.
pub(crate) fn reading_bind(path: &str) -> Mount {
    Mount {
        kind: "bind".into(),
        source: path.to_owned(),
        target: STAGE.into(),
        read_only: true,
        ..Mount::default()
    }
}

/// An empty tar archive, which is 1,024 zero bytes, makes an empty image.
fn import_empty_image(client: &Client) -> Result<(), docker::Error> {
    let mut empty_tar = io::repeat(0).take(1024);
    match client.image_import(EMPTY_IMAGE.0, EMPTY_IMAGE.1, &[], &mut empty_tar) {
        // With the containerd image store, one of two imports of a name at the same time fails, because the other was faster.
        // That one's image is as good.
        Err(docker::Error::Status { message, .. }) if message.contains("already exists") => Ok(()),
        outcome => outcome.map(drop),
    }
}
