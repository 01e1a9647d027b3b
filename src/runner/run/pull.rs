//! Makes sure that an image is there. Runs that need the same image at once share one pull.

use crate::cancel::Cancel;
use crate::docker::{self, AuthConfig, Client, ImageInspect, PullProgress};
use crate::runner::error::Error;
use crate::runner::request::spec::RunSpec;
use crate::runner::request::types::PullPolicy;
use crate::runner::run::result::{Event, Sink};
use crossbeam_channel::{Receiver, Sender, select, unbounded};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The engine's images, and the pulls under way.
#[derive(Clone)]
pub(crate) struct Images {
    client: Client,
    pull_timeout: Duration,
    flights: Arc<Mutex<HashMap<Key, Flight>>>,
    // Never reused, so that one who leaves late cannot be taken for somebody on a later flight.
    next_passenger: Arc<AtomicU64>,
}

/// What makes two pulls the same: another's credentials must not serve.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    reference: String,
    platform: Option<String>,
    auth: Option<String>,
}

/// One pull under way and those who wait for it.
struct Flight {
    passengers: Vec<(u64, Sender<News>)>,
    /// How each layer stands, in the order in which they were first heard of: for those who board late.
    layers: Vec<PullProgress>,
    /// Fires when the last passenger left.
    abandoned: Cancel,
}

#[derive(Clone)]
enum News {
    Progress(PullProgress),
    Landed(Result<(), Error>),
}

impl Images {
    pub(crate) fn new(client: Client, pull_timeout: Duration) -> Self {
        Self {
            client,
            pull_timeout,
            flights: Arc::default(),
            next_passenger: Arc::default(),
        }
    }

    /// Pulls as the policy says and inspects. `Ok(None)`: cancelled while waiting.
    pub(crate) fn ensure(
        &self,
        spec: &RunSpec,
        cancel: &Cancel,
        sink: &dyn Sink,
    ) -> Result<Option<ImageInspect>, Error> {
        if spec.pull_policy != PullPolicy::Always {
            match self.client.image_inspect(&spec.image) {
                Ok(image) if fits(&image, spec.platform.as_deref()) => return Ok(Some(image)),
                Ok(_) if spec.pull_policy == PullPolicy::Never => {
                    let detail = format!(
                        "{} is there, but not for the platform asked for",
                        spec.image
                    );
                    return Err(Error::ImageNotFound(detail));
                }
                Err(error) if !is_not_found(&error) => return Err(engine_error(error)),
                Err(_) if spec.pull_policy == PullPolicy::Never => {
                    let detail = format!(
                        "the engine does not have {}, and pull_policy is never",
                        spec.image
                    );
                    return Err(Error::ImageNotFound(detail));
                }
                Ok(_) | Err(_) => {}
            }
        }
        if !self.pull(spec, cancel, sink)? {
            return Ok(None);
        }
        self.client
            .image_inspect(&spec.image)
            .map(Some)
            .map_err(|error| match is_not_found(&error) {
                true => {
                    Error::ImageNotFound(format!("{} is gone although it was pulled", spec.image))
                }
                false => engine_error(error),
            })
    }

    /// Joins the pull of the same image, or starts it. False: cancelled.
    fn pull(&self, spec: &RunSpec, cancel: &Cancel, sink: &dyn Sink) -> Result<bool, Error> {
        let key = Key {
            reference: spec.image.clone(),
            platform: spec.platform.clone(),
            auth: spec
                .auth
                .as_ref()
                .and_then(|auth| serde_json::to_string(auth).ok()),
        };
        // Before the registry has said a word, which may take long.
        sink.event(Event::Pull {
            status: "Contacting the registry".into(),
            id: spec.image.clone(),
            current: 0,
            total: 0,
        });
        let (passenger, news) = self.board(&key, spec.auth.clone());
        let deadline = Instant::now() + self.pull_timeout;
        let landed = self.wait(&news, deadline, cancel, sink);
        if !matches!(landed, Some(Ok(_))) {
            self.leave(&key, passenger);
        }
        match landed {
            Some(Ok(result)) => result.map(|()| true),
            Some(Err(timeout)) => Err(timeout),
            None => Ok(false),
        }
    }

    /// `None`: cancelled. Inner error: our own deadline.
    fn wait(
        &self,
        news: &Receiver<News>,
        deadline: Instant,
        cancel: &Cancel,
        sink: &dyn Sink,
    ) -> Option<Result<Result<(), Error>, Error>> {
        let timeout = crossbeam_channel::at(deadline);
        loop {
            select! {
                recv(news) -> item => match item {
                    Ok(News::Progress(progress)) => sink.event(pull_event(progress)),
                    Ok(News::Landed(result)) => return Some(Ok(result)),
                    Err(_) => return Some(Ok(Err(Error::Engine("the pull ended without a word".into())))),
                },
                recv(cancel.done()) -> _ => return None,
                recv(timeout) -> _ => {
                    return Some(Err(Error::PullTimeout { timeout_secs: self.pull_timeout.as_secs() }));
                }
            }
        }
    }

