//! One connection from its head to its end: the steps in order.

use super::answer::{Delimiter, write_head};
use super::body::{Body, BodyPlan};
use super::client::Client;
use super::guard::Verdict;
use super::head::{self, Head, HeadFault};
use super::ids::{random_id, request_id};
use super::linger::{self, Patience};
use super::listener::{Shared, too_many_connections};
use super::relay::Relay;
use super::seats::{Seat, SeatKind};
use crate::cancel::Cancel;
use crate::problem::{PROBLEM_JSON, Problem};
use std::io;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// What reserved seats are for.
const HEALTH_PATH: &str = "/health";
/// Reserved seats are few, so nobody may sit in one for long without a word.
const RESERVED_HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest path in a log line.
const LOGGED_PATH_BYTES: usize = 256;

/// A request that passed the guard, with all that it takes to serve it.
pub(crate) struct Admitted {
    pub(crate) id: String,
    pub(crate) head: Head,
    pub(crate) body: Body,
    pub(crate) authenticated: bool,
    pub(crate) cancel: Cancel,
    pub(crate) draining: Cancel,
    /// Where the answer goes.
    pub(crate) reception: Reception,
}

/// Where an answer goes, and what every answer to this request says.
#[derive(Clone)]
pub(crate) struct Reception {
    client: Arc<Client>,
    cancel: Cancel,
    /// Fields that every answer carries: request id, CORS.
    pub(crate) fields: Vec<(String, String)>,
}

/// What the access log says of a connection.
struct Record {
    started: Instant,
    id: String,
    method: String,
    path: String,
}

/// Serves the client in this seat, then closes its connection.
pub(super) fn serve(shared: &Shared, seat: &Seat) {
    let mut record = Record {
        started: Instant::now(),
        id: random_id(),
        method: "-".into(),
        path: "-".into(),
    };
    let served = catch_unwind(AssertUnwindSafe(|| converse(shared, seat, &mut record)));
    seat.end_request();
    if served.is_err() && seat.client.status() == 0 {
        let problem = Problem::new(500, "internal", "the request could not be served");
        refuse(seat, &problem, own_fields(&record.id));
    }
    record.log(seat.client.status());
    let patience = match shared.draining.is_fired() {
        true => Patience::SHORT,
        false => Patience::NORMAL,
    };
    linger::close(&seat.client, patience);
}

fn converse(shared: &Shared, seat: &Seat, record: &mut Record) {
    let timeout = match seat.kind {
        SeatKind::Regular => shared.deadlines.head,
        SeatKind::Reserved => shared.deadlines.head.min(RESERVED_HEAD_TIMEOUT),
    };
    let (head, beginning) = match head::read(seat.client.socket(), timeout) {
        Ok(read) => read,
        Err(HeadFault::Silent) => return,
        Err(HeadFault::Refused(problem)) => return refuse(seat, &problem, own_fields(&record.id)),
    };
    record.know(&head);
    let mut fields = own_fields(&record.id);
    if let Some(origin) = shared.policy.cors_origin(&head) {
        fields.extend(cors_fields(origin));
    }
    if seat.kind == SeatKind::Reserved && head.path != HEALTH_PATH {
        fields.push(("Retry-After".into(), "1".into()));
        return refuse_headless(seat, &head, &too_many_connections(), fields);
    }
    match shared.policy.judge(&head) {
        Verdict::Serve { authenticated } => {
            let arrived = Arrived {
                head,
                beginning,
                fields,
                authenticated,
            };
            admit(shared, seat, record, arrived);
        }
        Verdict::Preflight => allow(seat, fields),
        Verdict::Refuse(problem) => {
            if problem.status == 401 {
                fields.push(("WWW-Authenticate".into(), "Bearer".into()));
            }
            refuse_headless(seat, &head, &problem, fields);
        }
    }
}

struct Arrived {
    head: Head,
    beginning: Vec<u8>,
    fields: Vec<(String, String)>,
    authenticated: bool,
}

