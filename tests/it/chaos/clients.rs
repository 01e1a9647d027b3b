//! The mixed load: several clients, each with its own random choice of requests until the fault is over and all are made.

use super::accepted::{Accepted, Submission};
use super::jobs;
use super::outcome::Outcome;
use crate::support::{Answer, Random, Request, read_whole_answer};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub const CLIENTS: u64 = 5;

/// What the clients of one fault share.
pub struct Load {
    /// The name of the fault, part of each nonce.
    pub name: &'static str,
    seed: u64,
    /// The servers that serve now.
    addresses: Mutex<Vec<String>>,
    /// How many requests are still to be made.
    left: AtomicI64,
    /// Whether the fault has happened; until then requests go on.
    happened: AtomicBool,
    working: AtomicUsize,
    /// How many clients were asked to come back later with an asynchronous run.
    waiting: AtomicUsize,
    tally: Mutex<BTreeMap<String, usize>>,
    pub accepted: Mutex<Vec<Accepted>>,
    /// Volumes that may exist.
    pub volumes: Mutex<Vec<String>>,
}

impl Load {
    pub fn new(name: &'static str, seed: u64, requests: i64) -> Self {
        Self {
            name,
            seed,
            addresses: Mutex::default(),
            left: AtomicI64::new(requests),
            happened: AtomicBool::new(false),
            working: AtomicUsize::new(CLIENTS as usize),
            waiting: AtomicUsize::new(0),
            tally: Mutex::default(),
            accepted: Mutex::default(),
            volumes: Mutex::default(),
        }
    }

    pub fn serve_at(&self, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| (*address).to_owned());
        *self.addresses.lock().unwrap() = addresses.collect();
    }

    /// The clients may end once they have made their requests.
    pub fn fault_happened(&self) {
        self.happened.store(true, Ordering::SeqCst);
    }

    pub fn is_over(&self) -> bool {
        self.working.load(Ordering::SeqCst) == 0
    }

    /// Takes one of the requests that are still to be made.
    fn has_more(&self) -> bool {
        let wants_more = self.wants_more();
        self.left.fetch_sub(1, Ordering::SeqCst);
        wants_more
    }

    /// Whether requests are still to be made.
    pub fn wants_more(&self) -> bool {
        self.left.load(Ordering::SeqCst) > 0 || !self.happened.load(Ordering::SeqCst)
    }

    /// Whether a client waits until a server knows what became of its run.
    pub fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Counts a client as one that waits, until what this returns is dropped.
    pub fn wait(&self) -> impl Drop {
        Counted::one_more(&self.waiting)
    }

    pub fn count(&self, outcome: &Outcome) {
        let word = match outcome {
            Outcome::True => "true",
            Outcome::Broken => "no answer",
            Outcome::Error(code) => code,
        };
        let mut tally = self.tally.lock().unwrap();
        *tally.entry(word.to_owned()).or_default() += 1;
    }

    pub fn tally(&self) -> BTreeMap<String, usize> {
        self.tally.lock().unwrap().clone()
    }
}

/// One client in a thread of its own.
pub struct Client<'a> {
    pub load: &'a Load,
    pub random: Random,
    number: u64,
    requests: u64,
}

impl<'a> Client<'a> {
    pub fn new(load: &'a Load, number: u64) -> Self {
        Self {
            load,
            random: Random(load.seed.wrapping_mul(1000).wrapping_add(number)),
            number,
            requests: 0,
        }
    }

    /// Makes requests until no more are wanted.
    pub fn work(mut self) {
        let _working = Counted(&self.load.working);
        while self.load.has_more() {
            let outcome = jobs::any(&mut self);
            self.load.count(&outcome);
            if outcome != Outcome::True {
                // Something is away.
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// A text that no other request has.
    pub fn nonce(&mut self) -> String {
        self.requests += 1;
        let (name, number, count) = (self.load.name, self.number, self.requests);
        format!("{name}-{number}-{count}-{:016x}", self.random.next())
    }

    /// One of the servers that serve now.
    pub fn address(&mut self) -> String {
        let addresses = self.load.addresses.lock().unwrap();
        addresses[self.random.below(addresses.len())].clone()
    }

    /// Whether a server at this address serves now.
    pub fn is_served_at(&self, address: &str) -> bool {
        let addresses = self.load.addresses.lock().unwrap();
        addresses.iter().any(|served| served == address)
    }

    pub fn ask(&mut self, request: &Request<'_>) -> Option<Answer> {
        let address = self.address();
        ask(&address, request)
    }

    pub fn post(&mut self, path: &str, body: &str) -> Option<Answer> {
        self.ask(&Request::new("POST", path).body(body))
    }

    /// Sends an asynchronous run until it is accepted or refused, with one idempotency key.
    pub fn submit(&mut self, submission: &Submission) -> Result<Accepted, Outcome> {
        let deadline = Instant::now() + Duration::from_secs(90);
        let mut address = self.address();
        let mut was_broken = false;
        let mut waiting = None;
        loop {
            let answer = submission.ask_at(&address);
            if let Some(path) = answer.as_ref().and_then(Submission::accepted_as) {
                return Ok(submission.accepted(path));
            }
            let may_come = answer.as_ref().is_none_or(|answer| {
                answer.status == 429 || answer.header("Retry-After").is_some()
            });
            was_broken |= answer.is_none();
            if !may_come || Instant::now() > deadline {
                let code = answer
                    .as_ref()
                    .map_or("no answer".into(), super::outcome::code);
                self.load
                    .accepted
                    .lock()
                    .unwrap()
                    .push(submission.refused(was_broken));
                return Err(Outcome::Error(code));
            }
            waiting.get_or_insert_with(|| self.load.wait());
            std::thread::sleep(Duration::from_millis(200));
            // A key is known to one server only while two serve.
            if !self.is_served_at(&address) {
                address = self.address();
            }
        }
    }
}

pub fn ask(address: &str, request: &Request<'_>) -> Option<Answer> {
    read_whole_answer(&mut request.send(address).ok()?)
}

/// Counts as one until this is dropped.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn one_more(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
