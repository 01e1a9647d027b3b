//! Checks the archives of requests that hold no slot of a run: asynchronous runs before they are accepted, and dry runs.

use crate::cancel::Cancel;
use crate::runner::error::Error;
use crate::runner::request::archives::Checked;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::admission::{Admission, Refused};

/// Most requests that wait for their check.
const QUEUE_LENGTH: usize = 256;

/// Checks a bounded number of requests at once, in order of arrival. Clones share the bound.
#[derive(Clone)]
pub(crate) struct ArchiveChecks {
    admission: Admission,
}

impl ArchiveChecks {
    pub(crate) fn new(at_once: usize) -> Self {
        Self {
            admission: Admission::new(at_once, QUEUE_LENGTH),
        }
    }

    /// Checks the archives of one request. Blocks until its turn has come and the check is done. Errors:
    /// [`Error::Invalid`] with the faults, too many requests wait, or `cancel` fired first.
    pub(crate) fn check(&self, spec: &RunSpec, cancel: &Cancel) -> Result<(), Error> {
        if !spec.has_archives() {
            return Ok(());
        }
        let slot = self.admission.enter(cancel, &mut |_| {});
        let _slot = slot.map_err(refusal)?;
        match spec.check_archives(cancel)? {
            Checked::Sound => Ok(()),
            Checked::Cancelled => Err(Error::left()),
        }
    }
}

/// The error of a request that got no slot.
pub(crate) fn refusal(refused: Refused) -> Error {
    match refused {
        Refused::Cancelled => Error::left(),
        Refused::Full => Error::QueueFull {
            retry_after_secs: 1,
        },
    }
}
