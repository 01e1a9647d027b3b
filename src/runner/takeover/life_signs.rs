//! Asks other processes whether they live, and answers when this one is asked.
//!
//! A question is a container that is never started. It names the process that is asked. Every server looks for questions to
//! itself every few seconds, and renames what it finds. A process that has not answered after several of its periods is dead.

use crate::cancel::Cancel;
use crate::docker::{self, Client, ContainerSummary};
use crate::process_identity::ProcessIdentity;
use crate::random_id;
use crate::runner::cleanup::active::{Active, HeldId};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::{ASKS, INSTANCE, RUN, is_named};
use crate::runner::cleanup::owners::Unheard;
use crate::runner::cleanup::removal::RemovalGuard;
use crate::runner::rounds::Rounds;
use crate::runner::staging::transfer_container::HelperSpec;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// How often questions are looked for, and answers.
const PERIOD: Duration = Duration::from_secs(3);
/// How many periods a living process has for its answer.
const PERIODS: u32 = 5;
/// An engine that takes longer to list a few containers may keep the other process from answering.
const SLOW: Duration = Duration::from_secs(1);
/// How many times one call of [`Asker::ask`] looks for answers, whatever the engine does.
const MOST_LOOKS: usize = 40;
/// How many processes are asked at once; the others are asked next time.
const MOST_QUESTIONS: usize = 32;

/// How long a question may exist; longer than any call of [`Asker::ask`].
const LIFE: Duration = Duration::from_secs(600);

const OPEN: &str = "ask";
const ANSWERED: &str = "alive";

/// Asks. Clones share everything.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) engine: Engine,
    pub(crate) active: Active,
}

/// What a call of [`Asker::ask`] found out. A process that is not named may be dead or alive.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) dead: Unheard,
    pub(crate) alive: HashSet<ProcessIdentity>,
}

struct Question {
    process: ProcessIdentity,
    /// Removes the container in the end. Its id in our labels is held until then, so that no sweep removes it.
    _container: RemovalGuard,
    id: HeldId,
    periods: u32,
}

impl Asker {
    /// Asks these processes whether they live. Blocks until each has answered or has been silent for some 15 s, or until `stop`
    /// fires. Errors: the engine failed, which proves nothing about anybody.
    pub(crate) fn ask(
        &self,
        processes: &HashSet<ProcessIdentity>,
        stop: &Cancel,
    ) -> Result<Answers, docker::Error> {
        let mut answers = Answers::default();
        let asked = processes.iter().take(MOST_QUESTIONS);
        let mut open: Vec<Question> = asked
            .map(|process| self.put(process.clone()))
            .collect::<Result<_, _>>()?;
        for _ in 0..MOST_LOOKS {
            if open.is_empty() || stop.wait(PERIOD) {
                break;
            }
            let begun = Instant::now();
            let found = self.engine.client.container_list(&[ASKS.to_owned()])?;
            let is_slow = begun.elapsed() > SLOW;
            let mut still_open = Vec::new();
            for question in open {
                match question.state(&found) {
                    State::Answered => drop(answers.alive.insert(question.process)),
                    // Somebody pruned it.
                    State::Gone => still_open.push(self.put(question.process)?),
                    State::Open if is_slow => still_open.push(question.with_periods(0)),
                    State::Open if question.periods + 1 < PERIODS => {
                        let periods = question.periods + 1;
                        still_open.push(question.with_periods(periods));
                    }
                    State::Open => drop(answers.dead.insert(question.process)),
                }
            }
            open = still_open;
        }
        Ok(answers)
    }

    fn put(&self, process: ProcessIdentity) -> Result<Question, docker::Error> {
        let id = self.active.hold(&random_id::unique());
        let mut labels = self.engine.identity.labels(id.id(), LIFE);
        labels.insert(ASKS.into(), process.to_string());
        // A question belongs to no instance, which is why nobody has to be asked about it.
        labels.remove(INSTANCE);
        let helper = HelperSpec {
            name: &format!("oneoff-{}-{OPEN}", id.id()),
            labels,
            mounts: Vec::new(),
            env: Vec::new(),
        };
        Ok(Question {
            process,
            _container: helper.create(&self.engine)?,
            id,
            periods: 0,
        })
    }
}

enum State {
    Open,
    Answered,
    Gone,
}

impl Question {
    fn state(&self, found: &[ContainerSummary]) -> State {
        let name = |part: &str| format!("oneoff-{}-{part}", self.id.id());
        let exists = |name: &str| {
            let mut names = found.iter().flat_map(|container| &container.names);
            names.any(|other| other.trim_start_matches('/') == name)
        };
        match (exists(&name(ANSWERED)), exists(&name(OPEN))) {
            (true, _) => State::Answered,
            (false, true) => State::Open,
            (false, false) => State::Gone,
        }
    }

    fn with_periods(self, periods: u32) -> Self {
        Self { periods, ..self }
    }
}

/// Starts the thread that answers questions to this process. Errors: no thread.
pub(crate) fn answer_questions(engine: &Engine) -> std::io::Result<Rounds> {
    let client = engine.client.clone();
    let questions = format!("{ASKS}={}", engine.identity.owner);
    let mut is_first = true;
    Rounds::start("life-signs", move |_| {
        // Nobody has a question to a process that has just started.
        if !std::mem::take(&mut is_first)
            && let Err(error) = answer(&client, &questions)
        {
            log::debug!("questions cannot be answered: {error}");
        }
        PERIOD
    })
}

fn answer(client: &Client, questions: &str) -> Result<(), docker::Error> {
    for question in client.container_list(&[questions.to_owned()])? {
        if is_named(&question, OPEN)
            && let Some(run) = question.labels.get(RUN)
        {
            let renamed =
                client.container_rename(&question.id, &format!("oneoff-{run}-{ANSWERED}"));
            // It may have been removed meanwhile.
            if let Err(error) = renamed {
                log::debug!("a question is not answered yet: {error}");
            }
        }
    }
    Ok(())
}
