//! Starts and stops the edge and the inner tiny_http server.

use super::dispatch::{self, Handler};
use super::inner::InnerServer;
use crate::edge::{Edge, ServerConfig};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

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

    /// Stops accepting, fires every request's `draining`, lets requests finish for `grace`, then fires their `cancel` and
    /// waits for them a few seconds longer. Blocks until then.
    pub fn shutdown(mut self, grace: Duration) {
        self.edge.stop(grace);
        self.inner.close();
    }
}
