//! The checks of a run's archives, which unpack them. They cost up to seconds of CPU, so the caller holds a slot meanwhile.

use crate::archive::{Error as ArchiveError, TargzCheck};
use crate::cancel::Cancel;
use crate::runner::error::Error;
use crate::runner::request::mount_tree::MountTree;
use crate::runner::request::mounts::MountSource;
use crate::runner::request::spec::RunSpec;
use crate::runner::request::wire::Reader;

/// How a check ended that found no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// Every archive can be staged.
    Sound,
    /// `cancel` fired first.
    Cancelled,
}

impl RunSpec {
    /// Whether there are archives to check.
    pub(crate) fn has_archives(&self) -> bool {
        self.mounts
            .iter()
            .any(|mount| matches!(mount.source, MountSource::Archive(_)))
    }

    /// Unpacks and checks every archive, against limits that they share; stops soon after `cancel` fires. Errors:
    /// [`Error::Invalid`] with a fault for every archive, up to the one that exceeds a limit.
    pub(crate) fn check_archives(&self, cancel: &Cancel) -> Result<Checked, Error> {
        let mut reader = Reader::new(self.loc_root);
        let is_stopped = || cancel.is_fired();
        let tree = MountTree::new(self, &[]);
        let mut check = TargzCheck::new(self.archive_limits(), &is_stopped);
        for (index, mount) in self.mounts.iter().enumerate() {
            let MountSource::Archive(content) = &mount.source else {
                continue;
            };
            let outcome = check.check(content, 0, tree.points_in(index));
            if cancel.is_fired() {
                return Ok(Checked::Cancelled);
            }
            let Err(error) = outcome else { continue };
            reader.within("volumes", |reader| {
                reader.within(&mount.sent_key, |reader| {
                    reader.fault_at("content", error.to_string());
                });
            });
            // The others would exceed it too.
            if matches!(error, ArchiveError::TooLarge(_)) {
                break;
            }
        }
        match reader.is_clean() {
            true => Ok(Checked::Sound),
            false => Err(Error::Invalid(reader.into_faults())),
        }
    }
}
