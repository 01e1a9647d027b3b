//! Wires the parts together; the whole API stands here as one match.

use crate::cancel::Cancel;
use crate::config::{Config, host_name};
use crate::docker::Client;
use crate::http::{Handler, Reply, Request, Server, ServerConfig};
use crate::mcp::{self, Mcp, Toolset};
use crate::problem::Problem;
use crate::rest;
use crate::runner::{Persistence, Runner, Settings};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long removal of what cancelled runs left may take at shutdown.
const REMOVAL_GRACE: Duration = Duration::from_secs(15);

/// A server with everything behind it.
pub struct App {
    server: Server,
    fronts: Fronts,
    grace: Duration,
}

/// What requests are answered from.
#[derive(Clone)]
struct Fronts {
    runner: Runner,
    mcp: Mcp,
    body_limit_bytes: u64,
}

/// The endpoints, as the start-up banner lists them.
pub const ENDPOINTS: &[(&str, &str, &str)] = &[
    ("POST", "/run", "run a container once"),
    ("GET", "/runs", "asynchronous runs"),
    ("GET", "/runs/{id}", "how one stands, its result"),
    ("GET", "/runs/{id}/events", "what it tells, from the start"),
    ("DELETE", "/runs/{id}", "cancel it"),
    ("POST", "/volume", "create and fill a named volume"),
    ("GET", "/volume/{name}", "its content"),
    ("DELETE", "/volume/{name}", "remove it"),
    ("GET", "/health", "whether the engine answers"),
    ("GET", "/policy", "what callers may ask for"),
    ("GET", "/docs", "this API, to read and to try in a browser"),
    ("GET", "/docs/{file}", "what the page loads"),
    ("GET", "/", "leads to /docs"),
    ("GET", "/metrics", "what it counts, for Prometheus"),
    ("GET", "/openapi.json", "this API, as OpenAPI 3.1"),
    ("POST", "/mcp", "MCP over Streamable HTTP"),
    ("GET", "/sse", "MCP over HTTP+SSE"),
    ("POST", "/messages", "its messages"),
];

/// What needs no token: nothing here tells more than that the service is there.
const OPEN_PATHS: &[&str] = &["/", "/docs", "/docs/", "/health", "/openapi.json"];

