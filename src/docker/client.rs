//! The client: sends every call, retries where that is safe, and turns every failure into an [`Error`].
use super::api_version::{self, SpokenApi};
use super::call::{Call, Connection, Payload};
use super::error::{Context, Error, is_disconnect};
use super::host::Host;
use super::info_cache::InfoCache;
use super::response::Response;
use super::socket::Endpoint;
use super::transport;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};
use ureq::http::{self, Method, header};
use ureq::{Agent, Body, SendBody};

const POOLED_CONNECTIONS: usize = 16;

/// A client of one engine. Cheap to clone; clones share connections and the negotiated version.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: Endpoint,
    pooled: Agent,
    /// Keeps no connection: each call opens its own.
    fresh: Agent,
    /// What the last `/_ping` said.
    spoken: Mutex<Option<SpokenApi>>,
    pinned_version: Option<String>,
    info: InfoCache,
    missed_exit_events: AtomicU32,
}

impl Client {
    /// Creates a client without connecting. `api_version` replaces negotiation. Errors ([`Error::Misconfigured`]): PEM
    /// files that cannot be read, an `api_version` that is not a version or too old for this client.
    pub fn new(host: Host, api_version: Option<String>) -> Result<Self, Error> {
        let unusable = |detail| Error::Misconfigured {
            call: "new",
            detail,
        };
        let endpoint = Endpoint::new(host).map_err(unusable)?;
        let pinned_version = api_version
            .filter(|version| !version.is_empty())
            .map(|version| api_version::pinned(&version))
            .transpose()
            .map_err(unusable)?;
        Ok(Self {
            shared: Arc::new(Shared {
                pooled: transport::agent(&endpoint, POOLED_CONNECTIONS),
                fresh: transport::agent(&endpoint, 0),
                endpoint,
                spoken: Mutex::new(None),
                pinned_version,
                info: InfoCache::default(),
                missed_exit_events: AtomicU32::new(0),
            }),
        })
    }

    /// Number of containers in a row whose exit the engine reported no event for.
    pub(super) fn missed_exit_events(&self) -> &AtomicU32 {
        &self.shared.missed_exit_events
    }

    /// Whether the engine is reached through a socket of this machine, and so most likely runs on it.
    pub fn is_local(&self) -> bool {
        matches!(self.endpoint().host(), Host::Unix(_))
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// A new agent for one call, so that `Agent::shutdown` ends that call and no other.
    pub(super) fn separate_agent(&self) -> Agent {
        transport::agent(&self.shared.endpoint, 0)
    }

    /// API version for the next call, such as `1.41`: the pinned one or the negotiated one. Blocks for a `/_ping` when
    /// none has been negotiated yet.
    pub(super) fn api_version(&self, call: &'static str) -> Result<String, Error> {
        if let Some(version) = &self.shared.pinned_version {
            return Ok(version.clone());
        }
        Ok(self.spoken_api(call)?.version)
    }

    pub(super) fn info_cache(&self) -> &InfoCache {
        &self.shared.info
    }

    /// What the engine speaks. Blocks for a `/_ping` when that is not known yet.
    pub(super) fn spoken_api(&self, call: &'static str) -> Result<SpokenApi, Error> {
        if let Some(spoken) = self.lock_spoken().clone() {
            return Ok(spoken);
        }
        // Not under the lock, so that a slow engine does not make other calls wait past their timeouts.
        let spoken = self.ping(call)?;
        log::debug!("engine API: {spoken:?}");
        *self.lock_spoken() = Some(spoken.clone());
        Ok(spoken)
    }

    fn ping(&self, call: &'static str) -> Result<SpokenApi, Error> {
        let ping = Call::new(call, Method::GET, "/_ping".into()).unversioned();
        let response = self.send(ping)?;
        let newest = response.header("api-version").map(str::to_owned);
        let is_podman = response.header("libpod-api-version").is_some();
        response.discard_body()?;
        let version = match &self.shared.pinned_version {
            Some(pinned) => pinned.clone(),
            None => api_version::negotiated(call, newest.as_deref())?,
        };
        Ok(SpokenApi { version, is_podman })
    }

    fn lock_spoken(&self) -> std::sync::MutexGuard<'_, Option<SpokenApi>> {
        self.shared
            .spoken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the call and blocks until the head of the response has arrived. Any status but 2xx and 304 is an error. If
    /// the engine refuses the API version, negotiates anew and sends the call once more. Failures are counted in the
    /// metrics.
    pub(super) fn send(&self, mut call: Call<'_>) -> Result<Response, Error> {
        let outcome = self.attempt(&mut call);
        let outcome = match outcome {
            // The engine was replaced by one of another version. It refuses before it acts, so repeating is safe.
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
        outcome
            .map_err(|error| self.blame_the_version(error))
            .inspect_err(Error::count)
    }

    /// The refusal of an API version is a fault of the configuration if it is pinned, else of the engine, and never one of
    /// the call.
    fn blame_the_version(&self, error: Error) -> Error {
        match error {
            Error::Status {
                call,
                status: 400,
                message,
            } if is_version_refusal(&message) => match self.is_version_pinned() {
                true => Error::Misconfigured {
                    call,
                    detail: format!("the engine refuses DOCKER_API_VERSION: {message}"),
                },
                false => Error::Unreachable {
                    call,
                    detail: format!("the engine refuses this client's API version: {message}"),
                },
            },
            other => other,
        }
    }

    /// Whether `DOCKER_API_VERSION` replaces negotiation.
    pub(super) fn is_version_pinned(&self) -> bool {
        self.shared.pinned_version.is_some()
    }

    /// Forgets what the engine speaks; false if that was not known.
    fn forget_version(&self) -> bool {
        self.lock_spoken().take().is_some()
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
            let name = call.name;
            log::debug!("{name}: the idle connection was closed; once more on a new one");
            outcome = self.exchange(&self.shared.fresh, call, &version);
        }
        let context = self.context(call);
        if let Some(detail) = call.take_source_failure() {
            return Err(Error::Source {
                call: call.name,
                detail,
            });
        }
        let response = outcome.map_err(|error| context.no_response(error))?;
        let (parts, body) = response.into_parts();
        let response = Response {
            call: call.name,
            host: self.shared.endpoint.host().clone(),
            timeout: context.timeout,
            parts,
            body,
        };
        response.error_for_status()
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
            self.shared.endpoint.host().http_authority(),
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
            // An empty slice gives `Content-Length: 0`. Without it ureq sends an empty chunked body, and the engine
            // refuses a start with a body.
            Payload::None if call.method == Method::POST => {
                let empty: &[u8] = &[];
                agent.run(timeouts.apply(agent, request.body(empty)?))
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

fn is_version_refusal(message: &str) -> bool {
    message.contains("client version")
        && (message.contains("too new") || message.contains("too old"))
}
