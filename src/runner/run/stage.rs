//! Fills a run's mounts through a helper container that is never started: one anonymous volume, one archive. The
//! run then binds single items of it. Content travels over the Engine API only; no host directory is touched.

use crate::archive::{self, Packer, UidGid};
use crate::docker::{self, Client, ContainerCreate, Labels, Mount, VolumeOptions};
use crate::runner::cleanup::labels::{Identity, Role};
use crate::runner::cleanup::removal::{Object, Removal, RemovalGuard};
use crate::runner::request::mounts::{Access, MountSource, MountSpec};
use crate::runner::{Error, RunSpec};
use std::io::{self, Read, Write};
use std::time::Duration;

/// Where helpers mount the volume they give access to.
pub(crate) const STAGE: &str = "/stage";

/// An image without a single file, for helpers: what is inside an image can neither get in the way nor be run. Named so
/// that Podman, which adds `localhost/` and forgets the tag, names it alike.
const EMPTY_IMAGE: (&str, &str) = ("localhost/oneoff-docker-runner/empty", "latest");

/// Makes helpers.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) client: Client,
    pub(crate) removal: Removal,
    pub(crate) identity: Identity,
}

/// A filled stage. Dropping it removes helper and volume.
pub(crate) struct Staged {
    helper: RemovalGuard,
    /// Where the engine keeps the volume: the source of the run's binds.
    mountpoint: String,
}

impl Staged {
    /// A stage that an earlier process filled, to read back from.
    pub(crate) fn adopted(helper: RemovalGuard) -> Self {
        Self {
            helper,
            mountpoint: String::new(),
        }
    }

    /// Where the engine keeps the items.
    pub(crate) fn mountpoint(&self) -> &str {
        &self.mountpoint
    }

    /// The helper's id, and where in it the item with this index lies.
    pub(crate) fn item(&self, index: usize) -> (&str, String) {
        (self.helper.id(), format!("{STAGE}/{index}"))
    }
}

/// The bind of the item with this index.
pub(crate) fn staged_mount(mountpoint: &str, index: usize, spec: &MountSpec) -> Mount {
    Mount {
        kind: "bind".into(),
        source: format!("{mountpoint}/{index}"),
        target: spec.target.clone(),
        read_only: spec.access == Access::ReadOnly,
        volume_options: None,
    }
}

impl Stage {
    /// Puts every item of the run on one volume. `None`: there is nothing to stage.
    pub(crate) fn fill(
        &self,
        run: &str,
        spec: &RunSpec,
        owner: UidGid,
    ) -> Result<Option<Staged>, Error> {
        if !spec.mounts.iter().any(|mount| is_staged(&mount.source)) {
            return Ok(None);
        }
        let labels = spec.object_labels(&self.identity, Role::Stage);
        let anonymous = Mount {
            kind: "volume".into(),
            target: STAGE.into(),
            volume_options: Some(VolumeOptions {
                no_copy: true,
                labels: labels.clone(),
                ..Default::default()
            }),
            ..Mount::default()
        };
        let helper = self.helper(&format!("oneoff-{run}-stage"), labels, anonymous)?;
        let inspected = self.client.container_inspect(helper.id())?;
        let Some(mountpoint) = inspected
            .mounts
            .into_iter()
            .find(|mount| mount.destination == STAGE)
        else {
            return Err(Error::Engine(
                "the engine does not say where the staging volume is".into(),
            ));
        };
        self.put(helper.id(), owner, |packer| pack(packer, spec))?;
        Ok(Some(Staged {
            helper,
            mountpoint: mountpoint.source,
        }))
    }

    /// A helper with one mount, created and never started.
    pub(crate) fn helper(
        &self,
        name: &str,
        labels: Labels,
        mount: Mount,
    ) -> Result<RemovalGuard, docker::Error> {
        self.helper_with(name, labels, (vec![mount], Vec::new()))
    }

    /// A helper with mounts and an environment that nobody will ever have.
    pub(crate) fn helper_with(
        &self,
        name: &str,
        labels: Labels,
        (mounts, env): (Vec<Mount>, Vec<String>),
    ) -> Result<RemovalGuard, docker::Error> {
        let mut helper = self.removal.own(Object::Container(name.to_owned()));
        let config = ContainerCreate {
            image: format!("{}:{}", EMPTY_IMAGE.0, EMPTY_IMAGE.1),
            cmd: Some(vec!["never-started".into()]),
            labels,
            env,
            network_disabled: true,
            host_config: docker::HostConfig {
                network_mode: Some("none".into()),
                log_config: docker::LogConfig {
                    kind: "none".into(),
                    ..Default::default()
                },
                mounts,
                ..Default::default()
            },
            ..Default::default()
        };
        let created = match self.client.container_create(Some(name), None, &config) {
            Err(error) if error.is_no_such_image() => {
                self.import_empty_image()?;
                self.client.container_create(Some(name), None, &config)?
            }
            other => other?,
        };
        helper.become_object(Object::Container(created.id));
        Ok(helper)
    }

