//! The [`ApiProfile`] of the REST API.

use crate::runner::{ApiProfile, PullPolicy};

/// Where REST requests differ from MCP's: the root of a fault's `loc`, and the default `pull_policy`.
pub(super) const API_PROFILE: ApiProfile = ApiProfile {
    root: "body",
    pull_policy: PullPolicy::Always,
};
