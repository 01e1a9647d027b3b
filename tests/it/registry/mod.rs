//! Pulls from a real registry that wants a password.

use super::async_runs::{finished, forget_all, submit};
use super::run::shell;
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::{Answer, Directory, Live, Server, docker, read_answer};
use serde_json::{Value, json};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// A run of `cat /version` in an image of the registry, with further fields.
fn version_of(registry: &Registry, name: &str, more: Value) -> Value {
    let mut request = json!({
        "image": format!("{}/{name}", registry.address()), "command": ["cat", "/version"], "network": "none",
    });
    let Value::Object(more) = more else {
        panic!("an object")
    };
    request.as_object_mut().unwrap().extend(more);
    request
}

fn problem(answer: &Answer) -> (u16, String, String) {
    let problem = answer.json();
    let text = |field: &str| problem[field].as_str().unwrap_or_default().to_owned();
    (answer.status, text("code"), text("detail"))
}

#[test]
fn the_right_password_pulls_and_the_answer_names_the_digest() {
    let registry = Registry::start();
    let digest = registry.push("team/app:1", "one");
    let server = Server::start();
    let auth = json!({"auth_config": registry.credentials()});
    let result = server.run(version_of(&registry, "team/app:1", auth.clone()));
    assert_eq!(result["stdout"], "one\n");
    assert_eq!(result["image_digest"], json!(digest));
    let by_digest = format!("team/app@{digest}");
    let result = server.run(version_of(&registry, &by_digest, auth));
    assert_eq!(result["stdout"], "one\n");
    assert_eq!(result["image_digest"], json!(digest));
    server.stop();
}

#[test]
fn a_digest_reference_needs_no_tag_and_outlives_a_moved_one() {
    let registry = Registry::start();
    let old = registry.push("team/pinned:1", "old");
    let new = registry.push("team/pinned:1", "new");
    assert_ne!(old, new);
    let server = Server::start();
    for (reference, version) in [
        (format!("team/pinned@{old}"), "old\n"),
        // A tag beside a digest says nothing more.
        (format!("team/pinned:1@{old}"), "old\n"),
        (format!("team/pinned@{new}"), "new\n"),
    ] {
        let auth = json!({"auth_config": registry.credentials()});
        let result = server.run(version_of(&registry, &reference, auth));
        assert_eq!(result["stdout"], version, "{reference}");
        let digest = reference.split_once('@').unwrap().1;
        assert_eq!(result["image_digest"], digest, "{reference}");
    }
    server.stop();
}

#[test]
fn wrong_and_missing_passwords_are_a_403_with_the_registrys_words() {
    let registry = Registry::start();
    registry.push("team/secret:1", "secret");
    let server = Server::start();
    let wrong = |username: &str, password: &str| json!({"auth_config": {"username": username, "password": password, "serveraddress": registry.address()}});
    for (more, words) in [
        (json!({}), "no basic auth credentials"),
        (wrong(USER, "Wrong0815"), "unauthorized"),
        (wrong("mallory", PASSWORD), "unauthorized"),
        (wrong("", ""), "no basic auth credentials"),
    ] {
        for policy in ["always", "missing"] {
            let mut request = version_of(&registry, "team/secret:1", more.clone());
            request["pull_policy"] = json!(policy);
            let answer = server.post("/run", &request);
            let (status, code, detail) = problem(&answer);
            assert_eq!(
                (status, code.as_str()),
                (403, "registry_denied"),
                "{more}: {detail}"
            );
            assert!(detail.contains(words), "{more}: {detail}");
        }
    }
    assert!(!registry.engine_has("team/secret:1"));
    assert_eq!(server.leftovers(), Vec::<String>::new());
    server.stop();
}

