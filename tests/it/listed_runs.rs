//! `/runs` of plain runs, whose callers wait for the result, and `GET /events`, the stream behind the page.

use super::async_runs::{forget_all, submit};
use super::run::shell;
use super::support::{Answer, EventStream, IMAGE, Request, Server, read_answer};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn runs(server: &Server, query: &str) -> Vec<Value> {
    let listed = server.get(&format!("/runs{query}")).json();
    listed["runs"].as_array().unwrap().clone()
}

/// Waits until a run in this state is listed. Returns it.
fn await_state(server: &Server, state: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(run) = runs(server, &format!("?state={state}")).first() {
            return run.clone();
        }
        assert!(Instant::now() < deadline, "no run is {state}");
    }
}

fn path_of(run: &Value) -> String {
    format!("/runs/{}", run["id"].as_str().unwrap())
}

fn events(server: &Server, path: &str) -> EventStream {
    EventStream::new(server.begin(&Request::new("GET", path)))
}

const SECRETS: [&str; 4] = ["env-secret", "stdin-secret", "file-secret", "auth-secret"];

#[test]
fn a_plain_run_is_listed_followed_and_afterwards_summarized_without_what_it_was_given() {
    let server = Server::start();
    let [env, stdin, file, auth] = SECRETS;
    let request = json!({
        "image": IMAGE, "pull_policy": "never", "network": "none", "env_vars": {"SECRET": env}, "stdin": stdin,
        "auth_config": {"username": "me", "password": auth},
        "volumes": {"/in/file": {"type": "file", "text": file}},
        "command": ["sh", "-c", "echo begun; until [ -e /tmp/go ]; do sleep 0.1; done; echo over; exit 3"],
    });
    let mut caller = server.begin_run(&request);
    let run = await_state(&server, "running");
    assert_eq!(run["kind"], "plain");
    assert_eq!(
        (&run["image"], &run["command"]),
        (&json!(IMAGE), &request["command"])
    );
    let path = path_of(&run);
    assert_eq!(server.get(&path).json()["result"], Value::Null);
    let mut followed = events(&server, &format!("{path}/events"));
    let begun = followed.until("stdout");
    assert_eq!(begun["data"], "begun\n", "what it has printed before");

    let container = server.await_running();
    super::support::docker(&["exec", &container, "touch", "/tmp/go"]);
    let answer = read_answer(&mut caller).unwrap().json();
    assert_eq!(
        (&answer["stdout"], &answer["exit_code"]),
        (&json!("begun\nover\n"), &json!(3))
    );
    let rest = followed.events();
    let (last, ended) = rest.last().unwrap();
    assert!(
        rest.iter().any(|(_, data)| data["data"] == "over\n"),
        "{rest:?}"
    );
    assert_eq!(
        (last.as_str(), &ended["status"]),
        ("ended", &json!("error: 3"))
    );

    let state = server.get(&path).json();
    assert_eq!(&state, ended);
    for (field, value) in [
        ("state", json!("finished")),
        ("reason", json!("exited")),
        ("exit_code", json!(3)),
        ("timings", answer["timings"].clone()),
        ("result", Value::Null),
        ("error", Value::Null),
    ] {
        assert_eq!(state[field], value, "{field}");
    }
    let words = state["result_detail"].as_str().unwrap();
    assert!(words.contains("not kept"), "{words}");
    let everything = [
        server.get("/runs"),
        server.get(&path),
        events_as_text(&server, &path),
    ];
    for answer in everything {
        let text = String::from_utf8(answer.body).unwrap();
        for secret in SECRETS.iter().chain(&["over\\n"]) {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    assert_eq!(server.request("DELETE", &path, "").status, 200);
    assert_eq!(server.get(&path).status, 404);
    server.await_nothing_left();
    server.stop();
}

/// The events of a run that has ended.
fn events_as_text(server: &Server, path: &str) -> Answer {
    server.get(&format!("{path}/events"))
}

#[test]
fn another_caller_cancels_a_plain_run_and_its_own_gets_what_it_had_printed() {
    let server = Server::with(&[("RUNNER_MAX_CONCURRENT_RUNS", "1")]);
    let request = shell("echo partial; sleep 600", json!({"timeout_secs": 1000}));
    let mut running = server.begin_run(&request);
    let run = await_state(&server, "running");
    events(&server, &format!("{}/events", path_of(&run))).until("stdout");
    let streamed = Request::new("POST", "/run").fields(&[("Accept", "application/x-ndjson")]);
    let mut streamed = server.begin(&streamed.body(&request.to_string()));
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "run_container", "arguments": request}});
    let waiting = await_state(&server, "queued");
    let mut tool = server.begin(&Request::new("POST", "/mcp").body(&call.to_string()));
    while runs(&server, "?state=queued").len() < 2 {}
    let by_tool = runs(&server, "?kind=plain&state=queued")[0].clone();

    // One that waits, by REST and by MCP, and one that runs.
    for run in [&waiting, &by_tool, &run] {
        let answer = server.request("DELETE", &path_of(run), "");
        assert_eq!(answer.status, 202, "{}", answer.json());
    }
    let lines = String::from_utf8(read_answer(&mut streamed).unwrap().body).unwrap();
    assert!(lines.contains(r#""status":"error: cancelled""#), "{lines}");
    let result = read_answer(&mut tool).unwrap().json()["result"].clone();
    assert_eq!(
        result["structuredContent"]["status"], "error: cancelled",
        "{result}"
    );
    let answer = read_answer(&mut running).unwrap();
    let result = answer.json();
    assert_eq!(
        (answer.status, &result["status"]),
        (200, &json!("error: cancelled"))
    );
    assert_eq!(result["stdout"], "partial\n");
    assert_eq!(runs(&server, "?state=finished").len(), 3);
    server.await_nothing_left();
    server.stop();
}

#[test]
fn a_cancel_that_comes_too_late_forgets_no_run_if_it_says_so() {
    let server = Server::start();
    server.run(shell("echo plain", json!({})));
    let plain = path_of(&await_state(&server, "finished"));
    let request = shell("sleep 600", json!({"timeout_secs": 1000}));
    let asynchronous = super::async_runs::submit(&server, &request);
    let cancel = |path: &str| server.request("DELETE", &format!("{path}?cancel_only=1"), "");
    assert_eq!(cancel(&asynchronous).status, 202);
    super::async_runs::finished(&server, &asynchronous);
    for path in [&plain, &asynchronous] {
        for _ in 0..2 {
            let answer = cancel(path);
            assert_eq!(
                (answer.status, &answer.json()["state"]),
                (200, &json!("finished"))
            );
        }
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    for (query, at) in [
        ("cancel_onyl=1", "cancel_onyl"),
        ("cancel_only=x", "cancel_only"),
    ] {
        let answer = server.request("DELETE", &format!("{plain}?{query}"), "");
        assert_eq!(answer.status, 422);
        assert_eq!(answer.json()["errors"][0]["loc"], json!(["query", at]));
    }
    for path in [&plain, &asynchronous] {
        assert_eq!(server.request("DELETE", path, "").status, 200);
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    server.await_nothing_left();
    server.stop();
}

#[test]
fn of_a_cancelled_run_every_path_that_was_asked_back_says_why_it_has_no_content() {
    let server = Server::start();
    let volumes = json!({"/o": {"type": "directory", "response": true}, "/f": {"type": "file", "response": true}});
    let request = shell(
        "echo begun; sleep 600",
        json!({"timeout_secs": 1000, "volumes": volumes}),
    );
    let mut caller = server.begin_run(&request);
    let run = await_state(&server, "running");
    server.request("DELETE", &path_of(&run), "");
    let result = read_answer(&mut caller).unwrap().json();
    for path in ["/o", "/f"] {
        let volume = &result["volumes"][path];
        assert_eq!(volume["content"], Value::Null);
        assert_eq!(volume["detail"], "the run was cancelled", "{result}");
    }
    server.await_nothing_left();
    server.stop();
}

#[test]
fn runs_of_both_kinds_are_in_one_list_newest_first_and_refused_requests_in_none() {
    let server = Server::with(&[
        ("RUNNER_QUEUE_LENGTH", "0"),
        ("RUNNER_MAX_CONCURRENT_RUNS", "1"),
    ]);
    let run = |n: u32| shell(&format!("echo {n}"), json!({}));
    server.run(run(1));
    let path = submit(&server, &run(2));
    super::async_runs::finished(&server, &path);
    server.run(run(3));
    let mut blocker = server.begin_run(&shell("sleep 600", json!({"timeout_secs": 1000})));
    let blocking = await_state(&server, "running");
    for _ in 0..3 {
        assert_eq!(server.post("/run", &run(4)).status, 429);
    }
    let kinds = |query: &str| -> Vec<String> {
        let of = |run: &Value| run["kind"].as_str().unwrap().to_owned();
        runs(&server, query).iter().map(of).collect()
    };
    assert_eq!(kinds(""), ["plain", "plain", "async", "plain"]);
    assert_eq!(kinds("?kind=async"), ["async"]);
    assert_eq!(kinds("?kind=plain&state=finished"), ["plain", "plain"]);
    assert_eq!(kinds("?limit=3"), ["plain", "plain", "async"]);
    assert_eq!(server.get("/runs?limit=3").json()["complete"], false);
    assert_eq!(server.get("/runs?limit=4").json()["complete"], true);
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_runs", "arguments": {}}});
    let listed = server.post("/mcp", &call).json()["result"]["structuredContent"].clone();
    assert_eq!(
        listed["runs"].as_array().unwrap().len(),
        1,
        "detached ones: {listed}"
    );

    server.request("DELETE", &path_of(&blocking), "");
    read_answer(&mut blocker).unwrap();
    forget_all(&server);
    assert_eq!(kinds(""), ["plain", "plain", "plain"]);
    server.stop();
}

#[test]
fn the_last_two_hundred_plain_runs_are_listed_and_of_a_long_one_the_end_of_its_output() {
    let server = Server::start();
    // Fails before it needs the engine's help.
    let broken = json!({"image": "no-such-image:here", "pull_policy": "never"});
    for _ in 0..205 {
        assert_eq!(server.post("/run", &broken).status, 404);
    }
    let listed = runs(&server, "?limit=1000");
    assert_eq!(listed.len(), 200);
    assert_eq!(listed[0]["error"]["code"], "image_not_found");
    assert_eq!(listed[0]["status"], "failed");

    let mut caller = server.begin_run(&shell(
        "yes | head -c 3000000; echo end; sleep 600",
        json!({"timeout_secs": 1000}),
    ));
    let run = await_state(&server, "running");
    let path = format!("{}/events", path_of(&run));
    let mut followed = events(&server, &path);
    loop {
        let (_, name, data) = followed.event().unwrap();
        if name == "stdout" && data["data"].as_str().unwrap().ends_with("end\n") {
            break;
        }
    }
    let mut late = events(&server, &path);
    let (_, first, skipped) = late.event().unwrap();
    assert_eq!(first, "skipped");
    assert!(skipped["events"].as_u64().unwrap() > 10, "{skipped}");
    assert_eq!(server.request("DELETE", &path_of(&run), "").status, 202);
    let result = read_answer(&mut caller).unwrap().json();
    assert_eq!(result["stdout"].as_str().unwrap().len(), 3_000_004);
    server.await_nothing_left();
    server.stop();
}

#[test]
fn the_stream_of_everything_begins_with_all_runs_and_ends_with_the_server() {
    let server = Server::with(&[("AUTH_TOKEN", "s3cret")]);
    assert_eq!(server.get("/events").status, 401);
    let token = [("Authorization", "Bearer s3cret")];
    let request = |text: &str| shell(text, json!({})).to_string();
    let post = |text: &str| {
        let body = request(text);
        server.ask(&Request::new("POST", "/run").fields(&token).body(&body))
    };
    let before = post("echo before").json();
    let mut stream = EventStream::new(server.begin(&Request::new("GET", "/events").fields(&token)));
    let status = stream.until("status");
    assert!(status["slots"]["total"].as_u64().unwrap() > 0, "{status}");
    assert!(
        status["memory"]["limit_bytes"].as_u64().unwrap() > 0,
        "{status}"
    );
    let first = stream.until("runs");
    assert_eq!(first["runs"][0]["id"], before["id"]);
    stream.until("complete");

    let after = post("echo after; echo err >&2").json();
    let mut states = Vec::new();
    while states.last() != Some(&json!("finished")) {
        let changed = stream.until("runs");
        for run in changed["runs"].as_array().unwrap() {
            assert_eq!((&run["id"], &run["result"]), (&after["id"], &Value::Null));
            states.push(run["state"].clone());
        }
    }
    let path = format!("/runs/{}", after["id"].as_str().unwrap());
    server.ask(&Request::new("DELETE", &path).fields(&token));
    let changed = stream.until("runs");
    assert_eq!(changed["gone"], json!([after["id"]]));
    loop {
        let status = stream.until("status");
        if status["engine"]["ok"] == true {
            break;
        }
    }
    server.signal("TERM");
    let rest = stream.events();
    assert!(rest.iter().all(|(name, _)| name != "error"), "{rest:?}");
    server.stop_signalled();
}

#[test]
fn two_hundred_open_pages_cost_little_memory() {
    const PAGES: usize = 200;
    let server = Server::start();
    let request = shell("true", json!({"network": "none"}));
    for _ in 0..3 {
        server.run(request.clone());
    }
    let before = server.status_number("VmRSS");
    let mut pages: Vec<EventStream> = (0..PAGES).map(|_| events(&server, "/events")).collect();
    for page in &mut pages {
        page.until("complete");
    }
    server.run(request);
    let cost = server.status_number("VmRSS").saturating_sub(before);
    println!("{PAGES} pages: {cost} kB");
    assert!(cost < 40_000, "{PAGES} pages cost {cost} kB");
    // None of them has read since; each is sent all that it missed.
    let last = runs(&server, "")[0]["id"].clone();
    for page in &mut pages {
        let mut is_seen = false;
        while !is_seen {
            let changed = page.until("runs");
            let mut runs = changed["runs"].as_array().unwrap().iter();
            is_seen = runs.any(|run| run["id"] == last && run["state"] == "finished");
        }
    }
    drop(pages);
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.status_number("Threads") > 40 {
        assert!(Instant::now() < deadline, "the pages' threads stay");
    }
    server.await_nothing_left();
    server.stop();
}
