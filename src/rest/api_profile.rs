//! The [`ApiProfile`] of the REST API.

use crate::runner::{ApiProfile, PullPolicy, Spelling};

/// Where REST requests differ from MCP's: the root of a fault's `loc`, the default `pull_policy`, and the spelling.
pub(super) const API_PROFILE: ApiProfile = ApiProfile {
    root: "body",
    pull_policy: PullPolicy::Always,
    spelling: Spelling::Exact,
};
