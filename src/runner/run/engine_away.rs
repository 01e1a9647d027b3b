//! What a run that outlives its server does while the engine is away: it waits until the engine answers, and goes on then.

use crate::cancel::Cancel;
use crate::docker::{self, Client};
use crate::runner::clock::Moment;
use crate::runner::error::Error;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::collect::Collection;
use crate::runner::run::context::RunContext;
use crate::runner::run::create::Created;
use crate::runner::run::ending::Ending;
use crate::runner::run::follow::{Followed, StartedContainer, follow};
use crate::runner::run::streams::OutputStreams;
use crate::runner::run::supervise::{JustStarted, StdinState, start, supervise};
use std::time::{Duration, Instant};

/// How long to wait before the engine is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a container that has ended is followed, if the engine answers and nothing more of its log comes.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(60);
/// How often outputs are read whose archives are cut by an engine that is there.
const MOST_CUTS: u32 = 3;
/// How often an outcome is sent to an engine that answers but does not store it.
const MOST_FAILURES: u32 = 3;
/// How long the engine may take to say that it is there.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// A container that was started.
pub(crate) enum Begun {
    /// By a call that the engine answered.
    JustStarted(Box<JustStarted>),
    /// By a call whose answer was lost, so that nothing was read of it yet.
    Unread(Unread),
}

/// A container that was started and of which nothing was read.
pub(crate) struct Unread {
    container: String,
    /// The nonce of its PID 1's marks.
    nonce: Option<String>,
}

/// Starts a created container. If the engine goes away meanwhile, a run that outlives its server waits until it can be known whether
/// the container has started. `None`: it was cancelled then. Errors: [`Error::Vanished`] if it has not started and is gone.
pub(crate) fn start_through(
    client: &Client,
    created: &Created,
    spec: &RunSpec,
    context: &RunContext<'_>,
) -> Result<Option<Begun>, Error> {
    let container = &created.container;
    match start(client, created, spec) {
        Ok(started) => Ok(Some(Begun::JustStarted(Box::new(started)))),
        Err(error) if spec.is_detached && is_away(client, &error) => {
            match until_reachable((client, context.cancel), || has_started(client, container))? {
                Some(true) => Ok(Some(Begun::Unread(Unread {
                    container: container.to_owned(),
                    nonce: created.pid_1.as_ref().map(|pid_1| pid_1.nonce.clone()),
                }))),
                Some(false) => Err(Error::Vanished(format!(
                    "the engine was away when the container was to be started: {error}"
                ))),
                None => Ok(None),
            }
        }
        Err(error) => Err(error),
    }
}

/// Watches a started container to its end. If the connections to the engine break, a run that outlives its server is followed by its
/// container's log, once the engine answers. `None`: it was cancelled while the engine was away. Takes the spec's stdin.
pub(crate) fn watch_through(
    client: &Client,
    container: Begun,
    spec: &mut RunSpec,
    context: &RunContext<'_>,
) -> Result<Option<Ending>, Error> {
    let (container, mut streams, stdin) = match container {
        Begun::JustStarted(started) => {
            let container = started.container().to_owned();
            let supervised = supervise(client, *started, spec, context);
            if !spec.is_detached || !supervised.is_interrupted() {
                return supervised.into_ending(spec).map(Some);
            }
            (container, supervised.streams, supervised.stdin)
        }
        Begun::Unread(Unread { container, nonce }) => {
            let streams = OutputStreams::new(spec, nonce.as_deref(), context.sink);
            if nonce.is_none() {
                streams.announce_start();
            }
            (container, streams, StdinState::of_unfed(spec))
        }
    };
    // A cancelled run ends as cancelled, whatever it read.
    if stdin == StdinState::Cut && !context.cancel.is_fired() {
        return Err(Error::StdinLost(
            "the connection to the Docker engine broke before all of the run's stdin was delivered; the run was ended, send it again"
                .into(),
        ));
    }
    streams.expect_repetition();
    let followed = StartedContainer {
        client,
        container: &container,
        spec,
        context,
    };
    let followed = follow_through(followed, &mut streams)?;
    Ok(followed.map(|followed| {
        let mut ending = followed.ending;
        ending.warnings.extend(followed.warnings);
        ending
    }))
}

