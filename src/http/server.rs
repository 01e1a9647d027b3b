//! Starts and stops the edge and the inner tiny_http server.

use super::dispatch::{self, Handler};
use super::inner::InnerServer;
use crate::edge::{Edge, ServerConfig};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// A running server.
pub struct Server {
    edge: Edge,
    inner: Arc<InnerServer>,
}

impl Server {
    /// Binds and serves. Errors: the address cannot be bound, or no private directory for the inner socket.
    pub fn start(config: ServerConfig, handler: Handler) -> std::io::Result<Self> {
        let inner = Arc::new(InnerServer::start()?);
        let service = {
            let inner = Arc::clone(&inner);
            Arc::new(move |admitted| dispatch::serve(&inner, &handler, admitted))
        };
        let edge = Edge::start(config, service)?;
        Ok(Self { edge, inner })
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.edge.address()
    }

    /// First step of a shutdown: stops accepting, fires every request's `draining`, and blocks until all requests have
    /// finished, at most until `deadline`.
    pub fn drain(&mut self, deadline: Instant) {
        self.edge.drain(deadline);
    }

    /// Second step: fires the `cancel` of every request that has not finished. Does not wait.
    pub fn cancel(&self) {
        self.edge.cancel();
    }

    /// Third step: blocks until the cancelled requests have ended, at most until `deadline`, and then shuts the connections of
    /// the others down.
    pub fn close(self, deadline: Instant) {
        self.edge.close(deadline);
        self.inner.close();
    }
}
