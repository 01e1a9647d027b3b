//! Serves HTTP: the edge, the inner tiny_http server behind it, and one handler for all requests, which runs on the
//! connection's own thread.
//!
//! Handlers see a typed [`Request`] and return a typed [`Reply`]; they never see a socket.

mod accept;
mod dispatch;
mod event_stream;
mod forwarded;
mod inner;
mod media_type;
mod reply;
mod request;
mod server;
mod socket_directory;

pub use crate::edge::{BodyError, CorsPolicy, RouteTable, ServerConfig};
pub use accept::{Accept, Preference};
pub use dispatch::Handler;
pub use event_stream::{EVENT_STREAM, KEEP_ALIVE, ServerSentEvent};
pub use reply::{Body as ReplyBody, Reply, StreamWriter, WriteBody, WriteStream};
pub use request::Request;
pub use server::Server;
