//! A row of the attack table, and what is asserted after each: the answer; the same process, alive; bounded memory;
//! `/health` all the time; nothing left behind.

use crate::support::{Answer, Request, Server, ask, docker};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Most resident memory that the server may reach during any row, in kB. Servers of the table have a budget of 32 MiB for
/// bodies and answers; the rest is for one request that is larger than that, archives that are unpacked, and stacks.
pub const PEAK_KB: u64 = 160 << 10;
/// How long `/health` may take, whatever else goes on.
pub const HEALTH: Duration = Duration::from_secs(2);
/// Set on each server of the table.
pub const BUDGET: (&str, &str) = ("RUNNER_MAX_BODY_MEMORY", "32m");

/// What came of an attack, in one line: `<status> <code> <place> | <detail>`.
pub type Outcome = String;

type Act = Box<dyn Fn(&Server) -> Outcome + Send>;

/// A case of `cases.txt` and what proves that it is handled.
pub struct Row {
    pub case: &'static str,
    pub proof: Proof,
}

pub enum Proof {
    /// It is done to the running server. The outcome begins with the part of `expected` before ` | ` and contains the part after it.
    Live { expected: &'static str, act: Act },
    /// A test elsewhere, `module::function`, since the server has to die or its engine has to.
    Test(&'static str),
    /// Not handled: README's security section says so, in these words.
    OutOfScope(&'static str),
}

/// A row that is done to the running server.
pub fn row(
    case: &'static str,
    expected: &'static str,
    act: impl Fn(&Server) -> Outcome + Send + 'static,
) -> Row {
    let act: Act = Box::new(act);
    let proof = Proof::Live { expected, act };
    Row { case, proof }
}

/// A row that is a test elsewhere.
pub fn tested(case: &'static str, test: &'static str) -> Row {
    let proof = Proof::Test(test);
    Row { case, proof }
}

pub fn out_of_scope(case: &'static str, words: &'static str) -> Row {
    let proof = Proof::OutOfScope(words);
    Row { case, proof }
}

/// A server, and what has to live as long as it.
pub struct Stand {
    pub server: Server,
    pub beside: Box<dyn Any>,
    /// What `/health` answers.
    pub health: u16,
}

impl Stand {
    /// A server on the machine's engine.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        let settings = [&[BUDGET], settings].concat();
        Self::of(Server::with(&settings))
    }

    pub fn of(server: Server) -> Self {
        let (beside, health) = (Box::new(()), 200);
        Self {
            server,
            beside,
            health,
        }
    }
}

/// Rows that one server process endures, one after the other.
pub struct Table {
    pub section: &'static str,
    pub stand: Box<dyn FnOnce() -> Stand + Send>,
    pub rows: Vec<Row>,
}

impl Table {
    pub fn new(
        section: &'static str,
        stand: impl FnOnce() -> Stand + Send + 'static,
        rows: Vec<Row>,
    ) -> Self {
        let stand = Box::new(stand);
        Self {
            section,
            stand,
            rows,
        }
    }

    /// Does all rows, then fails if any of them failed. Tests elsewhere are only looked up.
    pub fn run(self) {
        let stand = (self.stand)();
        let process = Process::of(&stand.server);
        let mut faults = Vec::new();
        for row in &self.rows {
            match &row.proof {
                Proof::Live { expected, act } => {
                    let began = Instant::now();
                    let fault = endure(&stand, &process, (expected, act));
                    println!("{:>6.1?} {}: {}", began.elapsed(), self.section, row.case);
                    faults.extend(fault.map(|fault| format!("{}: {fault}", row.case)));
                }
                Proof::Test(test) => assert!(is_a_test(test), "there is no test {test}"),
                Proof::OutOfScope(words) => assert!(is_out_of_scope(words), "README: {words}"),
            }
        }
        assert!(
            faults.is_empty(),
            "{}:\n{}",
            self.section,
            faults.join("\n")
        );
        match stand.health {
            200 => stand.server.stop(),
            _ => {
                stand.server.signal("TERM");
                stand.server.stop_signalled_without_engine();
            }
        }
        drop(stand.beside);
    }
}

/// Does one row. Returns what was wrong.
fn endure(stand: &Stand, process: &Process, (expected, act): (&str, &Act)) -> Option<String> {
    let server = &stand.server;
    process.forget_peak();
    let watch = Watch::new(stand.health);
    let outcome = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch.ask_until_stopped(&server.address));
        let outcome = catch_unwind(AssertUnwindSafe(|| act(server)));
        watch.stop.store(true, Ordering::SeqCst);
        (outcome, watcher.join().unwrap())
    });
    let (Ok(outcome), health) = outcome else {
        return Some("the row itself failed, see above".into());
    };
    let (start, words) = expected.split_once(" | ").unwrap_or((expected, ""));
    let is_expected = outcome.split(" | ").next() == Some(start) && outcome.contains(words);
    let peak = process.peak_kb();
    let faults = [
        (!is_expected).then(|| format!("expected `{expected}`, got `{outcome}`")),
        health,
        process.fault(),
        (peak > PEAK_KB).then(|| format!("{peak} kB of memory were used")),
        (stand.health == 200).then(|| left_behind(server)).flatten(),
    ];
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    (!faults.is_empty()).then(|| faults.join("; "))
}

