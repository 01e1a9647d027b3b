//! The one way to call the engine, and the one place where a failed call becomes an [`Error`].
use super::call::{Call, Connection, Payload};
use super::error::{Context, is_disconnect};
use super::response::Response;
use super::socket::Endpoint;
use super::{Error, Host, system, transport};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use ureq::http::{self, Method, header};
use ureq::{Agent, Body, SendBody};

/// What an ordinary call gets, from connecting to the last byte of the answer.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const POOLED_CONNECTIONS: usize = 16;

/// A client of one engine. Clones share connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: Endpoint,
    pooled: Agent,
    fresh: Agent,
    version: Mutex<Option<String>>,
    pinned: Option<String>,
    missed_ends: AtomicU32,
}

impl Client {
    /// Prepares a client; no call is made yet. `api_version` overrides negotiation. Errors: unreadable PEM files.
    pub fn new(host: Host, api_version: Option<String>) -> Result<Self, Error> {
        let unusable = |detail| Error::Unreachable {
            call: "new",
            detail,
        };
        let endpoint = Endpoint::new(host).map_err(unusable)?;
        let pinned = api_version
            .filter(|version| !version.is_empty())
            .map(|version| system::pinned_version(&version))
            .transpose()
            .map_err(unusable)?;
        Ok(Self {
            shared: Arc::new(Shared {
                pooled: transport::agent(&endpoint, POOLED_CONNECTIONS),
                fresh: transport::agent(&endpoint, 0),
                endpoint,
                version: Mutex::new(None),
                pinned,
                missed_ends: AtomicU32::new(0),
            }),
        })
    }

    /// How many ends of containers in a row were not told by an event.
    pub(super) fn missed_ends(&self) -> &AtomicU32 {
        &self.shared.missed_ends
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// An agent of its own for one call, so that shutting it down ends that call and no other.
    pub(super) fn separate_agent(&self) -> Agent {
        transport::agent(&self.shared.endpoint, 0)
    }

    /// The version for the next call, such as `1.41`: the pinned one, or what was agreed with the engine.
    pub(super) fn api_version(&self, call: &'static str) -> Result<String, Error> {
        if let Some(version) = &self.shared.pinned {
            return Ok(version.clone());
        }
        if let Some(version) = self.agreed().clone() {
            return Ok(version);
        }
        // Not under the lock: a slow engine must not queue callers whose deadlines run.
        let version = self.negotiate(call)?;
        log::debug!("engine API version {version}");
        *self.agreed() = Some(version.clone());
        Ok(version)
    }

    fn agreed(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.shared
            .version
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the call; an answer of 400 and more is an error, and so is a redirect.
    pub(super) fn send(&self, mut call: Call<'_>) -> Result<Response, Error> {
        let outcome = self.attempt(&mut call);
        let outcome = match outcome {
            // The engine was replaced by one of another version; it refused before doing anything.
            Err(Error::Status {
                status: 400,
                ref message,
                ..
            }) if is_version_refusal(message) && self.forget_version() && call.is_replayable() => {
                self.attempt(&mut call)
            }
            other => other,
        };
        if matches!(outcome, Err(Error::Unreachable { .. })) {
            self.forget_version();
        }
        outcome.inspect_err(Error::count)
    }

    /// Whether there was an agreed version to forget.
    fn forget_version(&self) -> bool {
        self.agreed().take().is_some()
    }

    fn attempt(&self, call: &mut Call<'_>) -> Result<Response, Error> {
        let version = match call.versioned {
            true => format!("/v{}", self.api_version(call.name)?),
            false => String::new(),
        };
        log::debug!("{} {version}{}", call.method, call.path);
        let agent = match &call.connection {
            Connection::Pooled => self.shared.pooled.clone(),
            Connection::Fresh => self.shared.fresh.clone(),
            Connection::Separate(agent) => agent.clone(),
        };
        let mut outcome = self.exchange(&agent, call, &version);
        if let Err(ureq::Error::Io(error)) = &outcome
            && matches!(call.connection, Connection::Pooled)
            && is_disconnect(error.kind())
        {
            log::debug!(
                "{}: the idle connection was closed; once more on a new one",
                call.name
            );
            outcome = self.exchange(&self.shared.fresh, call, &version);
        }
        let context = self.context(call);
        if let Some(detail) = call.source_failure() {
            return Err(Error::Source {
                call: call.name,
                detail,
            });
        }
        let (parts, body) = outcome.map_err(|error| context.failed(error))?.into_parts();
        let answer = Response {
            call: call.name,
            host: self.shared.endpoint.host().clone(),
            timeout: context.timeout,
            parts,
            body,
        };
        answer.checked()
    }

    fn context(&self, call: &Call<'_>) -> Context<'_> {
        Context {
            call: call.name,
            host: self.shared.endpoint.host(),
            timeout: call.timeouts.timeout(),
        }
    }

    fn exchange(
        &self,
        agent: &Agent,
        call: &mut Call<'_>,
        version: &str,
    ) -> Result<http::Response<Body>, ureq::Error> {
        let uri = format!(
            "http://{}{version}{}{}",
            authority(self.shared.endpoint.host()),
            call.path,
            call.query
        );
        let mut request = http::Request::builder()
            .method(call.method.clone())
            .uri(uri);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let timeouts = call.timeouts;
        match &mut call.payload {
            // Without a length, ureq would send an empty chunked body, and the engine refuses a start with a body.
            Payload::None if call.method == Method::POST => {
                let nothing: &[u8] = &[];
                agent.run(timeouts.apply(agent, request.body(nothing)?))
            }
            Payload::None => agent.run(timeouts.apply(agent, request.body(())?)),
            Payload::Json(json) => {
                let request = request.header(header::CONTENT_TYPE, "application/json");
                agent.run(timeouts.apply(agent, request.body(json.as_slice())?))
            }
            Payload::Tar(source) => {
                let request = request.header(header::CONTENT_TYPE, "application/x-tar");
                agent.run(timeouts.apply(agent, request.body(SendBody::from_reader(source))?))
            }
        }
    }
}

/// TLS happens below ureq, whose URL is therefore always `http`; the host part only fills the `Host` field.
pub(super) fn authority(host: &Host) -> &str {
    match host {
        Host::Unix(_) => "docker",
        Host::Tcp { authority } | Host::Tls { authority, .. } => authority,
    }
}

fn is_version_refusal(message: &str) -> bool {
    message.contains("client version")
        && (message.contains("too new") || message.contains("too old"))
}
