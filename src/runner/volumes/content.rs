//! Writes the top directory and the content of a named volume, with their owner and modes, through a helper.

use crate::archive::{self, UidGid};
use crate::docker::{Client, Volume};
use crate::runner::error::Error;
use crate::runner::request::values::NumericOwner;
use crate::runner::request::volume::{Content, VolumeSpec, is_own_storage};
use crate::runner::staging::arrival::{Stamps, has_arrived};
use crate::runner::staging::upload::{Modes, pack_files, upload};
use crate::runner::volumes::existing::owner_of;

/// Owner and modes of what is written.
pub(crate) struct Ownership {
    owner: UidGid,
    /// Mode of the top directory. `None`: its owner and mode stay as they are.
    top: Option<u32>,
    /// Modes of files sent as text, and of directories that are only part of a name. Entries of an archive have their own.
    implied: Modes,
    stamps: Stamps,
}

impl Ownership {
    /// For a volume that the request creates.
    pub(crate) fn of_new(spec: &VolumeSpec) -> Self {
        let options = spec.driver_opts.clone().unwrap_or_default();
        let is_own = is_own_storage(spec.driver_or_default(), &options);
        Self {
            top: spec.top_mode(),
            ..Self::of(spec.owner, is_own)
        }
    }

    /// For a volume that exists. A run may have changed its top directory, which is left alone.
    pub(crate) fn of_existing(volume: &Volume) -> Self {
        let is_own = is_own_storage(&volume.driver, &volume.options);
        Self::of(owner_of(volume), is_own)
    }

    /// Without an owner, nobody knows which user will need the content; so every user may write to it, unless it is on storage that
    /// others than containers may reach.
    fn of(owner: Option<NumericOwner>, is_own_storage: bool) -> Self {
        let for_everybody = owner.is_none() && is_own_storage;
        let (file, directory) = match for_everybody {
            true => (0o666, 0o777),
            false => (0o644, 0o755),
        };
        let root = NumericOwner { uid: 0, gid: 0 };
        let owner = owner.unwrap_or(root);
        Self {
            owner: UidGid {
                uid: owner.uid.into(),
                gid: owner.gid.into(),
            },
            top: None,
            implied: Modes { file, directory },
            stamps: match is_own_storage {
                true => Stamps::Kept,
                false => Stamps::Unknown,
            },
        }
    }
}

/// Writes the content of the request to the volume that the helper mounts at the stage's path; blocks until the engine has it all.
/// Error: the engine took it and does not have it there.
pub(crate) fn put_content(
    client: &Client,
    helper: &str,
    spec: &VolumeSpec,
    ownership: Ownership,
) -> Result<(), Error> {
    let mut allowance = archive::Allowance::new(spec.archive_limits());
    let stamps = ownership.stamps;
    let uploaded = upload(client, helper, ownership.owner, move |packer, names| {
        packer.implied_mode(ownership.implied.directory);
        if let Some(mode) = ownership.top {
            packer.directory(names.root(), mode)?;
        }
        match &spec.content {
            Content::Nothing => Ok(()),
            Content::Archive {
                base64,
                strip_components,
            } => {
                let strip = strip_components.unwrap_or(0) as usize;
                packer.targz(names.root(), base64, strip, &mut allowance)
            }
            Content::Files(files) => pack_files(packer, &names.below(""), files, ownership.implied),
        }
    })?;
    match has_arrived(client, helper, &uploaded, stamps)? {
        true => Ok(()),
        false => Err(Error::Engine(format!(
            "the engine took the content for volume {} and does not have it there",
            spec.name
        ))),
    }
}
