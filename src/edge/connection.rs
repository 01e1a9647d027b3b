//! One connection: the steps from its first byte to its close, in order.

use super::body::{Body, BodyOptions};
use super::body_error::BodyError;
use super::config::ServerConfig;
use super::connections::{ConnectionPermit, PermitKind};
use super::content::Content;
use super::guard::{self, Verdict};
use super::head::{self, Head, HeadError, ReceivedHead};
use super::ids::request_id;
use super::linger::{self, LingerTimeouts};
use super::refusal::Refusal;
use super::responder::Responder;
use crate::cancel::Cancel;
use crate::memory::Reservation;
use crate::metrics::Label::{Number, Word};
use crate::metrics::{self, Label};
use crate::problem::Problem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Deadline for a head on one of the few reserved connections.
const RESERVED_HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest path in a log line, in characters.
const MAX_LOGGED_PATH: usize = 256;

/// Serves one admitted request on the calling thread. Returns when the whole response has been relayed.
pub(crate) type Service = Arc<dyn Fn(AdmittedRequest) + Send + Sync>;

/// What all connections of a server share.
pub(super) struct ConnectionContext {
    pub(super) config: ServerConfig,
    pub(super) service: Service,
    /// Fires when the server starts to stop.
    pub(super) draining: Cancel,
}

/// A request that passed the guard, with everything that is needed to serve it.
pub(crate) struct AdmittedRequest {
    pub(crate) id: String,
    pub(crate) head: Head,
    pub(crate) body: Content,
    /// The memory of the body.
    pub(crate) body_memory: Reservation,
    /// Fires when the client leaves or the server's grace period is over.
    pub(crate) cancel: Cancel,
    /// Fires when the server starts to stop.
    pub(crate) draining: Cancel,
    pub(crate) responder: Responder,
}

/// Serves the client of this permit, then closes its connection.
pub(super) fn serve(context: &ConnectionContext, permit: &ConnectionPermit) {
    let mut record = AccessRecord {
        started: Instant::now(),
        request_id: request_id(None),
        method: "-".into(),
        path: "-".into(),
        route: "unread",
    };
    let served = catch_unwind(AssertUnwindSafe(|| {
        serve_request(context, permit, &mut record);
    }));
    permit.end_request();
    if served.is_err() {
        let problem = Problem::new(500, "internal", "the request could not be served");
        Responder::new(&permit.client, &record.request_id).send_problem(&problem);
    }
    record.write(permit.client.status());
    let timeouts = if context.draining.is_fired() {
        LingerTimeouts::STOPPING
    } else {
        LingerTimeouts::NORMAL
    };
    linger::close(&permit.client, timeouts);
}

/// Reads the head, then serves the request or refuses it.
fn serve_request(
    context: &ConnectionContext,
    permit: &ConnectionPermit,
    record: &mut AccessRecord,
) {
    let config = &context.config;
    let responder = Responder::new(&permit.client, &record.request_id);
    let received = match read_head(config, permit) {
        Ok(received) => received,
        Err(HeadError::Closed) => return,
        Err(HeadError::Refused(refusal)) => return responder.send_problem(&refusal.to_problem()),
    };
    let ReceivedHead { head, body_start } = received;
    record.set_request(&head, (config.routes.template_of)(&head.path));
    let responder = Responder::new(&permit.client, &record.request_id).for_request(&head);
    let Some(responder) = admit(config, permit.kind, &head, responder) else {
        return;
    };
    let expected_bytes = head.content_length().unwrap_or(0);
    let Some(body_memory) = config.memory.open(expected_bytes) else {
        let responder = responder.with_field("Retry-After", "1");
        return responder.send_problem(&BodyError::OutOfMemory.to_problem());
    };
    let options = body_options(config, &head, body_start);
    let Ok(body) = Body::new(Arc::clone(&permit.client), options) else {
        return;
    };
    let limit_bytes = config.body_limit_bytes;
    (context.service)(AdmittedRequest {
        id: record.request_id.clone(),
        body: Content::new(body, &head, limit_bytes, body_memory.clone()),
        head,
        body_memory,
        cancel: permit.begin_request(),
        draining: context.draining.clone(),
        responder,
    });
}

fn read_head(config: &ServerConfig, permit: &ConnectionPermit) -> Result<ReceivedHead, HeadError> {
    let timeout = match permit.kind {
        PermitKind::Regular => config.head_timeout,
        PermitKind::Reserved => config.head_timeout.min(RESERVED_HEAD_TIMEOUT),
    };
    head::read(permit.client.socket(), timeout, config.routes.single_fields)
}

fn body_options(config: &ServerConfig, head: &Head, start: Vec<u8>) -> BodyOptions {
    BodyOptions {
        framing: head.framing,
        start,
        limit_bytes: config.body_limit_bytes,
        stall_timeout: config.body_stall_timeout,
        expects_continue: head.expects_continue,
    }
}

/// Asks the guard, and returns the responder if it consents. `None`: the request has been answered already, as a preflight or with a refusal.
fn admit(
    config: &ServerConfig,
    kind: PermitKind,
    head: &Head,
    mut responder: Responder,
) -> Option<Responder> {
    if let Some(origin) = guard::cors_origin(config, head) {
        responder = responder.with_cors(origin, &config.cors);
    }
    if kind == PermitKind::Reserved && head.path != config.routes.health_path {
        responder = responder.with_field("Retry-After", "1");
        responder.send_problem(&Refusal::too_many_connections().to_problem());
        return None;
    }
    match guard::judge(config, head) {
        Verdict::Serve => return Some(responder),
        Verdict::Preflight => responder.allow_preflight(&config.cors),
        Verdict::Refuse(refusal) => {
            responder = match refusal.status {
                401 => responder.with_field("WWW-Authenticate", "Bearer"),
                415 => responder.with_field("Accept-Encoding", "gzip"),
                _ => responder,
            };
            responder.send_problem(&refusal.to_problem());
        }
    }
    None
}

/// What the access log and the metrics say of one connection.
struct AccessRecord {
    started: Instant,
    request_id: String,
    method: String,
    path: String,
    /// The template of the path, for metrics.
    route: &'static str,
}

impl AccessRecord {
    fn set_request(&mut self, head: &Head, route: &'static str) {
        self.request_id = request_id(head.field("x-request-id"));
        self.method.clone_from(&head.method);
        self.path = head.raw_path().chars().take(MAX_LOGGED_PATH).collect();
        self.route = route;
    }

    /// Logs and counts the request. Does nothing if the client closed without sending a head.
    // Method, path and id are visible ASCII, so none can forge a line. Queries are left out: they may hold secrets.
    fn write(&self, status: u16) {
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
            self.request_id
        );
    }

    fn count(&self, status: u16) {
        let labels = [method_label(&self.method), Word(self.route), Number(status)];
        metrics::HTTP_REQUESTS.add(labels);
        metrics::HTTP_DURATION.observe([Word(self.route)], self.started.elapsed());
    }
}

/// The method if it is a usual one, else `other`: clients may send any word, and labels must be few.
fn method_label(method: &str) -> Label {
    const KNOWN: [&str; 8] = [
        "GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH", "-",
    ];
    let known = KNOWN.into_iter().find(|known| *known == method);
    Word(known.unwrap_or("other"))
}
