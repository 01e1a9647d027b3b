//! Asynchronous runs: how they are submitted, and what must become of each that was accepted, whatever happens: it ends once,
//! it ran once, and its key means it until it is deleted.

use super::clients::{Client, ask};
use super::outcome::{Expected, Outcome, code, show_once};
use crate::run::shell;
use crate::support::{Answer, Request};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

/// A run with a key, which may be sent any number of times.
pub struct Submission {
    nonce: String,
    request: String,
    expected: Expected,
    is_endless: bool,
}

/// A run that a server accepted, or refused.
pub struct Accepted {
    nonce: String,
    request: String,
    expected: Expected,
    pub path: String,
    is_endless: bool,
    cancel: Cancel,
    /// The least and the most times that it may have run.
    runs: (usize, usize),
}

/// How far a `DELETE` of a run got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cancel {
    None,
    /// No answer came.
    Unknown,
    Confirmed,
    /// It had ended, and is forgotten.
    Deleted,
}

impl Submission {
    /// A run that writes its nonce into the ledger, then goes on with this script, which copies stdin to stdout.
    pub fn counted(nonce: &str, script: &str, is_fed: bool) -> Self {
        let script = format!("echo {nonce} >> /ledger/log || exit 9; echo {nonce}; {script}");
        let mut request = shell(&script, json!({"volumes": ledger(), "timeout_secs": 120}));
        let mut stdout = format!("{nonce}\n");
        if is_fed {
            let fed = format!("fed {nonce}\n").repeat(200);
            stdout.push_str(&fed);
            request["stdin"] = fed.into();
        }
        Self {
            nonce: nonce.to_owned(),
            request: request.to_string(),
            expected: Expected::stdout(stdout),
            is_endless: false,
        }
    }

    /// A run that only a cancel ends.
    pub fn endless(nonce: &str) -> Self {
        let script = format!("echo {nonce} >> /ledger/log || exit 9; echo {nonce}; sleep 600");
        let more = json!({"volumes": ledger(), "timeout_secs": 900});
        Self {
            nonce: nonce.to_owned(),
            request: shell(&script, more).to_string(),
            expected: Expected::stdout(format!("{nonce}\n")),
            is_endless: true,
        }
    }

    pub fn ask_at(&self, address: &str) -> Option<Answer> {
        submit_at(address, &self.nonce, &self.request)
    }

    /// The path of the run that this answer accepts.
    pub fn accepted_as(answer: &Answer) -> Option<String> {
        [200, 202]
            .contains(&answer.status)
            .then(|| answer.header("Location").expect("where it is"))
    }

    pub fn accepted(&self, path: String) -> Accepted {
        Accepted {
            nonce: self.nonce.clone(),
            request: self.request.clone(),
            expected: self.expected.clone(),
            path,
            is_endless: self.is_endless,
            cancel: Cancel::None,
            runs: (0, 1),
        }
    }

    /// A run that no server accepted; if an answer is missing, one may have all the same.
    pub fn refused(&self, was_broken: bool) -> Accepted {
        Accepted {
            runs: (0, usize::from(was_broken)),
            ..self.accepted(String::new())
        }
    }
}

fn ledger() -> Value {
    json!({"/ledger": {"type": "volume", "name": super::world::LEDGER}})
}

fn submit_at(address: &str, key: &str, request: &str) -> Option<Answer> {
    let fields = [("Prefer", "respond-async"), ("Idempotency-Key", key)];
    ask(
        address,
        &Request::new("POST", "/run").fields(&fields).body(request),
    )
}

impl Accepted {
    /// Notes what was said to the `DELETE` of this run.
    pub fn note_cancel(&mut self, answer: Option<&Answer>) -> Outcome {
        self.cancel = match answer.map(|answer| answer.status) {
            None => Cancel::Unknown,
            Some(202) => Cancel::Confirmed,
            Some(200) => Cancel::Deleted,
            Some(_) => Cancel::None,
        };
        match answer {
            None => Outcome::Broken,
            Some(answer) if answer.status < 300 => Outcome::True,
            Some(answer) => Outcome::Error(code(answer)),
        }
    }

