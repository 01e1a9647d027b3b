//! Makes the parts from the configuration and connects them. The whole API is the one match in `route`.

use crate::cancel::Cancel;
use crate::config::{Config, host_name};
use crate::docker::Client;
use crate::http::{CorsPolicy, Handler, Reply, Request, RouteTable, Server, ServerConfig};
use crate::mcp::{self, Mcp, Toolset};
use crate::problem::Problem;
use crate::rest;
use crate::rest::live::Live;
use crate::runner::{Persistence, Runner, Settings};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const BODY_STALL_TIMEOUT: Duration = Duration::from_secs(30);
const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server with everything behind it.
pub struct App {
    server: Server,
    services: Services,
    shutdown_grace: Duration,
}

/// What requests are answered with.
#[derive(Clone)]
struct Services {
    runner: Runner,
    mcp: Mcp,
    live: Live,
    /// A limit of the edge, which `/policy` reports.
    body_limit_bytes: u64,
}

/// One method of one path, as the start-up banner lists it.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// HTTP method.
    pub method: &'static str,
    /// Path, or a template of paths such as `/runs/{id}`.
    pub path: &'static str,
    /// What it is for.
    pub summary: &'static str,
}

const fn endpoint(method: &'static str, path: &'static str, summary: &'static str) -> Endpoint {
    Endpoint {
        method,
        path,
        summary,
    }
}

/// Every endpoint. `route` serves them; this list is for the banner, for 405 responses and for metrics.
pub const ENDPOINTS: &[Endpoint] = &[
    endpoint("POST", "/run", "run a container once"),
    endpoint("GET", "/runs", "what runs and what ran"),
    endpoint("GET", "/runs/{id}", "the state of one, its result"),
    endpoint("GET", "/runs/{id}/events", "its events, as they happen"),
    endpoint("DELETE", "/runs/{id}", "cancel it"),
    endpoint("GET", "/events", "what changes, for the page"),
    endpoint("GET", "/images", "images that the engine has"),
    endpoint("POST", "/volume", "create and fill a named volume"),
    endpoint("GET", "/volume/{name}", "its content"),
    endpoint("DELETE", "/volume/{name}", "remove it"),
    endpoint("GET", "/health", "whether the engine answers"),
    endpoint("GET", "/policy", "what callers may ask for"),
    endpoint("GET", "/docs", "this API, to read and to try in a browser"),
    endpoint("GET", "/docs/{file}", "what the page loads"),
    endpoint("GET", "/", "a page to watch and to run containers"),
    endpoint("GET", "/page/{file}", "what it loads"),
    endpoint("GET", "/metrics", "what it counts, for Prometheus"),
    endpoint("GET", "/openapi.json", "this API, as OpenAPI 3.1"),
    endpoint("POST", "/mcp", "MCP over Streamable HTTP"),
    endpoint("GET", "/sse", "MCP over HTTP+SSE"),
    endpoint("POST", "/messages", "its messages"),
];

/// What the edge has to know of these endpoints.
const ROUTES: RouteTable = RouteTable {
    health_path: "/health",
    // They reveal nothing but that the service is there.
    open_paths: &["/", "/docs", "/docs/", "/health", "/openapi.json", "/page/"],
    single_fields: &[
        "idempotency-key",
        "last-event-id",
        "mcp-session-id",
        "mcp-protocol-version",
        "mcp-method",
        "mcp-name",
    ],
    template_of,
};

/// What web pages of allowed origins may send and read.
pub const CORS: CorsPolicy = CorsPolicy {
    methods: "GET, POST, DELETE, OPTIONS",
    request_fields: "Content-Type, Content-Encoding, Accept, Authorization, Mcp-Session-Id, MCP-Protocol-Version, Last-Event-ID, \
         Mcp-Method, Mcp-Name, Prefer, Idempotency-Key, X-Request-Id",
    response_fields: "Mcp-Session-Id, Location, Preference-Applied, Retry-After, X-Request-Id",
    max_age_secs: 600,
};