    fn board(&self, key: &Key, auth: Option<AuthConfig>) -> (u64, Receiver<News>) {
        let (sender, news) = unbounded();
        let passenger = self.next_passenger.fetch_add(1, Ordering::Relaxed);
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights
            .get_mut(key)
            .filter(|flight| !flight.abandoned.is_fired())
        {
            for layer in &flight.layers {
                let _ = sender.send(News::Progress(layer.clone()));
            }
            flight.passengers.push((passenger, sender));
            return (passenger, news);
        }
        let abandoned = Cancel::new();
        let flight = Flight {
            passengers: vec![(passenger, sender)],
            layers: Vec::new(),
            abandoned: abandoned.clone(),
        };
        flights.insert(key.clone(), flight);
        drop(flights);
        self.take_off(key.clone(), auth, abandoned);
        (passenger, news)
    }

    fn take_off(&self, key: Key, auth: Option<AuthConfig>, abandoned: Cancel) {
        let images = self.clone();
        let (failed_key, failed) = (key.clone(), self.clone());
        let pilot = move || {
            let mut progress = |progress: PullProgress| {
                if progress != PullProgress::default() {
                    images.announce(&key, &abandoned, progress);
                }
                !abandoned.is_fired()
            };
            let result = images.client.image_pull(
                &key.reference,
                key.platform.as_deref(),
                auth.as_ref(),
                &mut progress,
            );
            images.land(
                &key,
                &abandoned,
                result.map_err(|error| pull_error(&key, error)),
            );
        };
        if let Err(error) = std::thread::Builder::new().name("pull".into()).spawn(pilot) {
            let flight = failed
                .flights
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&failed_key);
            let result = Err(Error::Overloaded(format!(
                "no thread for the pull: {error}"
            )));
            tell(
                flight.map(|flight| flight.passengers).unwrap_or_default(),
                &News::Landed(result),
            );
        }
    }

    fn announce(&self, key: &Key, abandoned: &Cancel, progress: PullProgress) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get_mut(key).filter(|_| !abandoned.is_fired()) {
            flight.note(&progress);
            let news = News::Progress(progress);
            flight
                .passengers
                .retain(|(_, sender)| sender.send(news.clone()).is_ok());
        }
    }

    fn land(&self, key: &Key, abandoned: &Cancel, result: Result<(), Error>) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        // An abandoned flight may have a successor under the same key by now.
        if abandoned.is_fired() {
            return;
        }
        let flight = flights.remove(key);
        drop(flights);
        tell(
            flight.map(|flight| flight.passengers).unwrap_or_default(),
            &News::Landed(result),
        );
    }

    fn leave(&self, key: &Key, passenger: u64) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(flight) = flights.get_mut(key) else {
            return;
        };
        let Some(seat) = flight
            .passengers
            .iter()
            .position(|(number, _)| *number == passenger)
        else {
            return;
        };
        flight.passengers.remove(seat);
        if flight.passengers.is_empty() {
            flight.abandoned.fire();
            flights.remove(key);
        }
    }
}

impl Flight {
    fn note(&mut self, progress: &PullProgress) {
        match self.layers.iter_mut().find(|layer| layer.id == progress.id) {
            Some(layer) => layer.clone_from(progress),
            None => self.layers.push(progress.clone()),
        }
    }
}

fn tell(passengers: Vec<(u64, Sender<News>)>, news: &News) {
    for (_, sender) in passengers {
        let _ = sender.send(news.clone());
    }
}

fn pull_event(progress: PullProgress) -> Event {
    Event::Pull {
        status: progress.status,
        id: progress.id,
        current: progress.progress_detail.current,
        total: progress.progress_detail.total,
    }
}

fn is_not_found(error: &docker::Error) -> bool {
    matches!(error, docker::Error::Status { status: 404, .. })
}

/// The engine says 400 to a reference it cannot parse.
fn engine_error(error: docker::Error) -> Error {
    match error {
        docker::Error::Status {
            status: 400,
            message,
            ..
        } => Error::InvalidReference(message),
        other => other.into(),
    }
}