#[test]
fn a_password_is_neither_answered_nor_logged() {
    let registry = Registry::start();
    registry.push("team/quiet:1", "quiet");
    let directory = Directory::new("log");
    let log = directory.file("stderr");
    let server = Server::with_log(&[("RUST_LOG", "trace")], log.as_ref());
    let wrong = "Tr0ub4dor&3 is wrong";
    let right = server.post(
        "/run",
        &version_of(
            &registry,
            "team/quiet:1",
            json!({"auth_config": registry.credentials()}),
        ),
    );
    assert_eq!(right.status, 200);
    let auth = json!({"username": USER, "password": wrong, "serveraddress": registry.address()});
    let refused = server.post(
        "/run",
        &version_of(&registry, "team/quiet:1", json!({"auth_config": auth})),
    );
    assert_eq!(refused.status, 403);
    // A request that is refused before it is understood must not be quoted either.
    let unclear = json!({"username": USER, "password": wrong, "pasword": wrong});
    let invalid = server.post(
        "/run",
        &version_of(&registry, "team/quiet:1", json!({"auth_config": unclear})),
    );
    assert_eq!(invalid.status, 422);
    server.stop();
    let mut told = std::fs::read(&log).unwrap();
    assert!(!told.is_empty(), "the log is captured");
    for answer in [right, refused, invalid] {
        told.extend(answer.body);
    }
    let told = String::from_utf8_lossy(&told);
    for password in [PASSWORD, wrong] {
        assert_not_told(password, &told);
    }
}

#[test]
fn a_restart_forgets_passwords_and_says_so_where_one_would_have_been_needed() {
    let registry = Registry::start();
    for name in ["team/short:1", "team/long:1", "team/there:1"] {
        registry.push(name, name);
    }
    let directory = Directory::new("log");
    let logs = ["before", "after"].map(|name| directory.path().join(name));
    let settings = [
        ("RUNNER_MAX_CONCURRENT_RUNS", "1"),
        ("RUST_LOG", "trace,ureq_proto=debug"),
    ];
    let server = Server::with_log(&settings, &logs[0]);
    let with = |policy: &str, text: &str| {
        json!({
            "auth_config": registry.credentials(), "pull_policy": policy,
            "volumes": {"/text": {"type": "file", "text": text}},
        })
    };
    server.run(version_of(&registry, "team/there:1", with("always", "")));
    let endless = shell("echo begun; sleep 600", json!({"timeout_secs": 1000}));
    let blocker = submit(&server, &endless);
    Live::new(server.begin(("GET", &format!("{blocker}/events")), "", "")).until("stdout");
    // What is long is kept elsewhere than what is short.
    let long = "#".repeat(100_000);
    let [short, long, there] = [
        ("team/short:1", with("always", "")),
        ("team/long:1", with("missing", &long)),
        ("team/there:1", with("missing", "")),
    ]
    .map(|(name, more)| submit(&server, &version_of(&registry, name, more)));
    let instance = server.kill();

    let kept = kept_by_the_engine(&instance);
    for name in ["team/short:1", "team/long:1", "team/there:1"] {
        assert!(kept.contains(name), "the request for {name} is kept");
    }
    assert_not_told(PASSWORD, &kept);

    let heir = Server::named_with_log(&instance, &settings, &logs[1]);
    for path in [&short, &long, &there] {
        assert_eq!(heir.get(path).json()["state"], "queued");
    }
    assert_eq!(heir.request("DELETE", &blocker, "").status, 202);
    for (path, name) in [(&short, "team/short:1"), (&long, "team/long:1")] {
        let state = finished(&heir, path);
        let error = &state["error"];
        assert_eq!(
            (&state["result"], &error["status"], &error["code"]),
            (&Value::Null, &json!(403), &json!("registry_denied")),
            "{name}: {state}"
        );
        let detail = error["detail"].as_str().unwrap();
        for words in ["no basic auth credentials", "not kept over a restart"] {
            assert!(detail.contains(words), "{name}: {detail}");
        }
        assert!(!registry.engine_has(name), "{name} was not pulled");
    }
    let state = finished(&heir, &there);
    assert_eq!(state["result"]["stdout"], "team/there:1\n", "{state}");
    // Only the four outcomes, once what is not needed any more is gone.
    while heir.leftovers().len() > 4 {}
    assert_not_told(PASSWORD, &kept_by_the_engine(&instance));
    forget_all(&heir);
    heir.stop();
    for log in &logs {
        let told = std::fs::read(log).unwrap();
        assert!(!told.is_empty(), "the log is captured");
        assert_not_told(PASSWORD, &String::from_utf8_lossy(&told));
    }
}

