//! The inner HTTP server: one typed request in, one typed reply out, on a thread pool.
//!
//! Handlers see only [`Request`] and [`Reply`]; that an edge owns the client's socket is not their business.

mod dispatch;
mod inner;
mod reply;
mod request;
mod server;
mod socket_directory;

pub use crate::edge::BodyReservation;
pub use reply::{Body as ReplyBody, Reply, StreamWriter, WriteBody, WriteStream};
pub use request::{BodyError, Request};
pub use server::{Handler, Server, ServerConfig};
