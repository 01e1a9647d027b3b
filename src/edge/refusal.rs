//! Why the edge turns a request down.

use crate::problem::Problem;
use std::borrow::Cow;

/// An error answer in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) detail: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(
        status: u16,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
        }
    }

    /// 400.
    pub(super) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "bad_request", detail)
    }

    pub(super) fn to_problem(&self) -> Problem {
        Problem::new(self.status, self.code, self.detail.clone())
    }
}