impl App {
    /// Binds and serves. Errors: the address cannot be bound, unreadable TLS files, no threads.
    pub fn start(config: &Config) -> Result<Self, String> {
        let client = client(config)?;
        let gate: Arc<std::sync::OnceLock<Fronts>> = Arc::default();
        let handler_gate = Arc::clone(&gate);
        let handler: Handler = Arc::new(move |request| match handler_gate.get() {
            Some(fronts) => route(fronts, request),
            None => Reply::problem(&Problem::new(503, "starting", "the server is starting")),
        });
        let server = Server::start(server_config(config), handler).map_err(|error| {
            format!("cannot listen on {}:{}: {error}", config.host, config.port)
        })?;
        // The port is part of the default instance name; who holds it has no live predecessor.
        let instance = instance(config, &server.local_addr().port().to_string());
        let runner = runner(config, client, (instance, Persistence::Engine))?;
        runner
            .patrol()
            .map_err(|error| format!("no thread for the reaper: {error}"))?;
        let mcp = Mcp::new(runner.clone(), mcp_settings(config))
            .map_err(|error| format!("no thread for MCP: {error}"))?;
        let fronts = Fronts {
            runner,
            mcp,
            body_limit_bytes: config.body_limit_bytes,
        };
        let _ = gate.set(fronts.clone());
        Ok(Self {
            server,
            fronts,
            grace: config.shutdown_grace,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> std::net::SocketAddr {
        self.server.local_addr()
    }

    /// Stops accepting, lets requests finish, cancels the rest, and leaves nothing in the engine.
    pub fn stop(self) {
        self.server.shutdown(self.grace);
        self.fronts.close();
    }
}

impl Fronts {
    fn close(&self) {
        self.mcp.close();
        match self.runner.close(Instant::now() + REMOVAL_GRACE) {
            0 => log::info!("stopped; nothing is left in the engine"),
            left => log::error!(
                "stopped; {left} runs or objects are left in the engine, for the next start to remove"
            ),
        }
    }
}

/// The `stdio` subcommand: MCP on standard input and output, until the input ends or `stop` fires.
pub fn stdio(config: &Config, stop: &Cancel) -> Result<(), String> {
    // Several may run at once beside a server, so each has a name of its own, whatever is configured.
    let place = format!("stdio:{}", std::process::id());
    let name = config.instance.clone().unwrap_or_else(host_name);
    let instance = format!("{name}:{place}");
    let runner = runner(config, client(config)?, (instance, Persistence::Process))?;
    runner
        .patrol()
        .map_err(|error| format!("no thread for the reaper: {error}"))?;
    let mcp = Mcp::new(runner.clone(), mcp_settings(config))
        .map_err(|error| format!("no thread for MCP: {error}"))?;
    let fronts = Fronts {
        runner,
        mcp,
        body_limit_bytes: config.body_limit_bytes,
    };
    let served = fronts.mcp.clone();
    let (ended, input_ended) = crossbeam_channel::bounded(1);
    std::thread::Builder::new()
        .name("mcp-stdin".into())
        .spawn(move || {
            let outcome = mcp::stdio::serve(&served, std::io::stdin().lock(), std::io::stdout());
            let _ = ended.send(outcome);
        })
        .map_err(|error| format!("no thread for stdin: {error}"))?;
    let outcome = crossbeam_channel::select! {
        recv(input_ended) -> outcome => outcome.unwrap_or(Ok(())),
        recv(stop.done()) -> _ => Ok(()),
    };
    fronts.close();
    outcome.map_err(|error| format!("stdin: {error}"))
}

fn mcp_settings(config: &Config) -> mcp::Settings {
    mcp::Settings {
        client_session_ids: config.client_session_ids,
        toolset: match config.mcp_test_tools {
            true => Toolset::WithTrials,
            false => Toolset::Own,
        },
        ..mcp::Settings::default()
    }
}

/// The `reap` subcommand: one sweep under this configuration's instance name.
pub fn reap(config: &Config) -> Result<u64, String> {
    let instance = instance(config, &config.port.to_string());
    runner(config, client(config)?, (instance, Persistence::Engine))?
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

fn instance(config: &Config, place: &str) -> String {
    config
        .instance
        .clone()
        .unwrap_or_else(|| format!("{}:{place}", host_name()))
}

fn runner(
    config: &Config,
    client: Client,
    (instance, lifetime): (String, Persistence),
) -> Result<Runner, String> {
    let settings = Settings {
        instance,
        max_concurrent_runs: config.max_concurrent_runs,
        queue_length: config.queue_length,
        pull_timeout: config.pull_timeout,
        retention: config.keeping,
        persistence: lifetime,
        policy: config.policy.clone(),
    };
    Runner::new(settings, client).map_err(|error| format!("no threads for the runner: {error}"))
}

fn server_config(config: &Config) -> ServerConfig {
    ServerConfig {
        host: config.host.clone(),
        port: config.port,
        auth_token: config.auth_token.clone(),
        open_paths: OPEN_PATHS.iter().map(|path| (*path).into()).collect(),
        route_of,
        allowed_hosts: config.allowed_hosts.clone(),
        allowed_origins: config.allowed_origins.clone(),
        body_limit_bytes: config.body_limit_bytes,
        body_memory_bytes: config.body_memory_bytes,
        head_timeout: Duration::from_secs(10),
        body_stall_timeout: Duration::from_secs(30),
        write_stall_timeout: Duration::from_secs(60),
    }
}

/// The whole API.
fn route(fronts: &Fronts, request: Request) -> Reply {
    let Fronts { runner, mcp, .. } = fronts;
    let method = request.method.clone();
    let path = request.path.clone();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match (method.as_str(), segments.as_slice()) {
        ("POST", ["run"]) => rest::run::post(runner, request),
        ("GET" | "HEAD", ["runs"]) => rest::runs::list(runner, &request),
        ("GET" | "HEAD", ["runs", id]) => rest::runs::get(runner, id),
        ("DELETE", ["runs", id]) => rest::runs::delete(runner, id),
        ("GET" | "HEAD", ["runs", id, "events"]) => rest::runs::events(runner, id, &request),
        ("POST", ["volume"]) => rest::volume::post(runner, request),
        ("GET" | "HEAD", ["volume", name]) => rest::volume::get(runner, name),
        ("DELETE", ["volume", name]) => rest::volume::delete(runner, name),
        ("GET" | "HEAD", ["health"]) => rest::health::get(runner),
        ("GET" | "HEAD", [""]) => rest::docs::redirect(),
        ("GET" | "HEAD", ["docs"]) => rest::docs::get(),
        ("GET" | "HEAD", ["docs", file]) => rest::docs::asset(file, &request),
        ("GET" | "HEAD", ["policy"]) => rest::policy::get(runner, fronts.body_limit_bytes),
        ("GET" | "HEAD", ["metrics"]) => rest::metrics::get(runner, mcp_occupancy(mcp)),
        ("GET" | "HEAD", ["openapi.json"]) => rest::openapi::get(),
        (_, ["mcp"]) => mcp.streamable(request),
        (_, ["sse"]) => mcp.sse(&request),
        (_, ["messages"]) => mcp.messages(request),
        _ => not_routed(&path),
    }
}

/// 405 with the path's methods, or 404. Whatever is routed here and can be got can be asked for its head alone.
fn not_routed(path: &str) -> Reply {
    let here = ENDPOINTS
        .iter()
        .filter(|endpoint| matches(endpoint.1, path));
    let allow = here
        .map(|endpoint| match endpoint.0 {
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

fn mcp_occupancy(mcp: &Mcp) -> rest::metrics::McpOccupancy {
    let [streams, sessions, calls] = mcp.census();
    rest::metrics::McpOccupancy {
        sessions: streams + sessions,
        calls,
    }
}

/// The template that a path belongs to, for metrics: whatever clients ask for, there are only so many.
fn route_of(path: &str) -> &'static str {
    let endpoint = ENDPOINTS.iter().find(|endpoint| matches(endpoint.1, path));
    endpoint.map_or("other", |endpoint| endpoint.1)
}

/// Whether a path is an instance of a template such as `/volume/{name}`.
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
