//! Starts the edge and the inner tiny_http server and runs a handler for each request.

use super::inner::Inner;
use super::{Reply, Request, dispatch};
use crate::edge::{Deadlines, Edge, Policy, Settings};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What answers requests. Runs on a pool thread, may block; a panic in it becomes a 500 for that request only.
pub type Handler = Arc<dyn Fn(Request) -> Reply + Send + Sync>;

/// How the server listens and what it lets in.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Host name or address to listen on.
    pub host: String,
    /// Port; 0 takes a free one.
    pub port: u16,
    /// Bearer token every request must carry, except on `open_paths`.
    pub auth_token: Option<String>,
    /// Paths that need no token: exact, or a prefix when they end in `/` (but `/` itself is exact).
    pub open_paths: Vec<String>,
    /// The template that a path belongs to, which stands for it in metrics.
    pub route_of: fn(&str) -> &'static str,
    /// Host names allowed beyond loopback names, IP literals and single-label names; `*` globs.
    pub allowed_hosts: Vec<String>,
    /// Origins allowed to call from a browser (CORS) beyond the server's own; `*` globs.
    pub allowed_origins: Vec<String>,
    /// Largest request body, in bytes.
    pub body_limit_bytes: u64,
    /// Bytes of all request bodies that are held at once.
    pub body_memory_bytes: u64,
    /// Deadline for a whole request head.
    pub head_timeout: Duration,
    /// Longest pause within a request body.
    pub body_stall_timeout: Duration,
    /// Longest time without progress when writing an answer.
    pub write_stall_timeout: Duration,
}

/// A running server.
pub struct Server {
    edge: Edge,
    inner: Arc<Inner>,
}

impl Server {
    /// Binds and serves. Errors: the address cannot be bound, or no private directory for the inner socket.
    pub fn start(config: ServerConfig, handler: Handler) -> std::io::Result<Self> {
        let inner = Arc::new(Inner::start()?);
        let service = {
            let inner = Arc::clone(&inner);
            Arc::new(move |admitted| dispatch::serve(&inner, &handler, admitted))
        };
        let edge = Edge::start(settings(config), service)?;
        Ok(Self { edge, inner })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.edge.address()
    }

    /// Stops accepting, fires every request's `draining`, lets requests finish for `grace`, then fires their
    /// `cancel` and waits for them (bounded). Returns once no request is left.
    pub fn shutdown(mut self, grace: Duration) {
        self.edge.stop(grace);
        self.inner.close();
    }
}

fn settings(config: ServerConfig) -> Settings {
    Settings {
        host: config.host,
        port: config.port,
        route_of: config.route_of,
        body_memory_bytes: config.body_memory_bytes,
        policy: Policy {
            auth_token: config.auth_token,
            open_paths: config.open_paths,
            allowed_hosts: config.allowed_hosts,
            allowed_origins: config.allowed_origins,
            body_limit_bytes: config.body_limit_bytes,
        },
        deadlines: Deadlines {
            head: config.head_timeout,
            body_stall: config.body_stall_timeout,
            write_stall: config.write_stall_timeout,
        },
    }
}
