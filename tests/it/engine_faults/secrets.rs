//! Secrets are sent to the engine, and appear in no error and no log line.

use super::{FakeEngine, Reply};
use crate::support::CapturedLog;
use oneoff_docker_runner::docker::{AuthConfig, ContainerCreate};
use std::sync::{Arc, Mutex};

#[test]
fn secrets_are_sent_to_the_engine_and_appear_nowhere_else() {
    let captured = CapturedLog::start();
    let head = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&head);
    let engine = FakeEngine::new(move |request| {
        heard.lock().unwrap().push_str(&request.head);
        assert!(request.body.is_empty() || request.body.windows(6).any(|part| part == b"s3cret"));
        Reply::Json(500, "{\"message\":\"no\"}")
    });
    let auth = AuthConfig {
        username: "me".into(),
        password: "s3cret".into(),
        ..AuthConfig::default()
    };
    let encoded = oneoff_docker_runner::docker::registry_auth::header_value(&auth);
    let client = engine.client();
    let pull = client
        .image_pull("reg/x", None, Some(&auth), &mut |_| true)
        .unwrap_err();
    let config = ContainerCreate {
        env: vec!["TOKEN=s3cret".into()],
        ..ContainerCreate::default()
    };
    let create = client.container_create(None, None, &config).unwrap_err();
    assert!(head.lock().unwrap().contains(&encoded));
    let log = captured.lines().join("\n");
    assert!(log.contains("/images/create"), "{log}");
    for text in [log, format!("{pull:?} {pull} {create:?} {create} {auth:?}")] {
        assert!(
            !text.contains("s3cret") && !text.contains(&encoded),
            "{text}"
        );
    }
}