/// Whether a local image is for the platform asked for.
fn fits(image: &ImageInspect, platform: Option<&str>) -> bool {
    let Some(platform) = platform else {
        return true;
    };
    let mut parts = platform.split('/');
    let (os, arch, variant) = (parts.next(), parts.next(), parts.next());
    let same =
        |asked: Option<&str>, has: &str| asked.is_none_or(|asked| has.is_empty() || asked == has);
    same(os, &image.os) && same(arch, &image.architecture) && same(variant, &image.variant)
}

/// What a failed pull means. The engine's status does not tell these apart (20.10 answers 404 or 500 to all), its
/// words, which are the registry's, do.
fn pull_error(key: &Key, error: docker::Error) -> Error {
    let docker::Error::Status {
        status, message, ..
    } = error
    else {
        return error.into();
    };
    let words = message.to_lowercase();
    let says = |needles: &[&str]| needles.iter().any(|needle| words.contains(needle));
    if says(&[
        "unauthorized",
        "no basic auth credentials",
        "authentication required",
        "incorrect username",
    ]) {
        return Error::RegistryDenied(message);
    }
    if says(&["denied", "forbidden"]) && (key.auth.is_some() || !says(&["does not exist"])) {
        return Error::RegistryDenied(message);
    }
    if says(&[
        "not found",
        "manifest unknown",
        "does not exist",
        "no such image",
        "no matching manifest",
    ]) {
        return Error::ImageNotFound(message);
    }
    if status == 400 || says(&["invalid reference format", "invalid tag format"]) {
        return Error::InvalidReference(message);
    }
    if status == 404 {
        return Error::ImageNotFound(message);
    }
    Error::RegistryUnreachable(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_boards_late_hears_first_how_each_layer_stands() {
        let host = docker::Host::Unix("/nonexistent".into());
        let client = Client::new(host, None).unwrap_or_else(|_| unreachable!());
        let images = Images::new(client, Duration::from_secs(1));
        let key = Key {
            reference: "app:1".into(),
            platform: None,
            auth: None,
        };
        let layer = |id: &str, status: &str| PullProgress {
            status: status.into(),
            id: id.into(),
            ..PullProgress::default()
        };
        let mut flight = Flight {
            passengers: Vec::new(),
            layers: Vec::new(),
            abandoned: Cancel::new(),
        };
        for (id, status) in [
            ("a", "Downloading"),
            ("b", "Downloading"),
            ("a", "Pull complete"),
        ] {
            flight.note(&layer(id, status));
        }
        let abandoned = flight.abandoned.clone();
        let flights = || {
            images
                .flights
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        flights().insert(key.clone(), flight);
        let (_, news) = images.board(&key, None);
        images.announce(&key, &abandoned, layer("b", "Verifying"));
        let heard = news.try_iter().map(|news| match news {
            News::Progress(progress) => format!("{} {}", progress.id, progress.status),
            News::Landed(_) => "landed".into(),
        });
        let heard: Vec<String> = heard.collect();
        assert_eq!(heard, ["a Pull complete", "b Downloading", "b Verifying"]);
    }

    #[test]
    fn a_failed_pull_is_told_apart_by_the_registrys_words() {
        let open = Key {
            reference: "x".into(),
            platform: None,
            auth: None,
        };
        let with_auth = Key {
            auth: Some("{}".into()),
            ..open.clone()
        };
        let denied = "pull access denied for x, repository does not exist or may require 'docker login': denied: no";
        type Case<'a> = (&'a Key, u16, &'a str, fn(&Error) -> bool);
        let cases: [Case<'_>; 7] = [
            (
                &open,
                404,
                "manifest for x:nope not found: manifest unknown",
                |e| matches!(e, Error::ImageNotFound(_)),
            ),
            (&open, 404, denied, |e| matches!(e, Error::ImageNotFound(_))),
            (&with_auth, 404, denied, |e| {
                matches!(e, Error::RegistryDenied(_))
            }),
            (
                &open,
                500,
                "Head \"http://r/v2\": no basic auth credentials",
                |e| matches!(e, Error::RegistryDenied(_)),
            ),
            (
                &open,
                500,
                "Get \"https://r/v2/\": unauthorized: bad",
                |e| matches!(e, Error::RegistryDenied(_)),
            ),
            (
                &open,
                500,
                "dial tcp 127.0.0.1:5: connect: connection refused",
                |e| matches!(e, Error::RegistryUnreachable(_)),
            ),
            (&open, 400, "invalid reference format", |e| {
                matches!(e, Error::InvalidReference(_))
            }),
        ];
        for (key, status, message, expected) in cases {
            let error = docker::Error::Status {
                call: "image_pull",
                status,
                message: message.into(),
            };
            let error = pull_error(key, error);
            assert!(expected(&error), "{message}: {error:?}");
        }
    }
}
