//! One connection from its head to its end: the steps in order.

use super::body::{Body, BodyFault, BodyPlan};
use super::body_budget::BodyReservation;
use super::connections::{ConnectionPermit, SeatKind};
use super::guard::Verdict;
use super::head::{self, Head, HeadFault};
use super::ids::request_id;
use super::linger::{self, Patience};
use super::listener::{Shared, too_many_connections};
use super::refusal::Refusal;
use super::responder::Responder;
use crate::cancel::Cancel;
use crate::metrics::Label::{Number, Word};
use crate::metrics::{self, Label};
use crate::problem::Problem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
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
    pub(crate) room: BodyReservation,
    pub(crate) authenticated: bool,
    pub(crate) cancel: Cancel,
    pub(crate) draining: Cancel,
    /// Where the answer goes.
    pub(crate) reception: Responder,
}

/// What the access log says of a connection.
struct Record {
    started: Instant,
    id: String,
    method: String,
    path: String,
    route: &'static str,
}

/// Serves the client in this seat, then closes its connection.
pub(super) fn serve(shared: &Shared, seat: &ConnectionPermit) {
    let mut record = Record {
        started: Instant::now(),
        id: request_id(None),
        method: "-".into(),
        path: "-".into(),
        route: "unread",
    };
    let served = catch_unwind(AssertUnwindSafe(|| converse(shared, seat, &mut record)));
    seat.end_request();
    if served.is_err() {
        // Has no effect if the answer was begun.
        let problem = Problem::new(500, "internal", "the request could not be served");
        Responder::new(&seat.client, &record.id).refuse(&problem);
    }
    record.log(seat.client.status());
    let patience = if shared.draining.is_fired() {
        Patience::SHORT
    } else {
        Patience::NORMAL
    };
    linger::close(&seat.client, patience);
}

fn converse(shared: &Shared, seat: &ConnectionPermit, record: &mut Record) {
    let unknown = Responder::new(&seat.client, &record.id);
    let (head, beginning) = match head::read(seat.client.socket(), head_timeout(shared, seat)) {
        Ok(read) => read,
        Err(HeadFault::Silent) => return,
        Err(HeadFault::Refused(refusal)) => return unknown.refuse(&refusal.to_problem()),
    };
    record.know(&head);
    record.route = (shared.route_of)(&head.path);
    let mut reception = Responder::new(&seat.client, &record.id).of_head(&head);
    if let Some(origin) = shared.policy.cors_origin(&head) {
        reception = reception.readable_by(origin);
    }
    if seat.kind == SeatKind::Reserved && head.path != HEALTH_PATH {
        let refusal = too_many_connections().to_problem();
        return reception.with_field("Retry-After", "1").refuse(&refusal);
    }
    match shared.policy.judge(&head) {
        Verdict::Preflight => reception.allow(),
        Verdict::Refuse(refusal) => {
            if refusal.status == 401 {
                reception = reception.with_field("WWW-Authenticate", "Bearer");
            }
            reception.refuse(&refusal.to_problem());
        }
        Verdict::Serve { authenticated } => {
            let Some(room) = shared.rooms.room(head.content_length().unwrap_or(0)) else {
                let refusal = no_room().to_problem();
                return reception.with_field("Retry-After", "1").refuse(&refusal);
            };
            let beginning = (beginning, room.clone());
            let Some(body) = body_after(shared, seat, &head, beginning) else {
                return;
            };
            (shared.service)(Admitted {
                id: record.id.clone(),
                head,
                body,
                room,
                authenticated,
                cancel: seat.begin_request(),
                draining: shared.draining.clone(),
                reception,
            });
        }
    }
}

fn head_timeout(shared: &Shared, seat: &ConnectionPermit) -> Duration {
    match seat.kind {
        SeatKind::Regular => shared.deadlines.head,
        SeatKind::Reserved => shared.deadlines.head.min(RESERVED_HEAD_TIMEOUT),
    }
}

/// The answer when other bodies take up all memory for them.
fn no_room() -> Refusal {
    let detail = BodyFault::NoRoom.to_string();
    Refusal::new(429, "too_many_bodies", detail)
}

/// The body of this request; `None` when its client has gone already.
fn body_after(
    shared: &Shared,
    seat: &ConnectionPermit,
    head: &Head,
    (beginning, room): (Vec<u8>, BodyReservation),
) -> Option<Body> {
    let plan = BodyPlan {
        framing: head.framing,
        beginning,
        limit_bytes: shared.policy.body_limit_bytes,
        stall: shared.deadlines.body_stall,
        room,
        expects_continue: head.expects_continue,
    };
    Body::new(Arc::clone(&seat.client), plan).ok()
}

impl Record {
    fn know(&mut self, head: &Head) {
        self.id = request_id(head.field("x-request-id"));
        self.method.clone_from(&head.method);
        self.path = head.raw_path().chars().take(LOGGED_PATH_BYTES).collect();
    }

    // Method, path and id are visible ASCII by now, so no line can be forged; queries may hold secrets.
    fn log(&self, status: u16) {
        let was_silent = status == 0 && self.method == "-";
        if was_silent {
            return;
        }
        let status = if status == 0 { 499 } else { status };
        self.count(status);
        log::info!(
            target: "access",
            "{} {} {} {}ms {}",
            self.method,
            self.path,
            status,
            self.started.elapsed().as_millis(),
            self.id
        );
    }

    fn count(&self, status: u16) {
        let labels = [method_label(&self.method), Word(self.route), Number(status)];
        metrics::HTTP_REQUESTS.add(labels);
        metrics::HTTP_DURATION.observe([Word(self.route)], self.started.elapsed());
    }
}

/// Clients may send any word as a method.
fn method_label(method: &str) -> Label {
    const KNOWN: [&str; 8] = [
        "GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH", "-",
    ];
    let known = KNOWN.into_iter().find(|known| *known == method);
    Word(known.unwrap_or("other"))
}