impl App {
    /// Binds and serves. Errors: the address cannot be bound, unreadable TLS files, no threads.
    pub fn start(config: &Config) -> Result<Self, String> {
        let client = client(config)?;
        let ready: Arc<OnceLock<Services>> = Arc::default();
        let server =
            Server::start(server_config(config), handler(Arc::clone(&ready))).map_err(|error| {
                format!("cannot listen on {}:{}: {error}", config.host, config.port)
            })?;
        // After binding, because the default instance name contains the port: while this server holds it, no other server
        // on this host can have the same name.
        let instance = instance(config, server.local_addr().port());
        let services = Services::start(config, client, instance, Persistence::Engine)?;
        let _ = ready.set(services.clone());
        Ok(Self {
            server,
            services,
            shutdown_grace: config.shutdown_grace,
        })
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> std::net::SocketAddr {
        self.server.local_addr()
    }

    /// Stops accepting, lets requests finish for a part of the grace period, cancels the others, and removes what they left in
    /// the engine. Blocks until then, never longer than the grace period.
    pub fn stop(mut self) {
        let shutdown = Shutdown::new(Instant::now(), self.shutdown_grace);
        self.server.drain(shutdown.cancel);
        self.server.cancel();
        self.services.cancel();
        self.server.close(shutdown.disconnect);
        self.services.close(shutdown.end);
    }
}

/// When the steps of a shutdown begin. All of them together take no longer than one grace period: the sender of SIGTERM,
/// such as `docker stop`, sends SIGKILL after that.
#[derive(Clone, Copy, Debug)]
struct Shutdown {
    /// When requests are cancelled that have not finished.
    cancel: Instant,
    /// When connections are shut down whose requests have not ended although they were cancelled.
    disconnect: Instant,
    /// When waiting for removals ends. The rest of the grace period is for the end of the process.
    end: Instant,
}

/// Time for cancelled runs to end and to be removed, if the grace period has that much.
const CANCEL_TIME: Duration = Duration::from_secs(2);

const LONGEST_GRACE: Duration = Duration::from_secs(365 * 24 * 3600);

impl Shutdown {
    fn new(begin: Instant, grace: Duration) -> Self {
        // A longer one cannot be added to the present.
        let grace = grace.min(LONGEST_GRACE);
        let cancel_time = grace.mul_f64(0.4).max(CANCEL_TIME).min(grace);
        let after = |time: Duration| begin + time;
        Self {
            cancel: after(grace - cancel_time),
            disconnect: after(grace.mul_f64(0.85)),
            end: after(grace.mul_f64(0.95)),
        }
    }
}

impl Services {
    /// Makes the runner, starts its reaper, and makes MCP on top of it. Errors: no threads.
    fn start(
        config: &Config,
        client: Client,
        instance: String,
        persistence: Persistence,
    ) -> Result<Self, String> {
        let runner = runner(config, client, instance, persistence)?;
        runner
            .patrol()
            .map_err(|error| format!("no thread for the reaper: {error}"))?;
        let mcp = Mcp::new(runner.clone(), mcp_settings(config))
            .map_err(|error| format!("no thread for MCP: {error}"))?;
        Ok(Self {
            live: Live::new(&runner),
            runner,
            mcp,
            body_limit_bytes: config.body_limit_bytes,
        })
    }

    /// Cancels all runs, except the asynchronous ones that the next server resumes. Does not wait for them.
    fn cancel(&self) {
        self.mcp.cancel();
        self.runner.cancel_all();
    }

