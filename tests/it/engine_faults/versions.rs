//! Which version of the Engine API the client speaks.

use super::{FakeEngine, Reply, answer, message};
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn an_old_engine_and_another_kind_of_server_are_named_as_such() {
    let cases = [("1.24", "too old"), ("x", "not a version")];
    for (version, words) in cases {
        let engine = FakeEngine::with_ping(version, |_| Reply::Json(200, "[]"));
        let error = engine.client().image_list().unwrap_err();
        assert!(message(&error).contains(words), "{error}");
        assert!(engine.seen().is_empty());
    }
    let web_server = FakeEngine::raw(|_| Reply::Json(200, "[]"));
    let error = web_server.client().image_list().unwrap_err();
    assert!(
        message(&error).contains("is this a Docker engine"),
        "{error}"
    );
}

#[test]
fn a_newer_engine_is_asked_in_the_newest_version_of_the_client() {
    let engine = FakeEngine::with_ping("1.99", |_| Reply::Json(200, "[]"));
    engine.client().image_list().unwrap();
    assert_eq!(engine.seen(), ["GET /v1.47/images/json"]);
}

#[test]
fn an_engine_that_was_replaced_by_an_older_one_is_asked_again_in_its_version() {
    let pings = AtomicUsize::new(0);
    let engine = FakeEngine::raw(move |request| {
        if request.line.ends_with("/_ping") {
            let version = if pings.fetch_add(1, Ordering::SeqCst) == 0 {
                "1.44"
            } else {
                "1.41"
            };
            return answer(
                &format!("200 OK\r\nApi-Version: {version}\r\nContent-Length: 2"),
                "OK",
            );
        }
        match request.line.contains("/v1.41/") {
            true => Reply::Json(200, "[]"),
            false => Reply::Json(
                400,
                "{\"message\":\"client version 1.44 is too new. Maximum supported API version is 1.41\"}",
            ),
        }
    });
    let client = engine.client();
    client.image_list().unwrap();
    client.image_list().unwrap();
    let v41 = "GET /v1.41/images/json".to_owned();
    assert_eq!(
        engine.seen(),
        ["GET /v1.44/images/json".into(), v41.clone(), v41]
    );
}
