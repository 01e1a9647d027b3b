//! One container that waits for its command, with the connections to its streams.

use crate::docker::Client;
use crate::docker::InspectedHostConfig;
use crate::docker::container::Stdin;
use crate::docker::parked::ParkedOutput;
use crate::runner::cleanup::active::HeldId;
use crate::runner::cleanup::removal::RemovalGuard;

/// A container whose PID 1 waits for a description. Dropping it removes the container.
pub(crate) struct Waiting {
    /// Owns the container, which it knows by its id.
    pub(crate) guard: RemovalGuard,
    /// While this exists, the reaper leaves the container alone.
    pub(crate) held: HeldId,
    /// The nonce of its PID 1's marks.
    pub(crate) nonce: String,
    pub(crate) output: ParkedOutput,
    pub(crate) stdin: Stdin,
    /// What the engine said of its limits when it was created.
    pub(crate) host_config: InspectedHostConfig,
    /// What the engine said that it cannot do as asked.
    pub(crate) warnings: Vec<String>,
}

impl Waiting {
    /// Whether its connections are as they were when it was started: its end closes them. Never blocks. A paused container looks
    /// alive here.
    pub(crate) fn is_connected(&mut self) -> bool {
        self.output.is_untouched() && self.stdin.is_untouched()
    }

    /// Asks the engine whether it runs, as it was started. An engine that does not answer counts as no.
    pub(crate) fn runs(&self, client: &Client) -> bool {
        client
            .container_inspect(self.guard.id())
            .is_ok_and(|found| {
                found.state.running && !found.state.paused && found.host_config == self.host_config
            })
    }
}
