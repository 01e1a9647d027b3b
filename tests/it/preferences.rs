//! `Prefer` and `Idempotency-Key` beyond the plain case: which preference counts, what a dry run says of an asynchronous
//! run, how a stream ends that outlives its server, and which requests a key takes for the same.

use super::async_runs::{finished, forget_all};
use super::run::shell;
use super::support::{Answer, EventStream, Request, Server, docker, read_answer};
use serde_json::{Value, json};

fn prefer(server: &Server, path: &str, preferences: &[&str], request: &Value) -> Answer {
    let fields: Vec<(&str, &str)> = preferences.iter().map(|value| ("Prefer", *value)).collect();
    let body = request.to_string();
    server.ask(&Request::new("POST", path).fields(&fields).body(&body))
}

#[test]
fn the_first_of_equal_preferences_counts_and_parameters_and_quotes_are_no_preferences() {
    let server = Server::start();
    let slow = shell("sleep 30", json!({}));
    for preferences in [&["wait=1", "wait=20"][..], &["wait=1, wait=20"]] {
        let answer = prefer(&server, "/run", preferences, &slow);
        assert_eq!(answer.status, 202, "{preferences:?}");
        assert_eq!(answer.header("Preference-Applied").unwrap(), "wait=1");
        forget_all(&server);
    }
    let quick = shell("true", json!({}));
    for preference in [
        "foo; respond-async",
        "foo=\"x, respond-async\"",
        "foo=\"a\\\"b, respond-async, c\"",
        "foo=\"x; wait=0\"",
        "foo;wait=0",
    ] {
        let answer = prefer(&server, "/run", &[preference], &quick);
        assert_eq!(answer.status, 200, "{preference}");
        assert_eq!(answer.header("Preference-Applied"), None, "{preference}");
    }
    let answer = prefer(&server, "/run", &["foo=\"a,b\", respond-async"], &quick);
    assert_eq!(answer.status, 202);
    forget_all(&server);
    server.stop();
}

#[test]
fn a_dry_run_plans_the_container_that_an_asynchronous_run_gets() {
    let server = Server::start();
    let request = shell("sleep 30", json!({}));
    let plan = |preferences: &[&str]| {
        let answer = prefer(&server, "/run?dry_run=1", preferences, &request);
        assert_eq!(answer.status, 200);
        answer.json()["container"].clone()
    };
    let (plain, later) = (plan(&[]), plan(&["respond-async"]));
    assert_eq!(plain["HostConfig"]["LogConfig"]["Type"], "none");
    assert_eq!(plain["Labels"].get("oneoff.async"), None);
    assert_eq!(
        prefer(&server, "/run", &["respond-async"], &request).status,
        202
    );
    let container = server.await_running();
    let real = docker(&["inspect", "--format", "{{json .}}", &container]);
    let real: Value = serde_json::from_str(&real).unwrap();
    assert_eq!(
        later["HostConfig"]["LogConfig"],
        real["HostConfig"]["LogConfig"]
    );
    // The container also has the labels of its image.
    let planned = later["Labels"].as_object().unwrap();
    for name in planned.keys() {
        assert!(real["Config"]["Labels"].get(name).is_some(), "{name}");
    }
    assert_eq!(later["Labels"]["oneoff.async"], "run");
    forget_all(&server);
    server.stop();
}

#[test]
fn too_many_runs_are_refused_with_the_name_of_the_limit_that_was_reached() {
    let server = Server::with(&[
        ("RUNNER_MAX_CONCURRENT_RUNS", "1"),
        ("RUNNER_QUEUE_LENGTH", "0"),
        ("RUNNER_MAX_ASYNC_RUNS", "1"),
    ]);
    let slow = shell("sleep 60", json!({}));
    assert_eq!(
        prefer(&server, "/run", &["respond-async"], &slow).status,
        202
    );
    server.await_running();
    let refusal = |preferences: &[&str]| {
        let (status, code, detail) = prefer(&server, "/run", preferences, &slow).problem();
        assert_eq!((status, code.as_str()), (429, "queue_full"));
        detail
    };
    let (plain, later) = (refusal(&[]), refusal(&["respond-async"]));
    assert!(
        plain.contains("slot") && plain.contains("RUNNER_QUEUE_LENGTH"),
        "{plain}"
    );
    assert!(
        later.contains("RUNNER_MAX_ASYNC_RUNS") && !later.contains("slot"),
        "{later}"
    );
    forget_all(&server);
    server.stop();
}

#[test]
fn a_stream_that_outlives_its_server_ends_with_an_error_and_the_run_goes_on() {
    let server = Server::with(&[("RUNNER_SHUTDOWN_GRACE_SECS", "5")]);
    let request = shell("echo begun; sleep 3; echo over", json!({})).to_string();
    let mut streams: Vec<EventStream> = ["text/event-stream", "application/x-ndjson"]
        .iter()
        .map(|accept| {
            let fields = [("Accept", *accept), ("Idempotency-Key", "one")];
            let request = Request::new("POST", "/run").fields(&fields).body(&request);
            EventStream::new(server.begin(&request))
        })
        .collect();
    let mut other = server.begin(&Request::new("GET", "/runs"));
    let runs = read_answer(&mut other).unwrap().json();
    let path = format!("/runs/{}", runs["runs"][0]["id"].as_str().unwrap());
    let mut ndjson = streams.pop().unwrap();
    let mut sse = streams.pop().unwrap();
    sse.until("stdout");
    let instance = server.leave();
    let rest = sse.events();
    let (name, problem) = rest.last().expect("a last event");
    assert_eq!(
        (name.as_str(), &problem["code"]),
        ("error", &json!("stopping"))
    );
    assert!(problem["detail"].as_str().unwrap().contains(&path));
    let last = std::iter::from_fn(|| ndjson.line()).last().unwrap();
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(
        (&last["event"], &last["code"]),
        (&json!("error"), &json!("stopping"))
    );

    let next = Server::named(&instance, &[]);
    let state = finished(&next, &path);
    assert_eq!(state["result"]["stdout"], "begun\nover\n");
    forget_all(&next);
    next.stop();
}
