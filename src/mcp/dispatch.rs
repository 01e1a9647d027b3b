//! The methods of the protocol: from a request and its context to a result. Knows no transport.

use super::client::ClientState;
use super::context::CallContext;
use super::jsonrpc::{Code, Error, Request, for_echo};
use super::logging::{ClientLog, LoggingLevel};
use super::progress::{self, ProgressTicker};
use super::protocol::{self, Era, Revision};
use super::tools::{self, Backend, Tool, Toolset, conformance};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// How long a client may cache the list of tools (2026-07-28), in milliseconds.
const LIST_TTL_MS: u64 = 3_600_000;

const INSTRUCTIONS: &str = "\
Runs Docker containers, one per call, and gives back exit code, output and files. Start with run_container: give it an \
image, a command and text files, and ask for files back with `response: true`. Nothing survives a run except named \
volumes (create_volume, read_volume). What takes longer than a minute runs with `detach: true`: run_status, run_logs, \
cancel_run and list_runs are for such runs. An error result says what to correct.";

/// Answers requests by method.
pub(super) struct Dispatcher {
    backend: Arc<dyn Backend>,
    /// The `tools` of `tools/list`.
    tools: Vec<Value>,
    toolset: Toolset,
    ticker: ProgressTicker,
}

/// Whether answering may take long, so that it needs a thread of its own.
pub(super) fn is_long(request: &Request) -> bool {
    request.method == "tools/call"
}

impl Dispatcher {
    /// A dispatcher for these tools, which use this backend.
    pub(super) fn new(backend: Arc<dyn Backend>, toolset: Toolset, ticker: ProgressTicker) -> Self {
        Self {
            backend,
            tools: tools::definitions(toolset),
            toolset,
            ticker,
        }
    }

    /// Ends the progress thread and waits for it.
    pub(super) fn close(&self) {
        self.ticker.close();
    }

    /// Answers a request. Blocks until the result is there; firing the context's cancel token ends a tool call early.
    pub(super) fn answer(&self, request: &Request, context: CallContext) -> Result<Value, Error> {
        match context.era {
            Era::Handshake => self.handshake(request, context),
            Era::Stateless => self.stateless(request, context),
        }
    }

    fn handshake(&self, request: &Request, context: CallContext) -> Result<Value, Error> {
        match request.method.as_str() {
            "initialize" => Ok(initialize(&request.params, &context.client)),
            "ping" => Ok(json!({})),
            "logging/setLevel" => set_level(&request.params, &context.client),
            "tools/list" => self.list(&request.params),
            "tools/call" => {
                let level = Some(context.client.log_level());
                self.call(request, self.for_call(context, request, level))
            }
            other => Err(unknown_method(other)),
        }
    }

    fn stateless(&self, request: &Request, context: CallContext) -> Result<Value, Error> {
        let result = match request.method.as_str() {
            "server/discover" => Ok(cacheable(discover())),
            "tools/list" => self.list(&request.params).map(cacheable),
            "tools/call" => {
                let meta = protocol::meta(&request.params);
                let level = meta.and_then(|meta| meta.get(protocol::META_LOG_LEVEL));
                let level = level
                    .and_then(Value::as_str)
                    .and_then(LoggingLevel::from_name);
                self.call(request, self.for_call(context, request, level))
            }
            other => Err(unknown_method(other)),
        };
        result.map(complete)
    }

    fn list(&self, params: &Map<String, Value>) -> Result<Value, Error> {
        match params.get("cursor") {
            None | Some(Value::Null) => Ok(json!({"tools": self.tools})),
            Some(_) => Err(invalid("there is one page only: no cursor is valid")),
        }
    }

    /// The context with what only a tool call needs: its log, and its progress if the client sent a token.
    fn for_call(
        &self,
        context: CallContext,
        request: &Request,
        log_level: Option<LoggingLevel>,
    ) -> CallContext {
        let token = progress::token(protocol::meta(&request.params));
        let progress = token.map(|token| self.ticker.progress(token, Arc::clone(&context.sender)));
        CallContext {
            log: ClientLog::new(Arc::clone(&context.sender), log_level),
            progress,
            ..context
        }
    }

    fn call(&self, request: &Request, context: CallContext) -> Result<Value, Error> {
        let Some(name) = request.params.get("name").and_then(Value::as_str) else {
            return Err(invalid("name must be a string"));
        };
        let arguments = request.params.get("arguments");
        let result = match Tool::from_name(name) {
            Some(tool) => Ok(tools::call(
                tool,
                arguments,
                self.backend.as_ref(),
                &context,
            )),
            None => self.call_conformance(name, request, &context),
        };
        if let Some(progress) = &context.progress {
            progress.finish();
        }
        result
    }

    fn call_conformance(
        &self,
        name: &str,
        request: &Request,
        context: &CallContext,
    ) -> Result<Value, Error> {
        let unknown = || invalid(&format!("unknown tool: {}", for_echo(name)));
        if self.toolset == Toolset::Own {
            return Err(unknown());
        }
        let meta = protocol::meta(&request.params);
        let capabilities = meta.and_then(|meta| meta.get(protocol::META_CAPABILITIES));
        if conformance::needs_sampling(name)
            && capabilities.is_some_and(|all| all.get("sampling").is_none())
        {
            let data = json!({"requiredCapabilities": {"sampling": {}}});
            let what = "the client did not declare sampling";
            return Err(Error::new(Code::MissingCapability, what).with_data(data));
        }
        conformance::call(name, context).ok_or_else(unknown)
    }
}

fn initialize(params: &Map<String, Value>, client: &ClientState) -> Value {
    let requested = params.get("protocolVersion").and_then(Value::as_str);
    let revision = Revision::negotiate(requested);
    client.set_revision(revision);
    json!({
        "protocolVersion": revision.name(),
        "capabilities": capabilities(),
        "serverInfo": server(),
        "instructions": INSTRUCTIONS,
    })
}

fn discover() -> Value {
    json!({
        "supportedVersions": Revision::ALL.map(Revision::name),
        "capabilities": capabilities(),
        "instructions": INSTRUCTIONS,
    })
}

fn capabilities() -> Value {
    json!({"tools": {}, "logging": {}})
}

fn server() -> Value {
    json!({
        "name": "oneoff-docker-runner",
        "title": "One-off Docker runner",
        "version": env!("CARGO_PKG_VERSION"),
    })
}

fn set_level(params: &Map<String, Value>, client: &ClientState) -> Result<Value, Error> {
    let level = params.get("level").and_then(Value::as_str);
    let level = level
        .and_then(LoggingLevel::from_name)
        .ok_or_else(|| invalid("level must be one of RFC 5424's, such as info"))?;
    client.set_log_level(level);
    Ok(json!({}))
}

/// Adds the members that every stateless result has.
fn complete(mut result: Value) -> Value {
    result["resultType"] = json!("complete");
    result["_meta"] = json!({protocol::META_SERVER: server()});
    result
}

/// Adds the members that a cacheable result has (2026-07-28).
fn cacheable(mut result: Value) -> Value {
    result["ttlMs"] = json!(LIST_TTL_MS);
    result["cacheScope"] = json!("public");
    result
}

fn invalid(what: &str) -> Error {
    Error::new(Code::InvalidParams, format!("Invalid params: {what}"))
}

fn unknown_method(method: &str) -> Error {
    let text = format!("Method not found: {}", for_echo(method));
    Error::new(Code::MethodNotFound, text)
}