    /// Sends a `DELETE` until a server has confirmed it: a run that nothing ends would keep its slot, and a few of them all slots.
    pub fn cancel(&mut self, client: &mut Client<'_>) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        let mut waiting = None;
        loop {
            let answer = client.ask(&Request::new("DELETE", &self.path));
            let was_unknown = self.cancel == Cancel::Unknown;
            let outcome = self.note_cancel(answer.as_ref());
            let status = answer.as_ref().map_or(0, |answer| answer.status);
            // The answer that is missing said so.
            if status == 404 && was_unknown {
                self.cancel = Cancel::Deleted;
                return Outcome::True;
            }
            // None that was given before is taken back.
            if was_unknown && self.cancel == Cancel::None {
                self.cancel = Cancel::Unknown;
            }
            if ![0, 429, 502, 503, 504].contains(&status) {
                return outcome;
            }
            let late = Instant::now() > deadline;
            assert!(!late, "{} is not cancelled: {outcome:?}", self.path);
            waiting.get_or_insert_with(|| client.load.wait());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits for the end of the run, judges and deletes it. `None`: it was refused, or is deleted.
    pub fn settle(&mut self, address: &str) -> Option<Outcome> {
        if self.path.is_empty() || self.cancel == Cancel::Deleted {
            return None;
        }
        let state = self.finished(address)?;
        let times = ["created_at", "started_at", "finished_at"].map(|name| state[name].as_str());
        let times: Vec<&str> = times.into_iter().flatten().collect();
        assert!(times.is_sorted(), "{state}");
        let again = submit_at(address, &self.nonce, &self.request).expect("an answer");
        let again = Submission::accepted_as(&again);
        let other = again
            .as_ref()
            .filter(|path| **path != self.path)
            .and_then(|path| ask(address, &Request::new("GET", path)))
            .map(|answer| answer.text().to_owned());
        assert_eq!(
            again.as_ref(),
            Some(&self.path),
            "its key means it: {state}, not {other:?}"
        );
        let outcome = self.judge(&state);
        let delete = Request::new("DELETE", &self.path);
        let deleted = ask(address, &delete).expect("an answer");
        assert_eq!(deleted.status, 200, "{}", deleted.text());
        assert_eq!(deleted.json()["result"], state["result"], "one result");
        let gone = ask(address, &Request::new("GET", &self.path)).unwrap();
        assert_eq!(gone.status, 404, "{}", gone.text());
        Some(outcome)
    }

    fn judge(&mut self, state: &Value) -> Outcome {
        if let Some(code) = state["error"]["code"].as_str() {
            assert_eq!(state["result"], Value::Null, "{state}");
            // It waits for an engine that is away.
            assert_ne!(code, "engine_unreachable", "{state}");
            show_once(code, &state.to_string());
            return Outcome::Error(code.to_owned());
        }
        let outcome = self.expected.judge(&state["result"]);
        if self.is_endless {
            assert_ne!(outcome, Outcome::True, "{state}");
            let was_cancelled = state["result"]["reason"] == "cancelled";
            return match was_cancelled {
                true => Outcome::True,
                false => outcome,
            };
        }
        if outcome == Outcome::True {
            self.runs.0 = 1;
        }
        outcome
    }

    /// The state of the run once it has ended; an endless one is cancelled unless it was. `None`: an earlier `DELETE` whose
    /// answer is missing found that it had ended.
    fn finished(&mut self, address: &str) -> Option<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = ask(address, &Request::new("GET", &self.path));
            let (status, seen) =
                answer.map_or((0, Value::Null), |answer| (answer.status, answer.json()));
            if status == 404 && self.cancel == Cancel::Unknown {
                return None;
            }
            assert!(
                [0, 200, 503].contains(&status),
                "{} is lost: {seen}",
                self.path
            );
            if seen["state"] == "finished" {
                return Some(seen);
            }
            if status == 200 && self.is_endless && self.cancel != Cancel::Confirmed {
                let answer = ask(address, &Request::new("DELETE", &self.path));
                if self.note_cancel(answer.as_ref()) == Outcome::True
                    && self.cancel == Cancel::Deleted
                {
                    return None;
                }
            }
            let late = Instant::now() > deadline;
            assert!(!late, "{} has not ended: {seen}", self.path);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Asserts how many times it ran.
    pub fn assert_ran_as_often_as_it_should(&self, ledger: &str) {
        let times = ledger.lines().filter(|line| *line == self.nonce).count();
        let (least, most) = self.runs;
        let is_right = (least..=most).contains(&times);
        assert!(is_right, "{} {} ran {times} times", self.nonce, self.path);
    }
}
