//! The protocol as one function from a request and its context to a result. It knows no transport; what a request
//! tells on the way goes to the context's sender.

use super::jsonrpc::{Code, Error, Request};
use super::outgoing::{Journal, MessageSender};
use super::progress::{self, ProgressTicker};
use super::protocol::{self, Era, Level, Peer, Revision};
use super::tools::{self, CallContext, Containers, Tool, Toolset, conformance};
use crate::cancel::Cancel;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// How long a client may keep the list of tools (2026-07-28), in milliseconds.
const LIST_TTL_MS: u64 = 3_600_000;

const INSTRUCTIONS: &str = "\
Runs Docker containers, one per call, and gives back exit code, output and files. Start with run_container: give it an \
image, a command and text files, and ask for files back with `response: true`. Nothing survives a run except named \
volumes (create_volume, read_volume). What takes longer than a minute runs with `detach: true`: run_status, run_logs, \
cancel_run and list_runs are for such runs. An error result says what to correct.";

/// What the server has for every request.
pub(super) struct Service {
    containers: Arc<dyn Containers>,
    tools: Vec<Value>,
    toolset: Toolset,
}

/// What surrounds one request.
pub(super) struct Context<'a> {
    /// What is remembered of the peer.
    pub peer: &'a Peer,
    /// What an `MCP-Protocol-Version` header declared.
    pub declared: Option<Revision>,
    /// Fires when the answer is not wanted any more.
    pub cancel: &'a Cancel,
    /// Where notifications go.
    pub sender: Arc<dyn MessageSender>,
    /// What keeps progress beating.
    pub beats: &'a ProgressTicker,
}

/// Whether answering may take long, so that it belongs on a thread of its own.
pub(super) fn is_long(request: &Request) -> bool {
    request.method == "tools/call"
}

impl Service {
    /// A service of these tools on these containers.
    pub(super) fn new(containers: Arc<dyn Containers>, toolset: Toolset) -> Self {
        Self {
            containers,
            tools: tools::definitions(toolset),
            toolset,
        }
    }

    /// Answers a request.
    pub(super) fn answer(&self, request: &Request, context: &Context<'_>) -> Result<Value, Error> {
        match Era::of(request, context.declared)? {
            Era::Handshake => self.handshake(request, context),
            Era::Stateless => self.stateless(request, context),
        }
    }

    fn handshake(&self, request: &Request, context: &Context<'_>) -> Result<Value, Error> {
        match request.method.as_str() {
            "initialize" => Ok(initialize(&request.params, context.peer)),
            "ping" => Ok(json!({})),
            "logging/setLevel" => set_level(&request.params, context.peer),
            "tools/list" => self.list(&request.params),
            "tools/call" => self.call(request, context, Some(context.peer.level())),
            other => Err(unknown_method(other)),
        }
    }

    fn stateless(&self, request: &Request, context: &Context<'_>) -> Result<Value, Error> {
        let result = match request.method.as_str() {
            "server/discover" => Ok(cacheable(discover())),
            "tools/list" => self.list(&request.params).map(cacheable),
            "tools/call" => {
                let meta = protocol::meta(&request.params);
                let level = meta.and_then(|meta| meta.get(protocol::META_LOG_LEVEL));
                let level = level.and_then(Value::as_str).and_then(Level::from_name);
                self.call(request, context, level)
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

    fn call(
        &self,
        request: &Request,
        context: &Context<'_>,
        log_level: Option<Level>,
    ) -> Result<Value, Error> {
        let Some(name) = request.params.get("name").and_then(Value::as_str) else {
            return Err(invalid("name must be a string"));
        };
        let meta = protocol::meta(&request.params);
        let progress = progress::token(meta)
            .map(|token| context.beats.progress(token, Arc::clone(&context.sender)));
        let context = CallContext {
            containers: self.containers.as_ref(),
            cancel: context.cancel,
            progress,
            journal: Journal::new(Arc::clone(&context.sender), log_level),
        };
        let result = match Tool::from_name(name) {
            Some(tool) => Ok(tools::call(tool, request.params.get("arguments"), &context)),
            None => self.call_trial(name, meta, &context),
        };
        if let Some(progress) = &context.progress {
            progress.finish();
        }
        result
    }

    fn call_trial(
        &self,
        name: &str,
        meta: Option<&Map<String, Value>>,
        context: &CallContext<'_>,
    ) -> Result<Value, Error> {
        let unknown = || {
            let shown: String = name.chars().take(128).collect();
            invalid(&format!("unknown tool: {shown}"))
        };
        if self.toolset == Toolset::Own {
            return Err(unknown());
        }
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

fn initialize(params: &Map<String, Value>, peer: &Peer) -> Value {
    let requested = params.get("protocolVersion").and_then(Value::as_str);
    let revision = Revision::negotiate(requested);
    peer.agree(revision);
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

fn set_level(params: &Map<String, Value>, peer: &Peer) -> Result<Value, Error> {
    let level = params.get("level").and_then(Value::as_str);
    let level = level
        .and_then(Level::from_name)
        .ok_or_else(|| invalid("level must be one of RFC 5424's, such as info"))?;
    peer.set_level(level);
    Ok(json!({}))
}

/// What a stateless result says besides.
fn complete(mut result: Value) -> Value {
    result["resultType"] = json!("complete");
    result["_meta"] = json!({protocol::META_SERVER: server()});
    result
}

fn cacheable(mut result: Value) -> Value {
    result["ttlMs"] = json!(LIST_TTL_MS);
    result["cacheScope"] = json!("public");
    result
}

fn invalid(what: &str) -> Error {
    Error::new(Code::InvalidParams, format!("Invalid params: {what}"))
}

fn unknown_method(method: &str) -> Error {
    let shown: String = method.chars().take(128).collect();
    Error::new(Code::MethodNotFound, format!("Method not found: {shown}"))
}
