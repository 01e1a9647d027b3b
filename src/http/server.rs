//! Starts the edge and the inner tiny_http server and runs a handler for each request.

use super::{Reply, Request};
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
    /// Paths that need no token: exact, or a prefix when they end in `/`.
    pub open_paths: Vec<String>,
    /// Host names allowed beyond loopback names, IP literals and single-label names; `*` globs.
    pub allowed_hosts: Vec<String>,
    /// Origins allowed to call from a browser (CORS) beyond the server's own; `*` globs.
    pub allowed_origins: Vec<String>,
    /// Largest request body, in bytes.
    pub body_limit_bytes: u64,
    /// Deadline for a whole request head.
    pub head_timeout: Duration,
    /// Longest pause within a request body.
    pub body_stall_timeout: Duration,
    /// Longest time without progress when writing an answer.
    pub write_stall_timeout: Duration,
}

/// A running server.
pub struct Server {}

impl Server {
    /// Binds and serves. Errors: the address cannot be bound, or no private directory for the inner socket.
    pub fn start(config: ServerConfig, handler: Handler) -> std::io::Result<Self> {
        let _ = (config, handler);
        unimplemented!()
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        unimplemented!()
    }

    /// Stops accepting, fires every request's `draining`, lets requests finish for `grace`, then fires their
    /// `cancel` and waits for them (bounded). Returns once no request is left.
    pub fn shutdown(self, grace: Duration) {
        let _ = grace;
        unimplemented!()
    }
}
