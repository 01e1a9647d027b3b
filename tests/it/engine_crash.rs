//! The engine and the server end at the same time, and the container continues: nobody reads what it prints.

use super::async_runs::{finished, forget_all, submit};
use super::run::shell;
use super::support::{EventStream, Request, SecondEngine, Server};
use serde_json::{Value, json};

fn warnings(state: &Value) -> String {
    state["result"]["warnings"].to_string()
}

#[test]
fn a_restart_of_the_engine_and_the_server_at_once_says_that_output_may_be_missing() {
    let mut engine = SecondEngine::unix("crashed");
    engine.start();
    engine.load_images();
    let server = engine.server(&[]);
    let instance = server.instance.clone();
    let script = shell("echo a; sleep 3; echo END", json!({}));
    let path = submit(&server, &script);
    EventStream::new(server.begin(&Request::new("GET", &format!("{path}/events")))).until("stdout");
    engine.kill();
    server.kill();
    engine.start();

    let host = engine.docker_host();
    let heir = Server::named(&instance, &[("DOCKER_HOST", &host)]);
    let state = finished(&heir, &path);
    assert!(warnings(&state).contains("engine was restarted"), "{state}");
    let calm = submit(&heir, &script);
    EventStream::new(heir.begin(&Request::new("GET", &format!("{calm}/events")))).until("stdout");
    heir.kill();
    let second_heir = Server::named(&instance, &[("DOCKER_HOST", &host)]);
    let state = finished(&second_heir, &calm);
    assert_eq!(state["result"]["stdout"], "a\nEND\n", "{state}");
    assert!(!warnings(&state).contains("engine was"), "{state}");
    forget_all(&second_heir);
    engine.await_nothing_left(&instance);
    second_heir.stop();
}