/// What the engine tells of an instance's containers, and what their volumes hold.
fn kept_by_the_engine(instance: &str) -> String {
    let filter = format!("label=oneoff.instance={instance}");
    let containers = docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
    let mut kept = String::new();
    for container in containers.lines() {
        let told = docker(&["inspect", container]);
        let inspected: Value = serde_json::from_str(&told).unwrap();
        for mount in inspected[0]["Mounts"].as_array().unwrap() {
            let place = mount["Destination"].as_str().unwrap();
            kept += &docker(&["cp", &format!("{container}:{place}"), "-"]);
        }
        kept += &told;
    }
    kept
}

/// A secret shows neither as it is, nor in base64, nor in a dump of bytes.
fn assert_not_told(secret: &str, told: &str) {
    let told = format!("{told}\n{}", last_columns(told));
    for form in forms(secret) {
        assert!(!told.contains(&form), "{form} shows");
    }
}

/// The last words of all lines, joined: a dump of bytes in columns would hide what it shows from a plain search.
fn last_columns(log: &str) -> String {
    log.lines()
        .filter_map(|line| line.rsplit("  ").next())
        .collect()
}

/// A secret as it is, and as it looks inside base64 whatever stands before it.
fn forms(secret: &str) -> Vec<String> {
    use base64::Engine as _;
    let mut forms = vec![secret.to_owned()];
    for offset in 0..3 {
        let shifted = format!("{}{secret}", "x".repeat(offset));
        let inner = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(shifted);
        // The first and last letters also depend on their neighbours.
        forms.push(inner[4..inner.len() - 4].to_owned());
    }
    forms
}

#[test]
fn what_the_registry_does_not_have_is_a_404() {
    let registry = Registry::start();
    let digest = registry.push("team/there:1", "one");
    let server = Server::start();
    let absent = format!("team/there@sha256:{}", "0".repeat(64));
    for name in ["team/there:2", "team/nowhere:1", &absent] {
        let auth = json!({"auth_config": registry.credentials()});
        let answer = server.post("/run", &version_of(&registry, name, auth));
        let (status, code, detail) = problem(&answer);
        assert_eq!(
            (status, code.as_str()),
            (404, "image_not_found"),
            "{name}: {detail}"
        );
    }
    assert!(!absent.contains(&digest));
    server.stop();
}

#[test]
fn a_registry_that_is_down_is_a_502_and_an_image_that_is_there_still_runs() {
    let mut registry = Registry::start();
    registry.push("team/app:1", "one");
    let server = Server::start();
    let auth = json!({"auth_config": registry.credentials()});
    registry.stop();
    for policy in ["always", "missing"] {
        let mut request = version_of(&registry, "team/app:1", auth.clone());
        request["pull_policy"] = json!(policy);
        let (status, code, detail) = problem(&server.post("/run", &request));
        assert_eq!(
            (status, code.as_str()),
            (502, "registry_unreachable"),
            "{detail}"
        );
    }
    registry.resume();
    server.run(version_of(&registry, "team/app:1", auth.clone()));
    registry.stop();
    let mut request = version_of(&registry, "team/app:1", auth);
    request["pull_policy"] = json!("missing");
    assert_eq!(server.run(request)["stdout"], "one\n");
    server.stop();
}

#[test]
fn always_sees_a_moved_tag_and_missing_and_never_do_not() {
    let registry = Registry::start();
    let old = registry.push("team/moving:1", "old");
    let server = Server::start();
    let run = |policy: &str| {
        let more = json!({"pull_policy": policy, "auth_config": registry.credentials()});
        let result = server.run(version_of(&registry, "team/moving:1", more));
        (result["stdout"].clone(), result["image_digest"].clone())
    };
    assert_eq!(run("missing"), (json!("old\n"), json!(old)), "it is pulled");
    let new = registry.push("team/moving:1", "new");
    for policy in ["missing", "never"] {
        assert_eq!(run(policy), (json!("old\n"), json!(old)), "{policy}");
    }
    assert_eq!(run("always"), (json!("new\n"), json!(new)));
    assert_eq!(run("never"), (json!("new\n"), json!(new)), "from now on");
    server.stop();
}

