//! Takes an admitted request through the inner server to the handler, and writes the handler's reply. A panic in a handler
//! becomes a 500 for its request and does not affect others.

use super::inner::{ForwardedRequest, InnerServer, visible_fields};
use super::reply::{Body, Reply, ResponseContext, write_reply};
use super::request::Request;
use crate::edge::{AdmittedRequest, BodyError};
use crate::memory::Reservation;
use crate::problem::Problem;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Answers requests. Called on the connection's own thread, so it may block; a panic becomes a 500 for that request.
pub type Handler = Arc<dyn Fn(Request) -> Reply + Send + Sync>;

/// Serves one request on the calling thread. Returns when its response has been relayed to the client.
pub(super) fn serve(inner: &InnerServer, handler: &Handler, admitted: AdmittedRequest) {
    let responder = admitted.responder.clone();
    let taken = inner.forward(&admitted.head).and_then(|forwarded| {
        let ForwardedRequest { parsed, connection } = forwarded;
        Ok((
            parsed,
            responder.relay(connection, admitted.cancel.clone())?,
        ))
    });
    let (parsed, relay) = match taken {
        Ok(taken) => taken,
        Err(error) => {
            log::error!("a request cannot be taken: {error}");
            let responder = responder.with_field("Retry-After", "1");
            return responder.send_problem(&unavailable());
        }
    };
    let context = ResponseContext {
        is_head: responder.is_head,
        minor: admitted.head.minor,
        fields: responder.fields,
    };
    let request = typed_request(admitted);
    let id = request.id.clone();
    let answer = AnswerMemory {
        memory: request.answer_memory.clone(),
        is_repeatable: matches!(request.method.as_str(), "GET" | "HEAD"),
    };
    let reply =
        catch_unwind(AssertUnwindSafe(|| handler(request))).unwrap_or_else(|_| internal_error(&id));
    let mut writer = parsed.into_writer();
    let reply = answer.charge(reply);
    let written = catch_unwind(AssertUnwindSafe(|| {
        write_reply(&mut *writer, reply, &context)
    }));
    log_fault(&id, written);
    // Closes the inner connection: the relay takes that for the end of the response.
    drop(writer);
    let _ = relay.join();
    drop(answer);
}

fn log_fault(id: &str, written: std::thread::Result<io::Result<()>>) {
    match written {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::debug!("the answer to {id} was not taken whole: {error}"),
        Err(_) => log::error!("the answer to {id} is cut short: its stream panicked"),
    }
}

/// Bytes of an answer that every request may have, so that `/health` and refusals are always answered.
const FREE_BYTES: u64 = 64 * 1024;

/// The memory that an answer takes until it is sent.
struct AnswerMemory {
    memory: Option<Reservation>,
    /// Whether the client can ask for the same again.
    is_repeatable: bool,
}

impl AnswerMemory {
    /// Takes a reply's bytes from the budget. Where that is used up, a repeatable reply is refused; any other is the outcome of
    /// work that was done, and is sent all the same.
    fn charge(&self, reply: Reply) -> Reply {
        let (Body::Bytes(bytes), Some(memory)) = (&reply.body, &self.memory) else {
            return reply;
        };
        let length = bytes.len() as u64;
        match self.is_repeatable && length > FREE_BYTES {
            true if !memory.grow(length) => Reply::from(BodyError::OutOfMemory),
            true => reply,
            false => {
                memory.grow_anyway(length);
                reply
            }
        }
    }
}

fn typed_request(admitted: AdmittedRequest) -> Request {
    Request {
        id: admitted.id,
        method: admitted.head.method,
        content_length: admitted.body.length(),
        path: admitted.head.path,
        ends_in_slash: admitted.head.ends_in_slash,
        query: admitted.head.query,
        headers: visible_fields(admitted.head.fields),
        body: Box::new(admitted.body),
        answer_memory: Some(admitted.body_memory.another()),
        body_memory: Some(admitted.body_memory),
        cancel: admitted.cancel,
        draining: admitted.draining,
    }
}

fn internal_error(id: &str) -> Reply {
    log::error!("the handler of {id} panicked");
    Reply::problem(&Problem::new(
        500,
        "internal",
        "the request met a fault of the service; its log says more",
    ))
}

fn unavailable() -> Problem {
    Problem::new(
        503,
        "unavailable",
        "the service is short of descriptors or threads; try again in a moment",
    )
}
