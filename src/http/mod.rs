//! The inner HTTP server: one typed request in, one typed reply out, on a thread pool.
//!
//! Handlers see only [`Request`] and [`Reply`]; that an edge owns the client's socket is not their business.

mod accept;
mod dispatch;
mod event_stream;
mod inner;
mod private;
mod reply;
mod request;
mod server;

pub use crate::edge::BodyReservation;
pub use accept::{Accept, Preference};
pub use event_stream::{EVENT_STREAM, KEEP_ALIVE, ServerSentEvent};
pub use reply::{Body as ReplyBody, Reply, StreamWriter, WriteBody, WriteStream};
pub use request::{BodyError, Request};
pub use server::{Handler, Server, ServerConfig};
