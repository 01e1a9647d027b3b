//! The engine as this process uses it.

use crate::docker::Client;
use crate::runner::cleanup::labels::Identity;
use crate::runner::cleanup::removal::Removal;

/// What creating an object needs: the client that makes the call, the labels that mark the object as ours, and the threads
/// that remove it. Clones share one client and one set of threads.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) client: Client,
    pub(crate) identity: Identity,
    pub(crate) removal: Removal,
}