#[test]
fn anothers_credentials_do_not_serve() {
    let registry = Registry::start();
    registry.push("team/private:1", "private");
    let server = Server::start();
    let with = json!({"auth_config": registry.credentials()});
    server.run(version_of(&registry, "team/private:1", with.clone()));
    assert!(registry.engine_has("team/private:1"));
    let without = version_of(&registry, "team/private:1", json!({}));
    let (status, code, detail) = problem(&server.post("/run", &without));
    assert_eq!(
        (status, code.as_str()),
        (403, "registry_denied"),
        "{detail}"
    );

    // Nor while the other's pull of the same image is under way.
    registry.freeze();
    let mut entitled = server.begin_run(&version_of(&registry, "team/private:1", with));
    let mut stranger = server.begin_run(&without);
    registry.unfreeze();
    let entitled = read_answer(&mut entitled).unwrap();
    assert_eq!(entitled.json()["stdout"], "private\n");
    let stranger = read_answer(&mut stranger).unwrap();
    assert_eq!(stranger.status, 403, "{}", stranger.json());
    server.stop();
}

#[test]
fn runs_that_need_the_same_image_at_once_share_one_pull() {
    const RUNS: usize = 8;
    let registry = Registry::start();
    registry.push("team/alone:1", "alone");
    registry.push("team/shared:1", "shared");
    let slots = RUNS.to_string();
    let server = Server::with(&[
        ("RUNNER_MAX_CONCURRENT_RUNS", &slots),
        ("RUNNER_QUEUE_LENGTH", "1"),
    ]);
    let request = |name: &str| {
        let more = json!({"auth_config": registry.credentials()});
        version_of(&registry, name, more)
    };
    server.run(request("team/alone:1"));
    let of_one_pull = registry.fetched("team/alone").len();

    registry.freeze();
    let runs: Vec<TcpStream> = (0..RUNS)
        .map(|_| server.begin_run(&request("team/shared:1")))
        .collect();
    await_full(&server);
    registry.unfreeze();
    for mut run in runs {
        let answer = read_answer(&mut run).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.json());
        assert_eq!(answer.json()["stdout"], "shared\n");
    }
    let fetched = registry.fetched("team/shared");
    assert!(of_one_pull >= 2, "a manifest and a blob at least");
    assert_eq!(fetched.len(), of_one_pull, "{fetched:?}");
    server.stop();
}

/// Waits until every slot is taken and somebody is in the queue's only place.
fn await_full(server: &Server) {
    let cheap = json!({"image": "no-such-image:1", "command": "true", "pull_policy": "never"});
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut waiting = Vec::new();
    loop {
        let mut run = server.begin_run(&cheap);
        run.set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        match read_answer(&mut run).map(|answer| answer.status) {
            Some(429) => return,
            Some(404) => {}
            None => waiting.push(run),
            other => panic!("{other:?}"),
        }
        assert!(Instant::now() < deadline, "the slots are not all taken");
    }
}

#[test]
fn a_shared_pull_goes_on_when_one_of_those_who_wait_leaves() {
    let registry = Registry::start();
    registry.push("team/shared:2", "shared");
    let server = Server::with(&[
        ("RUNNER_MAX_CONCURRENT_RUNS", "3"),
        ("RUNNER_QUEUE_LENGTH", "1"),
    ]);
    let more = json!({"auth_config": registry.credentials()});
    let request = version_of(&registry, "team/shared:2", more);
    registry.freeze();
    let first = server.begin_run(&request);
    let mut others = [server.begin_run(&request), server.begin_run(&request)];
    await_full(&server);
    drop(first);
    registry.unfreeze();
    for run in &mut others {
        let answer = read_answer(run).unwrap();
        assert_eq!(answer.json()["stdout"], "shared\n");
    }
    server.stop();
}

