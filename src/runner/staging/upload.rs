//! Packs content and streams it into a helper's volume: one archive, one call, whatever its size.

use crate::archive::{self, LastEntry, Packer, UidGid};
use crate::docker::Client;
use crate::runner::clock::Moment;
use crate::runner::error::Error;
use crate::runner::staging::pipe::{PipeWriter, pipe};
use crate::runner::staging::transfer_container::STAGE;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

/// Streams what `write` packs, under [`StagedNames`], into the helper's volume; blocks until the engine has it all. `owner` owns
/// every entry. Errors: [`Error::Invalid`] for a fault of the content, which is the caller's; else the engine's.
pub(crate) fn upload(
    client: &Client,
    helper: &str,
    owner: UidGid,
    write: impl FnOnce(&mut Packer<&mut PipeWriter>, StagedNames) -> Result<(), archive::Error> + Send,
) -> Result<Uploaded, Error> {
    let started = Moment::now();
    let names = StagedNames::of(client)?;
    let (mut reader, writer) = pipe();
    let write = move |packer: &mut Packer<&mut PipeWriter>| write(packer, names);
    std::thread::scope(|scope| {
        let packing = std::thread::Builder::new()
            .name("pack".into())
            .spawn_scoped(scope, move || pack_into(writer, owner, write))
            .map_err(|error| Error::Overloaded(format!("no thread to pack: {error}")))?;
        let put = client.archive_put(helper, names.extracted_at, &mut reader);
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
            (Err(error), Ok(())) => Err(Error::Engine(format!("staging was cut short: {error}"))),
            (Ok(last), Ok(())) => Ok(Uploaded {
                last,
                names,
                started,
            }),
        }
    })
}

fn pack_into(
    mut writer: PipeWriter,
    owner: UidGid,
    write: impl FnOnce(&mut Packer<&mut PipeWriter>) -> Result<(), archive::Error>,
) -> Result<Option<LastEntry>, archive::Error> {
    let result = {
        let mut packer = Packer::new(&mut writer, owner);
        write(&mut packer).and_then(|()| {
            let last = packer.last_entry();
            packer.finish().map(|_| last)
        })
    };
    match &result {
        Ok(_) => writer.close(),
        Err(fault) => writer.fail(&fault.to_string()),
    }
    result
}

/// What the engine took.
pub(crate) struct Uploaded {
    /// The last entry that is no directory. `None`: there is none.
    pub(crate) last: Option<LastEntry>,
    pub(crate) names: StagedNames,
    /// When the upload began.
    pub(crate) started: Moment,
}

/// Modes of what was sent without any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Modes {
    pub(crate) file: u32,
    pub(crate) directory: u32,
}

/// Packs text files below `prefix`, with the directories that their names imply.
pub(crate) fn pack_files<W: Write>(
    packer: &mut Packer<W>,
    prefix: &str,
    files: &BTreeMap<String, String>,
    modes: Modes,
) -> Result<(), archive::Error> {
    let mut made = BTreeSet::new();
    for (name, text) in files {
        for (slash, _) in name.match_indices('/') {
            if made.insert(&name[..slash]) {
                packer.directory(&format!("{prefix}{}", &name[..slash]), modes.directory)?;
            }
        }
        packer.file(&format!("{prefix}{name}"), modes.file, text.as_bytes())?;
    }
    Ok(())
}

/// Names of what is on a helper's volume, in the archive that is sent.
#[derive(Clone, Copy)]
pub(crate) struct StagedNames {
    /// Where the engine extracts the archive.
    extracted_at: &'static str,
    /// The volume's root, from there.
    root: &'static str,
}

impl StagedNames {
    /// Docker extracts at the root of the container, since it refuses a relative link that leads out of the directory it extracts
    /// to. Podman extracts into a volume only if the path of the call is in it.
    fn of(client: &Client) -> Result<Self, Error> {
        Ok(match client.is_podman()? {
            true => Self {
                extracted_at: STAGE,
                root: ".",
            },
            false => Self {
                extracted_at: "/",
                root: STAGE.trim_start_matches('/'),
            },
        })
    }

    /// Path in the helper of an entry with this name.
    pub(crate) fn path_of(self, entry: &str) -> String {
        format!("{}/{entry}", self.extracted_at.trim_end_matches('/'))
    }

    /// Name of the volume's root.
    pub(crate) fn root(self) -> &'static str {
        self.root
    }

    /// Name of something on the volume.
    pub(crate) fn below(self, name: &str) -> String {
        match self.root {
            "." => name.to_owned(),
            root => format!("{root}/{name}"),
        }
    }
}
