//! The life of a run, in order: admit, pull, stage, create, supervise, collect, answer. What was made in the engine
//! is owned from before its create call and removed behind the answer.

use crate::archive::{self, Collected, Packer, UidGid};
use crate::cancel::Cancel;
use crate::docker::{self, ContainerCreate, ImageInspect};
use crate::metrics::{self, Label};
use crate::runner::cleanup::labels::Role;
use crate::runner::cleanup::removal::{Object, RemovalGuard};
use crate::runner::clock::Moment;
use crate::runner::facade::Inner;
use crate::runner::jobs::registry::Entry;
use crate::runner::request::mounts::MountSource;
use crate::runner::run::admission::{Refused, Slot};
use crate::runner::run::collect::{Collection, Sources, missing_parents};
use crate::runner::run::container_config;
use crate::runner::run::stage::{OBJECT_SLACK, Staged};
use crate::runner::run::supervise::{Ending, follow, start_error, supervise};
use crate::runner::{Error, Event, Reason, RunResult, RunSpec, Silent, Sink, Timings};
use std::time::{Duration, Instant};

/// A run under way: who it is and whom it answers to.
struct Run<'a> {
    inner: &'a Inner,
    id: String,
    cancel: &'a Cancel,
    sink: &'a dyn Sink,
    accepted: Instant,
    timings: Timings,
    /// What outlives this process.
    detached: Option<&'a Entry>,
}

impl Inner {
    pub(crate) fn execute(
        &self,
        spec: RunSpec,
        cancel: &Cancel,
        sink: &dyn Sink,
    ) -> Result<RunResult, Error> {
        let queued = Instant::now();
        let admitted = self.admission.enter(cancel, &mut |position| {
            sink.event(Event::Queued { position });
        });
        match admitted {
            Ok(slot) => self.execute_admitted(spec, slot, queued, (cancel, sink)),
            Err(Refused::Cancelled) => Ok(self.cancelled(spec.id, queued)),
            Err(Refused::Full) => {
                metrics::RUNS.add([Label::Word("refused")]);
                Err(self.queue_full())
            }
        }
    }

    /// From the slot on.
    pub(crate) fn execute_admitted(
        &self,
        spec: RunSpec,
        slot: Slot,
        accepted: Instant,
        (cancel, sink): (&Cancel, &dyn Sink),
    ) -> Result<RunResult, Error> {
        let _active = self.active.enter_as(spec.id.clone());
        let mut run = self.begin(spec.id.clone(), accepted, (cancel, sink));
        run.timings.queue_ms = took("queue", accepted.elapsed());
        let outcome = run.go(spec);
        drop(slot);
        count(&outcome);
        outcome
    }

    /// As [`Inner::execute_admitted`], so that the next server could go on with it.
    pub(crate) fn execute_detached(
        &self,
        spec: RunSpec,
        entry: &Entry,
    ) -> Result<RunResult, Error> {
        let _active = self.active.enter_as(spec.id.clone());
        let mut run = self.begin(spec.id.clone(), entry.accepted, (&entry.cancel, entry));
        run.timings.queue_ms = took("queue", entry.accepted.elapsed());
        run.detached = Some(entry);
        let outcome = run.go(spec);
        count(&outcome);
        outcome
    }

    /// Goes on with a run whose container, and stage, an earlier process made.
    pub(crate) fn resume(
        &self,
        spec: &RunSpec,
        entry: &Entry,
        (container, staged, started): (RemovalGuard, Option<Staged>, Moment),
    ) -> Result<RunResult, Error> {
        let _active = self.active.enter_as(spec.id.clone());
        let mut run = self.begin(spec.id.clone(), entry.accepted, (&entry.cancel, entry));
        run.detached = Some(entry);
        let ending = follow(
            &self.client,
            container.id(),
            (spec, started),
            (&entry.cancel, entry),
        )?;
        run.timings.run_ms = took("run", ending.run);
        let image = self.client.image_inspect(&spec.image);
        let digest = image.map_or(String::new(), |image| {
            container_config::image_digest(&spec.image, &image)
        });
        let outcome = run.answer(
            spec,
            ending,
            (&container, staged.as_ref()),
            (digest, Vec::new()),
        );
        count(&outcome);
        outcome
    }

    /// What a run answers that was cancelled before anything was done.
    pub(crate) fn cancelled(&self, id: String, accepted: Instant) -> RunResult {
        metrics::RUNS.add([Label::Word("cancelled")]);
        self.begin(id, accepted, (&Cancel::new(), &Silent))
            .cancelled()
    }

    fn begin<'a>(
        &'a self,
        id: String,
        accepted: Instant,
        (cancel, sink): (&'a Cancel, &'a dyn Sink),
    ) -> Run<'a> {
        Run {
            inner: self,
            id,
            cancel,
            sink,
            accepted,
            timings: Timings::default(),
            detached: None,
        }
    }
}

