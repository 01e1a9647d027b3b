//! Owns every client socket: accepts, reads one strict head per connection, guards it, streams the body in and the
//! answer out, notices when the client leaves, and closes so that the last answer arrives. Knows no route and no handler.

mod body;
mod body_budget;
mod chunked;
mod client;
mod connection;
mod connections;
mod guard;
mod head;
mod ids;
mod linger;
mod listener;
mod minimum_rate;
mod refusal;
mod relay;
mod responder;
mod response_head;
mod target;

pub(crate) use body::BodyFault;
pub use body_budget::BodyReservation;
pub(crate) use connection::Admitted;
pub(crate) use guard::Policy;
pub(crate) use head::Head;
#[cfg(test)]
pub(crate) use head::vetted;
pub(crate) use listener::{Deadlines, Edge, Settings};
pub(crate) use response_head::{Delimiter, write_head};
