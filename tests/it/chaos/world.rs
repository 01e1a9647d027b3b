//! The engine on a small disk, the server in it, and what must hold when a fault is over.

use super::clients::{CLIENTS, Client, Load, ask};
use crate::support::{IMAGE, Random, Request, SecondEngine, Server, fresh_instance};
use std::fmt;
use std::time::{Duration, Instant};

/// The volume in which asynchronous runs write that they run.
pub const LEDGER: &str = "ledger";

/// What happens, and how it ends.
pub struct Fault {
    pub name: &'static str,
    /// Makes it happen once, and ends it. Called again and again while the clients work.
    pub strike: fn(&mut World, &Load),
    /// The errors that are true then, beside none at all.
    pub allowed: &'static [&'static str],
}

pub struct World {
    pub engine: SecondEngine,
    pub instance: String,
    pub random: Random,
    server: Option<Server>,
    seed: u64,
    requests: i64,
}

/// What a process uses.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    rss_mb: u64,
    descriptors: usize,
    threads: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rss_mb,
            descriptors,
            threads,
        } = self;
        write!(
            f,
            "{rss_mb} MB, {descriptors} descriptors, {threads} threads"
        )
    }
}

impl World {
    pub fn new(seed: u64, requests: i64) -> Self {
        let engine = SecondEngine::on_a_small_disk("chaos", 400);
        let mut engine = engine.options(&["--shutdown-timeout=2"]);
        engine.start();
        engine.load_images();
        engine.docker(&["volume", "create", LEDGER]);
        let mount = format!("{LEDGER}:/ledger");
        let keep = [
            "run",
            "--detach",
            "--restart=always",
            "--network=none",
            "--name=keeper",
        ];
        engine.docker(&[&keep[..], &["--volume", &mount, IMAGE, "sleep", "1000000"]].concat());
        let other = [
            "--name=keeper-of-alpine",
            "alpine:latest",
            "sleep",
            "1000000",
        ];
        engine.docker(&[&keep[..4], &other].concat());
        engine.docker(&["exec", "keeper", "touch", "/ledger/log"]);
        Self {
            engine,
            instance: fresh_instance(),
            random: Random(seed),
            server: None,
            seed,
            requests,
        }
    }

    /// The settings of every server.
    pub fn settings(&self) -> Vec<(String, String)> {
        let settings = [
            ("DOCKER_HOST", self.engine.docker_host()),
            ("RUNNER_MAX_CONCURRENT_RUNS", "4".into()),
            ("RUNNER_ALLOWED_VOLUMES", "*".into()),
            // Without descriptors a thread of tiny_http panics. A backtrace would keep the debug information in memory: 80 MB.
            ("RUST_BACKTRACE", "0".into()),
        ];
        settings
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("a server runs")
    }

    /// Takes the server, to end it.
    pub fn take_server(&mut self) -> Server {
        self.server.take().expect("a server runs")
    }

    pub fn put_server(&mut self, server: Server) {
        self.server = Some(server);
    }

    fn figures(&self) -> Figures {
        let server = self.server();
        Figures {
            rss_mb: server.status_number("VmRSS") >> 10,
            descriptors: server.descriptors(),
            threads: server.status_number("Threads"),
        }
    }

    /// Lets the fault happen under the mixed load, and checks everything afterwards.
    pub fn suffer(&mut self, fault: &Fault) {
        let begun = Instant::now();
        self.load("warm-up", 12, |_, _| {}, &[]);
        let before = self.figures();
        let tally = self.load(fault.name, self.requests, fault.strike, fault.allowed);
        let after = self.await_figures(before);
        let took = begun.elapsed().as_secs();
        println!(
            "{}: {took} s, {tally}; {before} before, {after} after",
            fault.name
        );
    }

    fn load(
        &mut self,
        name: &'static str,
        requests: i64,
        strike: fn(&mut Self, &Load),
        allowed: &[&str],
    ) -> String {
        let load = Load::new(name, self.random.next() ^ self.seed, requests);
        load.serve_at(&[&self.server().address]);
        std::thread::scope(|scope| {
            for number in 0..CLIENTS {
                let client = Client::new(&load, number);
                scope.spawn(move || client.work());
            }
            std::thread::sleep(Duration::from_millis(500));
            while !load.is_over() {
                match load.wants_more() {
                    true => strike(self, &load),
                    false => std::thread::sleep(Duration::from_millis(20)),
                }
                load.fault_happened();
            }
        });
        self.settle(load, allowed)
    }

    /// Everything is as it should be once the fault is over. Returns how often there was which answer.
    fn settle(&mut self, load: Load, allowed: &[&str]) -> String {
        self.await_health();
        let address = &self.server().address;
        let mut accepted = std::mem::take(&mut *load.accepted.lock().unwrap());
        for run in &mut accepted {
            if let Some(outcome) = run.settle(address) {
                load.count(&outcome);
            }
        }
        let ledger = self
            .engine
            .docker(&["exec", "keeper", "cat", "/ledger/log"]);
        for run in &accepted {
            run.assert_ran_as_often_as_it_should(&ledger);
        }
        for volume in load.volumes.lock().unwrap().iter() {
            self.delete(volume);
        }
        self.engine.await_nothing_left(&self.instance);
        let tally = load.tally();
        let all: usize = tally.values().sum();
        for code in tally.keys().filter(|code| *code != "true") {
            assert!(allowed.contains(&code.as_str()), "{code} in {tally:?}");
        }
        format!("{all} requests {tally:?}")
    }

    fn await_health(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.server().get("/health").status != 200 {
            assert!(Instant::now() < deadline, "not healthy");
        }
    }

    /// Removes a volume, which may be gone.
    fn delete(&self, volume: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let path = format!("/volume/{volume}");
            let answer = ask(&self.server().address, &Request::new("DELETE", &path)).unwrap();
            if [204, 404].contains(&answer.status) {
                return;
            }
            assert!(Instant::now() < deadline, "{}", answer.text());
        }
    }

    /// Waits until the process uses about what it used before.
    fn await_figures(&self, before: Figures) -> Figures {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let now = self.figures();
            let is_back = now.threads <= before.threads + 4
                && now.descriptors <= before.descriptors + 12
                && now.rss_mb <= before.rss_mb + 16;
            if is_back {
                return now;
            }
            assert!(Instant::now() < deadline, "{before} before, {now} after");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
