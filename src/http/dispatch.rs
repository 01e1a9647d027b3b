//! The life of one request: through the inner server to the handler, and its reply back. A panic in a handler is a
//! 500 for that request and nobody else's business.

use super::inner::{Exchange, Inner, visible_fields};
use super::reply::{Occasion, Reply, write_reply};
use super::request::Request;
use super::server::Handler;
use crate::edge::Admitted;
use crate::problem::Problem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Serves one request on the calling thread, until its answer has left.
pub(super) fn serve(inner: &Inner, handler: &Handler, admitted: Admitted) {
    let reception = admitted.reception.clone();
    let exchange = match inner.exchange(&admitted.head) {
        Ok(exchange) => exchange,
        Err(error) => {
            log::error!("a request cannot be taken: {error}");
            return reception.refuse(&unavailable());
        }
    };
    let Exchange { request, answer } = exchange;
    let relay = match reception.relay(answer, admitted.cancel.clone()) {
        Ok(relay) => relay,
        Err(error) => {
            log::error!("a request cannot be taken: {error}");
            return reception.refuse(&unavailable());
        }
    };
    let occasion = Occasion {
        is_head: reception.is_head,
        minor: admitted.head.minor,
        fields: reception.fields,
    };
    let typed = typed_request(&request, admitted);
    let id = typed.id.clone();
    let reply =
        catch_unwind(AssertUnwindSafe(|| handler(typed))).unwrap_or_else(|_| internal_error(&id));
    let mut writer = request.into_writer();
    let written = catch_unwind(AssertUnwindSafe(|| {
        write_reply(&mut *writer, reply, &occasion)
    }));
    match written {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::debug!("the answer to {id} was not taken whole: {error}"),
        Err(_) => log::error!("the answer to {id} is cut short: its stream panicked"),
    }
    // Closes the inner connection, which is how the relay learns that the answer is complete.
    drop(writer);
    let _ = relay.join();
}

fn typed_request(request: &tiny_http::Request, admitted: Admitted) -> Request {
    Request {
        id: admitted.id,
        method: request.method().as_str().to_owned(),
        content_length: admitted.head.content_length(),
        path: admitted.head.path,
        query: admitted.head.query,
        headers: visible_fields(request),
        body: Box::new(admitted.body),
        room: Some(admitted.room),
        cancel: admitted.cancel,
        draining: admitted.draining,
        authenticated: admitted.authenticated,
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
