//! An error response that the edge itself gives, before any handler has seen the request.

use crate::problem::Problem;
use std::borrow::Cow;

/// An error response: smaller than the [`Problem`] that it becomes, so that it can be the error of a `Result`.
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

    /// 503: no connection permit is left. The response also needs a `Retry-After` field.
    pub(super) fn too_many_connections() -> Self {
        Self::new(
            503,
            "too_many_connections",
            "all connections are taken; try again in a moment",
        )
    }

    pub(super) fn to_problem(&self) -> Problem {
        Problem::new(self.status, self.code, self.detail.clone())
    }
}
