//! The three ways to run a container, on one engine.

use super::Outcome;
use super::arguments::Arguments;
use super::engine::{self, COMMAND, IMAGE, LABEL, PRINTED};
use super::floor;
use super::server::Server;
use super::steps::Steps;
use super::{cli, server};
use oneoff_docker_runner::docker::Client;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// A way to run `echo` once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Bare Engine API calls.
    Floor,
    /// `POST /run`.
    Service,
    /// `docker run --rm`.
    Cli,
}

/// All three, in the order in which they take turns.
pub(crate) const WAYS: [Way; 3] = [Way::Floor, Way::Service, Way::Cli];

/// One value per way.
#[derive(Clone, Debug, Default)]
pub(crate) struct PerWay<T> {
    pub(crate) floor: T,
    pub(crate) service: T,
    pub(crate) cli: T,
}

impl<T> PerWay<T> {
    pub(crate) fn of(&mut self, way: Way) -> &mut T {
        match way {
            Way::Floor => &mut self.floor,
            Way::Service => &mut self.service,
            Way::Cli => &mut self.cli,
        }
    }
}

pub(crate) struct Stand {
    /// The client of the floor.
    client: Client,
    /// A second client for observation, so that the connections of the floor are used by the floor alone.
    watcher: Client,
    server: Server,
    label: String,
}

/// One run: the time to its answer, the time for removal (floor only), and the steps where they are known.
pub(crate) struct Sample {
    pub(crate) answer: Duration,
    pub(crate) remove: Duration,
    pub(crate) steps: Option<Steps>,
}

impl Stand {
    pub(crate) fn open(binary: &Path) -> Outcome<Self> {
        let client = engine::client()?;
        client
            .image_inspect(IMAGE)
            .map_err(|error| format!("{IMAGE} (made by `make images`): {error}"))?;
        Ok(Self {
            client,
            watcher: engine::client()?,
            server: server::Server::start(binary)?,
            label: engine::unique(),
        })
    }

    /// One line on what is measured, and on which engine.
    pub(crate) fn describe(&self, arguments: &Arguments) -> Outcome<String> {
        let version = self.watcher.version(Duration::from_secs(5))?;
        Ok(format!(
            "`{}` in `{IMAGE}`, Docker Engine {}, {} cores; {} runs each way in sequence, {} blocks of {} in parallel.",
            COMMAND.join(" "),
            version.version,
            cores(),
            arguments.samples,
            arguments.blocks,
            arguments.samples.max(4 * cores()),
        ))
    }

    /// Waits until every earlier run is over and removed, and a moment more.
    pub(crate) fn quiet(&self) -> Outcome<()> {
        engine::until_quiet(&self.watcher, &self.filter())
    }

    /// Waits until the last container is removed.
    pub(crate) fn empty(&self) -> Outcome<std::time::Instant> {
        engine::until_empty(&self.watcher, &self.filter())
    }

    pub(crate) fn run(&self, way: Way, network: &str) -> Outcome<Sample> {
        match way {
            Way::Floor => {
                let times = floor::echo(&self.client, &self.label, network)?;
                Ok(Sample {
                    answer: times.answer,
                    remove: times.remove,
                    steps: Some(times.into()),
                })
            }
            Way::Service => self.serve(network),
            Way::Cli => Ok(Sample {
                answer: cli::echo(&self.label, network)?,
                remove: Duration::ZERO,
                steps: None,
            }),
        }
    }

    fn serve(&self, network: &str) -> Outcome<Sample> {
        let request = json!({
            "image": IMAGE, "command": COMMAND, "pull_policy": "never", "network": network,
            "labels": {LABEL: self.label},
        });
        let (result, took) = self.server.run(&serde_json::to_vec(&request)?)?;
        if result["stdout"] != PRINTED {
            return Err("the server gives another output".into());
        }
        Ok(Sample {
            answer: took,
            remove: Duration::ZERO,
            steps: Some(Steps::of_result(&result, took)),
        })
    }

    /// Stops the server. Fails if anything is left in the engine, whichever way created it.
    pub(crate) fn close(self) -> Outcome<()> {
        self.server.stop()?;
        engine::nothing_left(&self.watcher, &format!("{LABEL}={}", self.label))
    }

    fn filter(&self) -> String {
        format!("{LABEL}={}", self.label)
    }
}

/// The number of cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