fn admit(shared: &Shared, seat: &Seat, record: &Record, arrived: Arrived) {
    let Arrived {
        head,
        beginning,
        fields,
        authenticated,
    } = arrived;
    let plan = BodyPlan {
        framing: head.framing,
        beginning,
        limit_bytes: shared.policy.body_limit_bytes,
        stall: shared.deadlines.body_stall,
        expects_continue: head.expects_continue,
    };
    // Fails only when the client is gone already.
    let Ok(body) = Body::new(Arc::clone(&seat.client), plan) else {
        return;
    };
    let cancel = seat.begin_request();
    (shared.service)(Admitted {
        id: record.id.clone(),
        head,
        body,
        authenticated,
        cancel: cancel.clone(),
        draining: shared.draining.clone(),
        reception: Reception {
            client: Arc::clone(&seat.client),
            cancel,
            fields,
        },
    });
}

impl Reception {
    /// Carries what arrives on `answer` to the client, until it ends. Errors: no thread to be had.
    pub(crate) fn relay(&self, answer: UnixStream) -> io::Result<thread::JoinHandle<()>> {
        Relay::spawn(Arc::clone(&self.client), answer, self.cancel.clone())
    }

    /// Answers with a problem, when no relay can.
    pub(crate) fn refuse(&self, problem: &Problem) {
        send_problem(&self.client, problem, self.fields.clone(), WithBody::Yes);
    }
}

impl Record {
    fn know(&mut self, head: &Head) {
        self.id = request_id(head.field("x-request-id"));
        self.method.clone_from(&head.method);
        self.path = head.raw_path().chars().take(LOGGED_PATH_BYTES).collect();
    }

    // Method, path and id are visible ASCII by now, so no line can be forged; queries may hold secrets.
    fn log(&self, status: u16) {
        let is_untold = status == 0;
        if is_untold && self.method == "-" {
            return;
        }
        log::info!(
            target: "access",
            "{} {} {} {}ms {}",
            self.method,
            self.path,
            if is_untold { 499 } else { status },
            self.started.elapsed().as_millis(),
            self.id
        );
    }
}

enum WithBody {
    Yes,
    No,
}

fn refuse(seat: &Seat, problem: &Problem, fields: Vec<(String, String)>) {
    send_problem(&seat.client, problem, fields, WithBody::Yes);
}

fn refuse_headless(seat: &Seat, head: &Head, problem: &Problem, fields: Vec<(String, String)>) {
    let with_body = match head.method.as_str() {
        "HEAD" => WithBody::No,
        _ => WithBody::Yes,
    };
    send_problem(&seat.client, problem, fields, with_body);
}

fn send_problem(
    client: &Client,
    problem: &Problem,
    mut fields: Vec<(String, String)>,
    with_body: WithBody,
) {
    let body = problem.to_json();
    fields.push(("Content-Type".into(), PROBLEM_JSON.into()));
    let mut answer = match write_head(
        problem.status,
        &fields,
        Delimiter::Length(body.len() as u64),
    ) {
        Ok(head) => head,
        Err(error) => return log::error!("an answer of the edge's own cannot be written: {error}"),
    };
    if let WithBody::Yes = with_body {
        answer.extend_from_slice(&body);
    }
    send_whole(client, &answer);
}

fn allow(seat: &Seat, mut fields: Vec<(String, String)>) {
    for (name, value) in [
        ("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS"),
        (
            "Access-Control-Allow-Headers",
            "Content-Type, Accept, Authorization, Mcp-Session-Id, MCP-Protocol-Version, Last-Event-ID, \
             Mcp-Method, Mcp-Name",
        ),
        ("Access-Control-Max-Age", "600"),
    ] {
        fields.push((name.into(), value.into()));
    }
    match write_head(204, &fields, Delimiter::NoBody) {
        Ok(head) => send_whole(&seat.client, &head),
        Err(error) => log::error!("a preflight cannot be answered: {error}"),
    }
}

fn send_whole(client: &Client, answer: &[u8]) {
    if let Err(error) = client.begin_answer(answer, &mut client.pace()) {
        log::debug!("the client left before the end of its answer: {error}");
    }
}

fn own_fields(id: &str) -> Vec<(String, String)> {
    vec![("X-Request-Id".into(), id.into())]
}

fn cors_fields(origin: &str) -> [(String, String); 3] {
    [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", "Mcp-Session-Id"),
        ("Vary", "Origin"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
}