    /// Streams what `write` packs, under [`staged_name`]s, into the helper's volume. A fault of the content is told as such.
    pub(crate) fn put(
        &self,
        helper: &str,
        owner: UidGid,
        write: impl FnOnce(&mut Packer<&mut PipeWriter>) -> Result<(), archive::Error> + Send,
    ) -> Result<(), Error> {
        let (mut reader, writer) = pipe();
        std::thread::scope(|scope| {
            let packing = std::thread::Builder::new()
                .name("pack".into())
                .spawn_scoped(scope, move || pack_into(writer, owner, write))
                .map_err(|error| Error::Overloaded(format!("no thread to pack: {error}")))?;
            let put = self.client.archive_put(helper, "/", &mut reader);
            // An unread rest would block the packer for ever.
            drop(reader);
            let packed = packing
                .join()
                .unwrap_or_else(|_| Err(archive::Error::Tar("packing failed".into())));
            match (packed, put) {
                (Err(fault), _) if !matches!(fault, archive::Error::Io(_)) => {
                    Err(Error::invalid(&["body", "volumes"], fault.to_string()))
                }
                (_, Err(error)) => Err(error.into()),
                (Err(error), Ok(())) => {
                    Err(Error::Engine(format!("staging was cut short: {error}")))
                }
                (Ok(()), Ok(())) => Ok(()),
            }
        })
    }

    fn import_empty_image(&self) -> Result<(), docker::Error> {
        let mut empty_tar = io::repeat(0).take(1024);
        self.client
            .image_import(EMPTY_IMAGE.0, EMPTY_IMAGE.1, &[], &mut empty_tar)?;
        Ok(())
    }
}

/// How much longer than its time limit anything of a run may stay in the engine before it counts as forgotten.
pub(crate) const OBJECT_SLACK: Duration = Duration::from_secs(900);

fn is_staged(source: &MountSource) -> bool {
    matches!(
        source,
        MountSource::File { .. } | MountSource::Archive(_) | MountSource::Files(_)
    )
}

fn pack_into<'w>(
    mut writer: PipeWriter,
    owner: UidGid,
    write: impl FnOnce(&mut Packer<&mut PipeWriter>) -> Result<(), archive::Error> + 'w,
) -> Result<(), archive::Error> {
    let result = {
        let mut packer = Packer::new(&mut writer, owner);
        write(&mut packer).and_then(|()| packer.finish().map(drop))
    };
    match &result {
        Ok(()) => writer.close(),
        // The engine must not take a cut archive for a whole one.
        Err(fault) => writer.fail(&fault.to_string()),
    }
    result
}

fn pack(packer: &mut Packer<&mut PipeWriter>, spec: &RunSpec) -> Result<(), archive::Error> {
    for (index, mount) in spec.mounts.iter().enumerate() {
        let name = staged_name(&index.to_string());
        match &mount.source {
            MountSource::File { mode, content } => packer.file(&name, *mode, content)?,
            MountSource::Archive(content) => {
                packer.directory(&name, 0o777)?;
                packer.targz(&name, content, 0, spec.archive_limits())?;
            }
            MountSource::Files(files) => {
                packer.directory(&name, 0o777)?;
                pack_files(packer, &format!("{name}/"), files)?;
            }
            MountSource::CollectedFile | MountSource::Named(_) | MountSource::Host(_) => {}
        }
    }
    Ok(())
}

/// Text files below `prefix`, with the directories that their names imply.
pub(crate) fn pack_files<W: Write>(
    packer: &mut Packer<W>,
    prefix: &str,
    files: &std::collections::BTreeMap<String, String>,
) -> Result<(), archive::Error> {
    let mut made = std::collections::BTreeSet::new();
    for (name, text) in files {
        for (slash, _) in name.match_indices('/') {
            if made.insert(&name[..slash]) {
                packer.directory(&format!("{prefix}{}", &name[..slash]), 0o777)?;
            }
        }
        packer.file(&format!("{prefix}{name}"), 0o644, text.as_bytes())?;
    }
    Ok(())
}

/// The name of something on the staging volume in an archive that is put at the root: below the root and not below the
/// volume, because the engine refuses a relative link that leads out of where an archive is put.
pub(crate) fn staged_name(name: &str) -> String {
    format!("{}/{name}", STAGE.trim_start_matches('/'))
}

/// A bounded in-memory pipe: what the packer writes, the engine call reads.
fn pipe() -> (PipeReader, PipeWriter) {
    let (sender, receiver) = crossbeam_channel::bounded(4);
    (
        PipeReader {
            receiver,
            chunk: io::Cursor::new(Vec::new()),
        },
        PipeWriter {
            sender: Some(sender),
            buffer: Vec::with_capacity(PIPE_CHUNK_BYTES),
        },
    )
}

const PIPE_CHUNK_BYTES: usize = 256 * 1024;

/// `Err`: the packer failed; `None` in the stream never stands for that.
type Chunk = Result<Vec<u8>, String>;

struct PipeReader {
    receiver: crossbeam_channel::Receiver<Chunk>,
    chunk: io::Cursor<Vec<u8>>,
}

/// The packer's end.
pub(crate) struct PipeWriter {
    sender: Option<crossbeam_channel::Sender<Chunk>>,
    buffer: Vec<u8>,
}

impl Read for PipeReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.chunk.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            match self.receiver.recv() {
                Ok(Ok(chunk)) => self.chunk = io::Cursor::new(chunk),
                Ok(Err(fault)) => return Err(io::Error::other(fault)),
                Err(_) => return Ok(0),
            }
        }
    }
}

impl PipeWriter {
    fn pass_on(&mut self, chunk: Chunk) -> io::Result<()> {
        let sender = self.sender.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        sender
            .send(chunk)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn close(mut self) {
        let rest = std::mem::take(&mut self.buffer);
        let _ = self.pass_on(Ok(rest));
    }

    fn fail(mut self, fault: &str) {
        let _ = self.pass_on(Err(fault.to_owned()));
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIPE_CHUNK_BYTES {
            let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIPE_CHUNK_BYTES));
            self.pass_on(Ok(full))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