/// A name for a volume of a row, by which it is found if it is left behind.
pub fn name(server: &Server, what: &str) -> String {
    format!("attack-{}-{what}", server.instance)
}

/// Whether a container or a volume is left although its end has been waited for, or a volume that the row named.
fn left_behind(server: &Server) -> Option<String> {
    let filter = format!("name={}", name(server, ""));
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let mut left = server.leftovers();
        left.extend(
            docker(&["volume", "ls", "-q", "--filter", &filter])
                .lines()
                .map(str::to_owned),
        );
        if left.is_empty() {
            return None;
        }
        if Instant::now() > deadline {
            return Some(format!("left behind: {left:?}"));
        }
    }
}

/// The server's process: its id, the time of its start, its memory.
struct Process {
    pid: u32,
    started: String,
}

impl Process {
    fn of(server: &Server) -> Self {
        let pid = server.pid();
        let started = started(pid).expect("the server runs");
        Self { pid, started }
    }

    fn fault(&self) -> Option<String> {
        let same = started(self.pid).as_ref() == Some(&self.started);
        (!same).then(|| "the process has died".into())
    }

    fn forget_peak(&self) {
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.pid), "5");
    }

    fn peak_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        let peak = status
            .iter()
            .flat_map(|status| status.lines())
            .find_map(|line| {
                let value = line.strip_prefix("VmHWM:")?;
                value.trim().strip_suffix(" kB")?.parse().ok()
            });
        peak.unwrap_or(0)
    }
}

/// The time at which a process was started, unless it has ended.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    let started = fields.nth(18)?;
    (state != "Z" && state != "X").then(|| started.to_owned())
}

/// Asks for `/health` over and over while a row goes on.
struct Watch {
    expected: u16,
    stop: AtomicBool,
}

impl Watch {
    fn new(expected: u16) -> Self {
        let stop = AtomicBool::new(false);
        Self { expected, stop }
    }

    /// Asks once more after the stop. Returns the first answer that was wrong or too late.
    fn ask_until_stopped(&self, address: &str) -> Option<String> {
        let mut fault = None;
        loop {
            let is_last = self.stop.load(Ordering::SeqCst);
            let asked = Instant::now();
            let answer = ask(address, &Request::new("GET", "/health"));
            let status = answer.map_or(0, |answer| answer.status);
            let took = asked.elapsed();
            if fault.is_none() && (status != self.expected || took > HEALTH) {
                fault = Some(format!("/health: {status} after {took:?}"));
            }
            if is_last {
                return fault;
            }
            // The pace of the questions.
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Whether `module::function` is a test of this directory.
fn is_a_test(test: &str) -> bool {
    let (module, function) = test.rsplit_once("::").unwrap();
    let file = format!(
        "{}/{}.rs",
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it"),
        module.replace("::", "/")
    );
    let source = std::fs::read_to_string(&file).unwrap_or_default();
    source.contains(&format!("#[test]\nfn {function}()"))
}

fn is_out_of_scope(words: &str) -> bool {
    let readme = crate::support::readme();
    let (_, security) = readme.split_once("## Security, in plain words").unwrap();
    let (_, not_covered) = security.split_once("What is not covered:").unwrap();
    let (not_covered, _) = not_covered.split_once("\n## ").unwrap();
    not_covered.replace('\n', " ").contains(words)
}

/// `<status> <code> <place> | <detail>` of a problem, `<status> <status of the run> | <stdout>` of a run's result.
pub fn outcome(answer: &Answer) -> Outcome {
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(&answer.body) else {
        return answer.status.to_string();
    };
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    if body["code"].is_string() {
        let place = body["errors"][0]["loc"].as_array().map(|parts| {
            let parts = parts.iter().skip(1).filter_map(|part| part.as_str());
            parts.fold(String::new(), |place, part| place + " " + part)
        });
        let place = place.unwrap_or_default();
        return format!(
            "{} {}{place} | {}",
            answer.status,
            text("code"),
            text("detail")
        );
    }
    let sub = text("status");
    match sub.as_str() {
        "" => format!("{} | {body}", answer.status),
        sub => format!("{} {sub} | {}", answer.status, text("stdout")),
    }
}

/// Posts a run.
pub fn run(request: serde_json::Value) -> impl Fn(&Server) -> Outcome + Send {
    move |server| outcome(&server.post("/run", &request))
}
