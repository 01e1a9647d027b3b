//! Detached runs: status, log pages, cancellation, and the next server.

use super::messages::{ask, call, detached, gone_within_two_seconds};
use super::stream::{Stream, post};
use crate::async_runs::known;
use crate::support::{Server, docker};
use serde_json::{Value, json};

#[test]
fn a_detached_run_outlives_its_session_and_its_log_is_read_in_pages() {
    let server = Server::start();
    let mut stream = Stream::session(&server, "gone");
    let script =
        "echo one; echo err >&2; cat; while [ ! -e /d/go ]; do sleep 0.1; done; echo two; exit 5";
    let mut arguments = detached(script);
    arguments["stdin"] = json!("fed\n");
    arguments["volumes"] = json!({"/d": {"type": "directory"},
        "/d/out": {"type": "file", "text": "left", "response": true}});
    post(
        &server,
        "gone",
        &call(1, "run_container", arguments, json!({})),
    );
    let accepted = stream.message()["result"]["structuredContent"].clone();
    drop(stream);
    let id = accepted["id"].as_str().unwrap();
    let container = server.await_running();

    let mut seen = (String::new(), String::new(), Value::Null);
    while seen.0 != "one\nfed\n" || seen.1 != "err\n" {
        let place = json!({"id": id, "wait_secs": 20, "cursor": seen.2});
        let page = ask(&server, "run_logs", place)["structuredContent"].clone();
        assert_eq!(page["state"], "running", "{page}");
        seen.0 += page["stdout"].as_str().unwrap();
        seen.1 += page["stderr"].as_str().unwrap();
        seen.2 = page["cursor"].clone();
    }
    let nothing =
        ask(&server, "run_logs", json!({"id": id, "cursor": seen.2}))["structuredContent"].clone();
    assert_eq!(
        (&nothing["stdout"], &nothing["cursor"]),
        (&json!(""), &seen.2)
    );
    let listed = ask(&server, "list_runs", json!({"state": "running"}));
    assert_eq!(listed["structuredContent"]["runs"][0]["id"], id, "{listed}");
    docker(&["exec", &container, "touch", "/d/go"]);
    let status = ask(&server, "run_status", json!({"id": id, "wait_secs": 20}));
    let result = &status["structuredContent"]["result"];
    assert_eq!(status["isError"], true, "{status}");
    assert_eq!(
        (&result["exit_code"], &result["stdout"]),
        (&json!(5), &json!("one\nfed\ntwo\n"))
    );
    assert_eq!(
        result["volumes"]["/d/out"],
        json!({"type": "file", "text": "left"})
    );
    let last =
        ask(&server, "run_logs", json!({"id": id, "cursor": seen.2}))["structuredContent"].clone();
    assert_eq!(
        (&last["stdout"], &last["state"], &last["has_more"]),
        (&json!("two\n"), &json!("finished"), &json!(false))
    );
    let path = format!("/runs/{id}");
    let plain = server.request("GET", &path, "").json();
    assert_eq!(
        plain["result"]["stdout"], result["stdout"],
        "the same run over REST"
    );

    // The next server knows the run; a cursor of this server reads from the start there.
    let heir = Server::named(&server.kill(), &[]);
    known(&heir, &path);
    let again =
        ask(&heir, "run_logs", json!({"id": id, "cursor": seen.2}))["structuredContent"].clone();
    assert_eq!(again["stdout"], "one\nfed\ntwo\n");
    assert!(
        again["detail"].as_str().unwrap().contains("restarted"),
        "{again}"
    );
    let wrong = ask(&heir, "run_logs", json!({"id": id, "cursor": "x"}));
    assert!(
        wrong["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("arguments.cursor: expected"),
        "{wrong}"
    );
    ask(&heir, "cancel_run", json!({"id": id}));
    assert_eq!(ask(&heir, "run_status", json!({"id": id}))["isError"], true);
    heir.stop();
}

#[test]
fn cancelling_a_detached_run_keeps_its_output_and_removes_its_container() {
    let server = Server::with(&[("RUNNER_MAX_CONCURRENT_RUNS", "1")]);
    let start = |command: &str| {
        let accepted = ask(&server, "run_container", detached(command));
        accepted["structuredContent"]["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (goes_on, waits) = (start("echo begun; sleep 100"), start("echo never"));
    let begun = ask(&server, "run_logs", json!({"id": goes_on, "wait_secs": 20}));
    assert_eq!(begun["structuredContent"]["state"], "running", "{begun}");
    for (id, stdout) in [(&waits, ""), (&goes_on, "begun\n")] {
        let ended = ask(&server, "cancel_run", json!({"id": id}));
        let told = &ended["structuredContent"];
        assert_eq!(
            (&ended["isError"], &told["state"]),
            (&json!(false), &json!("finished")),
            "{ended}"
        );
        assert_eq!(
            (&told["result"]["reason"], &told["result"]["stdout"]),
            (&json!("cancelled"), &json!(stdout))
        );
        ask(&server, "cancel_run", json!({"id": id}));
    }
    gone_within_two_seconds(&server);
    server.stop();
}

#[test]
fn pages_of_a_log_are_bounded_and_together_complete() {
    let server = Server::start();
    let accepted = ask(&server, "run_container", detached("seq 1 200000"));
    let id = &accepted["structuredContent"]["id"];
    ask(&server, "run_status", json!({"id": id, "wait_secs": 30}));
    let (mut printed, mut cursor, mut pages) = (String::new(), Value::Null, 0);
    loop {
        let result = ask(&server, "run_logs", json!({"id": id, "cursor": cursor}));
        assert!(result.to_string().len() < 900_000);
        let page = &result["structuredContent"];
        printed += page["stdout"].as_str().unwrap();
        cursor = page["cursor"].clone();
        pages += 1;
        if page["has_more"] == false {
            break;
        }
    }
    let expected: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert!(
        printed == expected && pages > 3,
        "{pages} pages, {} bytes",
        printed.len()
    );
    ask(&server, "cancel_run", json!({"id": id}));
    server.stop();
}

#[test]
fn a_cursor_of_another_run_reads_from_the_start() {
    let server = Server::start();
    let printed = |command: &str| {
        let accepted = ask(&server, "run_container", detached(command));
        let id = accepted["structuredContent"]["id"].clone();
        ask(&server, "run_status", json!({"id": id, "wait_secs": 30}));
        let page = ask(&server, "run_logs", json!({"id": id}))["structuredContent"].clone();
        (id, page["cursor"].clone())
    };
    let ((first, cursor), (second, _)) = (printed("echo first"), printed("echo second"));
    let page = ask(&server, "run_logs", json!({"id": second, "cursor": cursor}));
    let page = &page["structuredContent"];
    assert_eq!(page["stdout"], "second\n", "{page}");
    assert!(
        page["detail"].as_str().unwrap().contains("another run"),
        "{page}"
    );
    for id in [first, second] {
        ask(&server, "cancel_run", json!({"id": id}));
    }
    server.stop();
}
