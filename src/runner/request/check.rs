//! A check of one request under way: its faults, and the first rule of the policy that it breaks.

use crate::archive;
use crate::runner::error::Error;
use crate::runner::policy::Policy;
use crate::runner::request::lenient::Spelling;
use crate::runner::request::types::PullPolicy;
use crate::runner::request::wire::Reader;

/// What differs between the requests of REST and of MCP.
#[derive(Clone, Copy, Debug)]
pub struct ApiProfile {
    /// First element of every fault's `loc`: `body` or `arguments`.
    pub root: &'static str,
    /// What an absent `pull_policy` means.
    pub pull_policy: PullPolicy,
    /// How exactly requests must be spelt.
    pub spelling: Spelling,
}

/// The limits of all archives in one request together.
pub(crate) fn archive_limits(unpacked_bytes: u64) -> archive::Limits {
    archive::Limits {
        unpacked_bytes,
        entries: 1_000_000,
    }
}

/// A check in progress. Collects all faults in `reader`, and the first broken rule of the policy in `forbidden`.
pub(crate) struct Check<'a> {
    pub(crate) reader: Reader,
    pub(crate) forbidden: Option<Error>,
    pub(crate) policy: &'a Policy,
}

impl<'a> Check<'a> {
    /// A check of one request; nothing was found wrong yet.
    pub(crate) fn new(profile: ApiProfile, policy: &'a Policy) -> Self {
        Self {
            reader: Reader::new(profile.root).with_spelling(profile.spelling),
            forbidden: None,
            policy,
        }
    }

    /// The checked request. Errors: [`Error::Invalid`] with every fault, else [`Error::Forbidden`].
    pub(crate) fn finish<T>(self, checked: Option<T>) -> Result<T, Error> {
        match (checked, self.reader.is_clean(), self.forbidden) {
            (Some(checked), true, None) => Ok(checked),
            (Some(_), true, Some(forbidden)) => Err(forbidden),
            _ => Err(Error::Invalid(self.reader.into_faults())),
        }
    }

    /// Records a broken rule of the policy; only the first is kept.
    pub(crate) fn forbid(&mut self, code: &'static str, detail: String) {
        self.forbidden
            .get_or_insert(Error::Forbidden { code, detail });
    }
}