#[test]
fn watched_runs_that_share_a_pull_all_hear_of_its_layers() {
    let registry = Registry::start();
    // A layer that no other test's image has.
    let version = format!("watched by {}", std::process::id());
    registry.push("team/app:1", &version);
    let server = Server::start();
    let auth = json!({"auth_config": registry.credentials()});
    let request = version_of(&registry, "team/app:1", auth).to_string();
    let accept = "Accept: text/event-stream\r\n";
    registry.freeze();
    let mut watchers: Vec<Live> = Vec::new();
    for _ in 0..2 {
        let mut watcher = Live::new(server.begin(("POST", "/run"), accept, &request));
        let begun = watcher.until("pull");
        assert_eq!(begun["status"], "Contacting the registry", "{begun}");
        watchers.push(watcher);
    }
    registry.unfreeze();
    for watcher in watchers {
        let events = watcher.events();
        let started = events
            .iter()
            .position(|(name, _)| name == "started")
            .unwrap();
        let (pulls, rest) = events.split_at(started);
        assert!(pulls.iter().all(|(name, _)| name == "pull"), "{pulls:?}");
        let complete = |data: &Value| data["status"] == "Pull complete" && data["id"].is_string();
        assert!(pulls.iter().any(|(_, data)| complete(data)), "{pulls:?}");
        assert!(
            pulls
                .iter()
                .any(|(_, data)| data["total"].as_u64() > Some(0)),
            "{pulls:?}"
        );
        assert_eq!(rest.last().unwrap().1["stdout"], format!("{version}\n"));
    }
    server.stop();
}

#[test]
fn an_asynchronous_run_says_that_it_pulls_and_can_be_cancelled_then() {
    let registry = SilentRegistry::new();
    let server = Server::start();
    let path = submit(&server, &registry.run());
    let caller = registry.await_caller();
    let state = server.get(&path).json();
    assert_eq!(
        (&state["state"], &state["started_at"]),
        (&json!("pulling"), &Value::Null),
        "{state}"
    );
    assert_eq!(
        server.get("/runs?state=pulling").json()["runs"][0]["id"],
        state["id"]
    );
    assert_eq!(server.request("DELETE", &path, "").status, 202);
    let result = finished(&server, &path)["result"].clone();
    assert_eq!(result["status"], "error: cancelled", "{result}");
    drop(caller);
    forget_all(&server);
    server.stop();
}

/// A registry that accepts connections and never answers.
struct SilentRegistry(TcpListener);

impl SilentRegistry {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn run(&self) -> Value {
        json!({"image": format!("{}/silent:1", self.0.local_addr().unwrap()), "command": "true", "network": "none"})
    }

    /// Waits for somebody to connect, and to say what he wants.
    fn await_caller(&self) -> TcpStream {
        let (mut stream, _) = self.0.accept().unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 1);
        stream
    }
}

#[test]
fn a_pull_that_takes_too_long_is_a_504() {
    let registry = SilentRegistry::new();
    let server = Server::with(&[("RUNNER_PULL_TIMEOUT_SECS", "1")]);
    let threads = server.status_number("Threads");
    let began = Instant::now();
    let (status, code, detail) = problem(&server.post("/run", &registry.run()));
    let took = began.elapsed();
    assert_eq!((status, code.as_str()), (504, "pull_timeout"), "{detail}");
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(3)).contains(&took),
        "{took:?}"
    );
    await_threads(&server, |now| now <= threads);
    server.stop();
}

#[test]
fn a_pull_that_nobody_waits_for_any_more_is_abandoned() {
    let registry = SilentRegistry::new();
    let server = Server::start();
    server.get("/health");
    let threads = server.status_number("Threads");
    for _ in 0..2 {
        let runs: Vec<TcpStream> = (0..4).map(|_| server.begin_run(&registry.run())).collect();
        let caller = registry.await_caller();
        // The caller may be one that the engine tries again for an earlier pull.
        await_threads(&server, |now| now > threads);
        drop(runs);
        await_threads(&server, |now| now <= threads);
        drop(caller);
    }
    assert_eq!(server.get("/health").status, 200);
    server.stop();
}

fn await_threads(server: &Server, are_enough: impl Fn(u64) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let threads = server.status_number("Threads");
        if are_enough(threads) {
            return;
        }
        assert!(Instant::now() < deadline, "{threads} threads");
        // No event: nobody tells when a thread of another process ends.
        std::thread::sleep(Duration::from_millis(20));
    }
}