    /// Cancels all runs and removes what they left in the engine. Blocks until then, at most until `deadline`.
    fn close(&self, deadline: Instant) {
        self.cancel();
        self.mcp.shut_down(deadline);
        match self.runner.close(deadline) {
            0 => log::info!("stopped; nothing is left in the engine"),
            left => log::error!(
                "stopped; {left} runs or objects are left in the engine, for the next start to remove"
            ),
        }
    }
}

/// The `stdio` subcommand: serves MCP on standard input and output. Blocks until the input ends or `stop` fires.
pub fn stdio(config: &Config, stop: &Cancel) -> Result<(), String> {
    // The name contains the process id, even if an instance name is configured: several may run at once beside a server.
    let name = config.instance.clone().unwrap_or_else(host_name);
    let instance = format!("{name}:stdio:{}", std::process::id());
    let services = Services::start(config, client(config)?, instance, Persistence::Process)?;
    let mcp = services.mcp.clone();
    let grace = config.shutdown_grace.min(LONGEST_GRACE);
    let flush_timeout = grace.mul_f64(0.5);
    let (ended, input_ended) = crossbeam_channel::bounded(1);
    std::thread::Builder::new()
        .name("mcp-stdin".into())
        .spawn(move || {
            let outcome = mcp::stdio::serve(
                &mcp,
                std::io::stdin().lock(),
                std::io::stdout(),
                flush_timeout,
            );
            let _ = ended.send(outcome);
        })
        .map_err(|error| format!("no thread for stdin: {error}"))?;
    let (outcome, time_left) = crossbeam_channel::select! {
        recv(input_ended) -> outcome => (outcome.unwrap_or(Ok(())), grace - flush_timeout),
        recv(stop.done()) -> _ => (Ok(()), grace),
    };
    services.close(Instant::now() + time_left.mul_f64(0.95));
    outcome.map_err(|error| format!("stdin: {error}"))
}

/// The `reap` subcommand: removes once what earlier servers of this instance name left. Returns how many objects.
pub fn reap(config: &Config) -> Result<u64, String> {
    let instance = instance(config, config.port);
    runner(config, client(config)?, instance, Persistence::Engine)?
        .sweep()
        .map_err(|error| error.to_string())
}

fn client(config: &Config) -> Result<Client, String> {
    Client::new(
        config.docker_host.clone(),
        config.docker_api_version.clone(),
    )
    .map_err(|error| error.to_string())
}

/// The configured instance name, or host name and port.
fn instance(config: &Config, port: u16) -> String {
    config
        .instance
        .clone()
        .unwrap_or_else(|| format!("{}:{port}", host_name()))
}

fn runner(
    config: &Config,
    client: Client,
    instance: String,
    persistence: Persistence,
) -> Result<Runner, String> {
    let settings = Settings {
        instance,
        max_concurrent_runs: config.max_concurrent_runs,
        queue_length: config.queue_length,
        pull_timeout: config.pull_timeout,
        init: config.init,
        warm: config.warm.clone(),
        retention: config.retention,
        // Whatever was accepted can be read again; beside its content a record has little.
        max_record_bytes: config
            .body_limit_bytes
            .max(config.retention.max_result_bytes)
            + (1 << 20),
        persistence,
        policy: config.policy.clone(),
        memory: config.memory.clone(),
    };
    Runner::new(settings, client).map_err(|error| format!("no threads for the runner: {error}"))
}

fn mcp_settings(config: &Config) -> mcp::Settings {
    mcp::Settings {
        client_session_ids: config.client_session_ids,
        toolset: match config.mcp_test_tools {
            true => Toolset::WithConformance,
            false => Toolset::Own,
        },
        ..mcp::Settings::default()
    }
}

fn server_config(config: &Config) -> ServerConfig {
    ServerConfig {
        host: config.host.clone(),
        port: config.port,
        auth_token: config.auth_token.clone(),
        allowed_hosts: config.allowed_hosts.clone(),
        allowed_origins: config.allowed_origins.clone(),
        body_limit_bytes: config.body_limit_bytes,
        memory: config.memory.clone(),
        head_timeout: HEAD_TIMEOUT,
        body_stall_timeout: BODY_STALL_TIMEOUT,
        write_stall_timeout: WRITE_STALL_TIMEOUT,
        routes: ROUTES,
        cors: CORS,
    }
}

/// Answers 503 until the services are ready, because the port is bound before they are made. That is a matter of milliseconds:
/// nothing at the start waits for the engine.
fn handler(ready: Arc<OnceLock<Services>>) -> Handler {
    Arc::new(move |request| match ready.get() {
        Some(services) => route(services, request),
        None => Reply::problem(&Problem::new(503, "starting", "the server is starting"))
            .with_header("Retry-After", "1".to_owned()),
    })
}

/// The whole API.
fn route(services: &Services, request: Request) -> Reply {
    let Services { runner, mcp, .. } = services;
    let method = request.method.clone();
    let path = request.path.clone();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match (method.as_str(), segments.as_slice()) {
        ("POST", ["run"]) => rest::run::post(runner, request),
        ("GET" | "HEAD", ["runs"]) => rest::runs::list(runner, &request),
        ("GET" | "HEAD", ["runs", id]) => rest::runs::get(runner, id),
        ("DELETE", ["runs", id]) => rest::runs::delete(runner, id, &request),
        ("GET" | "HEAD", ["runs", id, "events"]) => rest::runs::events(runner, id, &request),
        ("POST", ["volume"]) => rest::volume::post(runner, request),
        ("GET" | "HEAD", ["volume", name]) => rest::volume::get(runner, name),
        ("DELETE", ["volume", name]) => rest::volume::delete(runner, name),
        ("GET" | "HEAD", ["health"]) => rest::health::get(runner),
        ("GET" | "HEAD", ["events"]) => services.live.events(&request),
        ("GET" | "HEAD", ["images"]) => rest::images::get(runner),
        ("GET" | "HEAD", [""]) => rest::page::get(&request),
        ("GET" | "HEAD", ["page", file]) => rest::page::file(file, &request),
        ("GET" | "HEAD", ["docs"]) => rest::docs::get(&request),
        ("GET" | "HEAD", ["docs", file]) => rest::docs::asset(file, &request),
        ("GET" | "HEAD", ["policy"]) => rest::policy::get(runner, services.body_limit_bytes),
        ("GET" | "HEAD", ["metrics"]) => rest::metrics::get(runner, mcp_occupancy(mcp)),
        ("GET" | "HEAD", ["openapi.json"]) => rest::openapi::get(&request),
        (_, ["mcp"]) => mcp::streamable_http::answer(mcp, request),
        (_, ["sse"]) => mcp::http_sse::open(mcp, &request),
        (_, ["messages"]) => mcp::http_sse::post(mcp, request),
        // `OPTIONS *`, which asks about the server itself (RFC 9110 §9.3.7).
        ("OPTIONS", []) => Reply::empty(204).with_header("Allow", CORS.methods),
        _ => not_routed(&path),
    }
}

/// 405 with the methods of the path, or 404. GET endpoints also serve HEAD.
fn not_routed(path: &str) -> Reply {
    let allow = ENDPOINTS
        .iter()
        .filter(|endpoint| matches(endpoint.path, path))
        .map(|endpoint| match endpoint.method {
            "GET" => "GET, HEAD",
            method => method,
        })
        .collect::<Vec<_>>()
        .join(", ");
    if allow.is_empty() {
        return not_found();
    }
    let detail = format!("this path takes {allow}");
    Reply::problem(&Problem::new(405, "method_not_allowed", detail)).with_header("Allow", allow)
}

fn mcp_occupancy(mcp: &Mcp) -> rest::metrics::McpCounts {
    let counts = mcp.counts();
    rest::metrics::McpCounts {
        sessions: counts.sse_sessions + counts.http_sessions,
        calls: counts.calls,
    }
}

/// The template of a path, for metrics; `other` for paths without an endpoint, so that the number of labels is fixed.
fn template_of(path: &str) -> &'static str {
    let mut endpoints = ENDPOINTS.iter();
    let endpoint = endpoints.find(|endpoint| matches(endpoint.path, path));
    endpoint.map_or("other", |endpoint| endpoint.path)
}

/// Whether a path matches a template such as `/volume/{name}`.
fn matches(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template
            .zip(path)
            .all(|(expected, given)| expected == given || expected.starts_with('{'))
}

fn not_found() -> Reply {
    Reply::problem(&Problem::new(
        404,
        "not_found",
        "there is nothing at this path",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_ends_within_its_grace_period_and_leaves_time_after_cancelling() {
        let begin = Instant::now();
        for (grace_ms, cancel_ms) in [
            (10_000, 6_000),
            (60_000, 36_000),
            (3_000, 1_000),
            (500, 0),
            (0, 0),
        ] {
            let grace = Duration::from_millis(grace_ms);
            let shutdown = Shutdown::new(begin, grace);
            assert_eq!(shutdown.cancel, begin + Duration::from_millis(cancel_ms));
            assert!(shutdown.cancel <= shutdown.disconnect);
            assert!(shutdown.disconnect <= shutdown.end && shutdown.end <= begin + grace);
        }
    }
}