impl Run<'_> {
    fn go(mut self, mut spec: RunSpec) -> Result<RunResult, Error> {
        let pulling = Instant::now();
        let Some(image) = self.inner.images.ensure(&spec, self.cancel, self.sink)? else {
            return Ok(self.cancelled());
        };
        self.timings.pull_ms = took("pull", pulling.elapsed());

        self.require_named_volumes(&spec)?;
        let staging = Instant::now();
        let owner = self.owner(&spec, &image)?;
        let staged = self.inner.stage.fill(&self.id, &spec, owner)?;
        spec.forget_content();
        self.timings.stage_ms = took("stage", staging.elapsed());

        let creating = Instant::now();
        let (container, mut warnings) = self.create(&spec, &image, staged.as_ref())?;
        self.make_parents(&spec, container.id(), &mut warnings)?;
        self.timings.create_ms = took("create", creating.elapsed());
        if self.cancel.is_fired() {
            return Ok(self.cancelled());
        }

        if let Some(entry) = self.detached {
            self.inner.before_start(entry)?;
        }
        let client = &self.inner.client;
        let ending = supervise(client, container.id(), &mut spec, (self.cancel, self.sink))?;
        self.timings.start_ms = took("start", ending.start);
        self.timings.run_ms = took("run", ending.run);
        let digest = container_config::image_digest(&spec.image, &image);
        self.answer(
            &spec,
            ending,
            (&container, staged.as_ref()),
            (digest, warnings),
        )
    }

    /// Collects what was asked for; what the run left may go afterwards.
    fn answer(
        mut self,
        spec: &RunSpec,
        ending: Ending,
        (container, staged): (&RemovalGuard, Option<&Staged>),
        (digest, mut warnings): (String, Vec<String>),
    ) -> Result<RunResult, Error> {
        let collecting = Instant::now();
        let collection = self.collect(spec, staged, container.id(), ending.reason)?;
        self.timings.collect_ms = took("collect", collecting.elapsed());
        warnings.extend(collection.warnings.iter().cloned());
        let (inner, detached) = (self.inner, self.detached);
        let result = self.result(ending, collection, digest, warnings);
        if let Some(entry) = detached {
            inner.keep_outcome(entry, Ok(&result));
        }
        Ok(result)
    }

    /// A typo must not make a volume, as it would with `docker run`.
    fn require_named_volumes(&self, spec: &RunSpec) -> Result<(), Error> {
        for mount in &spec.mounts {
            let MountSource::Named(name) = &mount.source else {
                continue;
            };
            self.inner.require_volume(name)?;
        }
        Ok(())
    }

    fn owner(&self, spec: &RunSpec, image: &ImageInspect) -> Result<UidGid, Error> {
        let user = container_config::user(spec, image);
        match container_config::numeric_owner(user) {
            Some(owner) => Ok(owner),
            None if spec.mounts.is_empty() => Ok(UidGid::default()),
            None => self.look_up_owner(user, spec, image),
        }
    }

    /// Names mean what the image's own `/etc/passwd` says, read through a container that is never started.
    fn look_up_owner(
        &self,
        user: &str,
        spec: &RunSpec,
        image: &ImageInspect,
    ) -> Result<UidGid, Error> {
        let key = (image.id.clone(), user.to_owned());
        if let Some(owner) = self.inner.owners.get(&key) {
            return Ok(owner);
        }
        let name = format!("oneoff-{}-user", self.id);
        let mut container = self.inner.removal.own(Object::Container(name.clone()));
        let config = ContainerCreate {
            image: image.id.clone(),
            cmd: Some(vec!["never-started".into()]),
            labels: self.inner.identity.labels(&self.id, OBJECT_SLACK),
            network_disabled: true,
            ..ContainerCreate::default()
        };
        let created = self
            .inner
            .client
            .container_create(Some(&name), spec.platform.as_deref(), &config)
            .map_err(create_error)?;
        container.become_object(Object::Container(created.id));
        let passwd = self.small_text(container.id(), "/etc/passwd");
        let group = self.small_text(container.id(), "/etc/group");
        let owner = container_config::named_owner(user, &passwd, &group);
        self.inner.owners.insert(key, owner);
        Ok(owner)
    }

    fn small_text(&self, container: &str, path: &str) -> String {
        const LIMIT_BYTES: u64 = 1 << 20;
        let tar = self.inner.client.archive_get(container, path);
        match tar.map(|mut tar| archive::collect_file(&mut *tar, LIMIT_BYTES)) {
            Ok(Ok(Collected::File(bytes))) => String::from_utf8_lossy(&bytes).into_owned(),
            _ => String::new(),
        }
    }

    fn create(
        &self,
        spec: &RunSpec,
        image: &ImageInspect,
        staged: Option<&Staged>,
    ) -> Result<(RemovalGuard, Vec<String>), Error> {
        let name = format!("oneoff-{}", self.id);
        let labels = spec.object_labels(&self.inner.identity, Role::Run);
        // Owned by name first: a create call may fail on our side and succeed on the engine's.
        let mut container = self.inner.removal.own(Object::Container(name.clone()));
        let config = ContainerCreate {
            // What was inspected, whatever its name may mean by now: another run may just have pulled.
            image: image.id.clone(),
            ..container_config::container(spec, staged.map(Staged::mountpoint), labels)
        };
        let created =
            self.inner
                .client
                .container_create(Some(&name), spec.platform.as_deref(), &config);
        let created = created.map_err(create_error)?;
        container.become_object(Object::Container(created.id));
        Ok((container, created.warnings))
    }

    /// A file to be collected gets the directories above it, writable for whoever the run is.
    fn make_parents(
        &self,
        spec: &RunSpec,
        container: &str,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        let client = &self.inner.client;
        for mount in spec
            .mounts
            .iter()
            .filter(|mount| matches!(mount.source, MountSource::CollectedFile))
        {
            let missing = missing_parents(client, container, &mount.target)?;
            if missing.is_empty() {
                continue;
            }
            match self.put_directories(container, &missing) {
                Err(docker::Error::Status { message, .. }) => {
                    warnings.push(format!(
                        "{}: its directory could not be made: {message}",
                        mount.key
                    ));
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn put_directories(&self, container: &str, paths: &[String]) -> Result<(), docker::Error> {
        let packed = || {
            let mut packer = Packer::new(Vec::new(), UidGid::default());
            for path in paths {
                packer.directory(path.trim_start_matches('/'), 0o777)?;
            }
            packer.finish()
        };
        let tar = packed().map_err(|error: archive::Error| docker::Error::Source {
            call: "archive_put",
            detail: error.to_string(),
        })?;
        self.inner
            .client
            .archive_put(container, "/", &mut tar.as_slice())
    }

    /// Nobody waits for what a cancelled run wrote.
    fn collect(
        &self,
        spec: &RunSpec,
        staged: Option<&Staged>,
        container: &str,
        reason: Reason,
    ) -> Result<Collection, Error> {
        if reason == Reason::Cancelled {
            return Ok(Collection::default());
        }
        let stage = &self.inner.stage;
        let limit_bytes = spec.max_collect_bytes;
        Sources {
            stage,
            staged,
            container,
            run: &self.id,
            limit_bytes,
        }
        .collect(&spec.mounts)
    }

    fn cancelled(self) -> RunResult {
        let nothing = || crate::runner::run::output::Captured {
            text: String::new(),
            omitted_bytes: None,
        };
        let ending = Ending {
            exit_code: None,
            reason: Reason::Cancelled,
            oom_killed: false,
            stdout: nothing(),
            stderr: nothing(),
            start: Duration::ZERO,
            run: Duration::ZERO,
        };
        self.result(ending, Collection::default(), String::new(), Vec::new())
    }

    fn result(
        self,
        ending: Ending,
        collection: Collection,
        image_digest: String,
        warnings: Vec<String>,
    ) -> RunResult {
        RunResult {
            id: self.id,
            status: status(ending.reason, ending.exit_code),
            exit_code: ending.exit_code,
            reason: ending.reason,
            stdout: ending.stdout.text,
            stderr: ending.stderr.text,
            stdout_omitted_bytes: ending.stdout.omitted_bytes,
            stderr_omitted_bytes: ending.stderr.omitted_bytes,
            volumes: collection.volumes,
            execution_time: self.accepted.elapsed().as_secs_f64(),
            image_digest,
            oom_killed: ending.oom_killed,
            warnings,
            timings: self.timings,
        }
    }
}

fn status(reason: Reason, exit_code: Option<i64>) -> String {
    match (reason, exit_code) {
        (Reason::Timeout, _) => "error: timeout".into(),
        (Reason::Oom, _) => "error: out of memory".into(),
        (Reason::Cancelled, _) => "error: cancelled".into(),
        (Reason::Exited | Reason::Signalled, Some(0)) => "success".into(),
        (Reason::Exited | Reason::Signalled, Some(code)) => format!("error: {code}"),
        (Reason::Exited | Reason::Signalled, None) => "error: unknown".into(),
    }
}

/// A create call fails for the caller's faults with 400, 404 and 409.
fn create_error(error: docker::Error) -> Error {
    let is_missing = error.is_no_such_image();
    match error {
        docker::Error::Status { message, .. } if is_missing => Error::ImageNotFound(message),
        error => start_error(error),
    }
}

fn count(outcome: &Result<RunResult, Error>) {
    let reason = match outcome {
        Ok(result) => result.reason.word(),
        Err(_) => "failed",
    };
    metrics::RUNS.add([Label::Word(reason)]);
}

/// Notes how long a phase took; gives it in milliseconds.
fn took(phase: &'static str, duration: Duration) -> u64 {
    metrics::PHASES.observe([Label::Word(phase)], duration);
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
