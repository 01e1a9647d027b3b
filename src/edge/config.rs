//! The server's configuration. `app` makes one [`ServerConfig`]; the edge keeps it and every connection reads it.

use crate::memory::MemoryBudget;
use std::time::Duration;

/// Where the server listens, who may call, and the limits and deadlines of each connection.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Host name or address to listen on. An IPv6 address may be in brackets.
    pub host: String,
    /// Port; 0 takes a free one.
    pub port: u16,
    /// Bearer token that every request must carry, except on [`RouteTable::open_paths`].
    pub auth_token: Option<String>,
    /// Host names allowed beyond loopback names, IP literals and single-label names; `*` globs.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may call, beyond the server's own; `*` globs.
    pub allowed_origins: Vec<String>,
    /// Largest request body, in bytes.
    pub body_limit_bytes: u64,
    /// The memory budget, from which request bodies are taken.
    pub memory: MemoryBudget,
    /// Deadline for a whole request head.
    pub head_timeout: Duration,
    /// Longest pause within a request body.
    pub body_stall_timeout: Duration,
    /// Longest time without progress when writing a response.
    pub write_stall_timeout: Duration,
    /// What the edge has to know of the API.
    pub routes: RouteTable,
    /// What web pages of other origins may send and read.
    pub cors: CorsPolicy,
}

/// What the edge has to know of the API that it serves. It passes every admitted request on, whatever its path.
#[derive(Clone, Copy, Debug)]
pub struct RouteTable {
    /// The path of the health check, which is also served on the connections that are reserved for it.
    pub health_path: &'static str,
    /// Paths that need no token: exact, or a prefix when they end in `/` (but `/` itself is exact).
    pub open_paths: &'static [&'static str],
    /// Request header fields of the API, in lower case, that must not come twice.
    pub single_fields: &'static [&'static str],
    /// Maps a path to its template, which metrics use as label. The number of templates must be fixed.
    pub template_of: fn(&str) -> &'static str,
}

/// The response fields of CORS (<https://fetch.spec.whatwg.org/#http-responses>) that do not depend on the request.
#[derive(Clone, Copy, Debug)]
pub struct CorsPolicy {
    /// `Access-Control-Allow-Methods`: methods that a page may use.
    pub methods: &'static str,
    /// `Access-Control-Allow-Headers`: request header fields that a page may send.
    pub request_fields: &'static str,
    /// `Access-Control-Expose-Headers`: response header fields that a page may read.
    pub response_fields: &'static str,
    /// `Access-Control-Max-Age`: how long a browser may cache the answer to a preflight.
    pub max_age_secs: u32,
}
