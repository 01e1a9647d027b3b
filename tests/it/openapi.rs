//! `/openapi.json` describes exactly what the server serves.

use super::async_runs::{finished, forget_all, submit};
use super::run::shell;
use super::support::{Answer, EventStream, Request, Server};
use oneoff_docker_runner::app::ENDPOINTS;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Method, path template and operation of every operation in the document.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(METHODS.contains(&method.as_str()), "{method}");
            operations.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    operations
}

/// A path of this template.
fn sample(template: &str) -> String {
    template
        .replace("{name}", "no-such-volume")
        .replace("{id}", "no-such-run")
        .replace("/docs/{file}", "/docs/start.js")
        .replace("{file}", "main.js")
}

#[test]
fn the_document_is_that_of_the_golden_file() {
    let server = Server::start();
    let answer = server.get("/openapi.json");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("Content-Type").as_deref(),
        Some("application/json")
    );
    let served = format!("{:#}\n", answer.json());
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/openapi.json");
    if std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1") {
        std::fs::write(&golden, &served).unwrap();
    }
    let agreed = std::fs::read_to_string(&golden).unwrap_or_default();
    assert!(
        served == agreed,
        "/openapi.json is not tests/golden/openapi.json; if it shall be: UPDATE_GOLDEN=1 make test, and look at the \
         difference. First line that differs: {:?}",
        served.lines().zip(agreed.lines()).find(|(a, b)| a != b)
    );
    server.stop();
}

#[test]
fn the_document_describes_exactly_what_is_routed() {
    let server = Server::start();
    let document = server.get("/openapi.json").json();
    let described: BTreeSet<_> = operations(&document)
        .into_iter()
        .map(|(method, path, _)| (method, path))
        .collect();
    let listed: BTreeSet<_> = ENDPOINTS
        .iter()
        .map(|endpoint| (endpoint.method.to_owned(), endpoint.path.to_owned()))
        .collect();
    // MCP is not in the document: it is a protocol of its own.
    let is_mcp = |path: &str| ["/mcp", "/sse", "/messages"].contains(&path);
    let listed: BTreeSet<_> = listed
        .into_iter()
        .filter(|(_, path)| !is_mcp(path))
        .collect();
    assert_eq!(described, listed);
    for (method, path) in &described {
        if path == "/events" {
            // It does not end by itself.
            let stream = EventStream::new(server.begin(&Request::new(method, path)));
            assert!(stream.head.starts_with("HTTP/1.1 200"), "{}", stream.head);
            continue;
        }
        let answer = server.request(method, &sample(path), "");
        let known = answer.status != 404 || answer.json()["code"] != "not_found";
        assert!(known, "{method} {path} is not routed");
    }
    server.stop();
}

#[test]
fn each_path_accepts_exactly_the_methods_in_its_allow_field() {
    let server = Server::start();
    let paths: BTreeSet<_> = ENDPOINTS.iter().map(|endpoint| endpoint.path).collect();
    for path in paths {
        let ask = |method: &str| {
            // Only the head is read: some answers are endless streams.
            let head = EventStream::new(server.begin(&Request::new(method, &sample(path)))).head;
            Answer {
                status: head[9..12].parse().unwrap(),
                head,
                body: Vec::new(),
            }
        };
        let allow = ask("BREW").header("Allow");
        let named = allow
            .as_deref()
            .unwrap_or_else(|| panic!("{path} names none"));
        let named: Vec<&str> = named.split(", ").collect();
        let listed = ENDPOINTS.iter().filter(|endpoint| endpoint.path == path);
        for method in listed.map(|endpoint| endpoint.method) {
            assert!(
                named.contains(&method),
                "{method} {path} is listed: {named:?}"
            );
        }
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
        ] {
            let answer = ask(method);
            if named.contains(&method) {
                assert_ne!(answer.status, 405, "{method} {path}: {named:?}");
            } else {
                let refused = (answer.status, answer.header("Allow"));
                assert_eq!(refused, (405, allow.clone()), "{method} {path}");
            }
        }
    }
    server.stop();
}

#[test]
fn head_returns_the_fields_of_get_and_no_body() {
    let server = Server::start();
    let run = submit(&server, &shell("echo out", json!({})));
    let events = format!("{run}/events");
    finished(&server, &run);
    for path in [
        "/health",
        "/docs",
        "/openapi.json",
        "/policy",
        "/",
        "/page/main.js",
        "/images",
        "/runs",
        &run,
        &events,
    ] {
        let [whole, head] = ["GET", "HEAD"].map(|method| server.request(method, path, ""));
        assert_eq!((whole.status, head.status), (200, 200), "{path}");
        assert!(!whole.body.is_empty() && head.body.is_empty(), "{path}");
        for field in ["Content-Type", "Content-Length", "Transfer-Encoding"] {
            assert_eq!(head.header(field), whole.header(field), "{path}: {field}");
        }
    }
    forget_all(&server);
    server.stop();
}

#[test]
fn every_operation_is_described_with_examples_problems_and_security() {
    let server = Server::with(&[("AUTH_TOKEN", "s3cret")]);
    let document = server.get("/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(
        document["components"]["securitySchemes"]["bearerToken"]["scheme"],
        "bearer"
    );
    for (method, path, operation) in operations(&document) {
        let name = format!("{method} {path}");
        for member in ["operationId", "summary", "tags"] {
            assert!(!operation[member].is_null(), "{name}: {member}");
        }
        if !operation["requestBody"].is_null() {
            let content = &operation["requestBody"]["content"]["application/json"];
            assert!(
                !content["examples"].as_object().unwrap().is_empty(),
                "{name}"
            );
        }
        let mut problems = 0;
        for (status, response) in operation["responses"].as_object().unwrap() {
            let status: u16 = status.parse().unwrap();
            if status >= 400 {
                problems += 1;
                let reference = response["$ref"].as_str().unwrap();
                let shared = document.pointer(&reference[1..]).unwrap();
                let example = &shared["content"]["application/problem+json"]["example"];
                assert_eq!(example["status"], status, "{name}");
                continue;
            }
            for content in response["content"]
                .as_object()
                .into_iter()
                .flat_map(|c| c.values())
            {
                assert!(
                    !content["examples"].as_object().unwrap().is_empty(),
                    "{name}"
                );
            }
        }
        assert!(problems >= 3, "{name}");
        // The server asks for a token exactly where the document says so.
        let open = operation["security"] == json!([]);
        let answer = server.request(&method, &sample(&path), "");
        assert_eq!(answer.status == 401, !open, "{name}");
        assert_eq!(operation["responses"]["401"].is_null(), open, "{name}");
    }
    server.stop();
}

#[test]
fn references_resolve_and_required_fields_are_required() {
    let server = Server::start();
    let document = server.get("/openapi.json").json();
    let mut places = vec![&document];
    while let Some(place) = places.pop() {
        match place {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let target = document.pointer(reference.strip_prefix('#').unwrap());
                    assert!(target.is_some(), "{reference}");
                }
                places.extend(members.values());
            }
            Value::Array(items) => places.extend(items),
            _ => {}
        }
    }
    let schemas = &document["components"]["schemas"];
    for (schema, field) in [
        ("RunRequest", "image"),
        ("VolumeMount", "type"),
        ("VolumeRequest", "name"),
    ] {
        assert_eq!(schemas[schema]["required"], json!([field]));
        assert_eq!(schemas[schema]["additionalProperties"], json!(false));
    }
    let always = schemas["RunResult"]["required"].as_array().unwrap();
    assert!(always.contains(&json!("exit_code")) && !always.contains(&json!("oom_killed")));
    server.stop();
}