/// Collects the outputs of a run. One that outlives its server waits for an engine that is away, until `cancel` fires.
pub(crate) fn collect_through(
    spec: &RunSpec,
    cancel: &Cancel,
    collect: impl Fn() -> Collection,
) -> Collection {
    let mut cuts = 0;
    loop {
        let collection = collect();
        cuts += u32::from(collection.is_cut);
        let may_bring_more = collection.is_engine_away || collection.is_cut && cuts < MOST_CUTS;
        let is_worth_waiting = spec.is_detached && may_bring_more;
        if !is_worth_waiting || cancel.wait(PAUSE) {
            return collection;
        }
    }
}

/// Follows a container to its end, however often the connections break, and waits for the engine whenever it is away. `None`: `cancel`
/// fired meanwhile. Error: nothing more came of a container that does not run.
pub(crate) fn follow_through(
    followed: StartedContainer<'_>,
    streams: &mut OutputStreams<'_>,
) -> Result<Option<Followed>, Error> {
    let StartedContainer {
        client, context, ..
    } = followed;
    let (mut deadline, mut read) = (Instant::now() + FOLLOW_PATIENCE, streams.position());
    loop {
        match until_reachable((client, context.cancel), || follow(followed, streams)) {
            Err(Error::Engine(why)) if Instant::now() < deadline => {
                log::info!("a container is followed again: {why}");
            }
            outcome => return outcome,
        }
        if read != streams.position() || is_running(followed) {
            deadline = Instant::now() + FOLLOW_PATIENCE;
            read = streams.position();
        }
        context.cancel.wait(PAUSE);
    }
}

/// False if the engine does not say.
fn is_running(followed: StartedContainer<'_>) -> bool {
    let found = followed.client.container_inspect(followed.container);
    found.is_ok_and(|found| found.state.running)
}

/// Repeats a call while the engine is away. `None`: `cancel` fired meanwhile.
pub(crate) fn until_reachable<T>(
    (client, cancel): (&Client, &Cancel),
    mut call: impl FnMut() -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    loop {
        match call() {
            Err(error) if is_away(client, &error) => {
                if cancel.wait(PAUSE) {
                    return Ok(None);
                }
            }
            outcome => return outcome.map(Some),
        }
    }
}

/// Repeats a call that stores an outcome, until the engine has it. A call that fails while the engine is there is repeated only a
/// few times. Error: the last one.
pub(crate) fn until_stored(
    client: &Client,
    mut store: impl FnMut() -> Result<(), Error>,
) -> Result<(), Error> {
    let mut failures = 0;
    loop {
        match store() {
            Err(error) if error.is_of_engine() => {
                failures += u32::from(!is_away(client, &error));
                if failures == MOST_FAILURES {
                    return Err(error);
                }
            }
            outcome => return outcome,
        }
        // Nothing says when the engine is back.
        std::thread::sleep(PAUSE);
    }
}

/// Whether a call failed because the engine is away, or has been while the call was under way.
pub(crate) fn is_away(client: &Client, error: &Error) -> bool {
    match error {
        Error::EngineUnreachable(_) => true,
        Error::Engine(_) => client.version(PING_TIMEOUT).is_err(),
        _ => false,
    }
}

/// Whether a container has started whose start call may or may not have reached the engine. Both calls here wait for the end of one
/// that is under way. A container that has not started is removed, and never will. A container that is gone has not.
pub(crate) fn has_started(client: &Client, container: &str) -> Result<bool, Error> {
    match client.container_inspect(container) {
        Ok(found) if Moment::parse(&found.state.started_at).is_some() => return Ok(true),
        Err(error) if !error.is_object_gone() => return Err(error.into()),
        _ => {}
    }
    match client.container_remove_stopped(container) {
        Ok(()) => Ok(false),
        Err(error) if error.is_object_gone() => Ok(false),
        // It runs by now.
        Err(docker::Error::Status { status: 409, .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
