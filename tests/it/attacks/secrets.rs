//! Secrets of callers and of the server: where they must not turn up, and what must not turn up in the log.

use super::raw::{answered, send};
use super::table::{BUDGET, Outcome, Row, Stand, Table, outcome, row};
use crate::run::shell;
use crate::support::{Directory, Request, Server, docker, fresh_instance, read_answer};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Part of every secret.
const SECRET: &str = "SECRET";
const TOKEN: &str = "tok-SECRET-1";
const BEARER: (&str, &str) = ("Authorization", "Bearer tok-SECRET-1");

pub fn tables() -> Vec<Table> {
    let directory = Directory::new("secrets");
    let log = directory.path().join("log");
    let rows = rows(&log);
    let stand = move || {
        let settings = [BUDGET, ("AUTH_TOKEN", TOKEN), ("RUST_LOG", "trace")];
        let server = Server::named_with_log(&fresh_instance(), &settings, &log);
        let mut stand = Stand::of(server);
        stand.beside = Box::new(directory);
        stand
    };
    vec![Table::new("secrets", stand, rows)]
}

fn rows(log: &std::path::Path) -> Vec<Row> {
    let auth = json!({"username": "u-SECRET-2", "password": "pw-SECRET-3"});
    let private = |more: Value| {
        let mut request = json!({"image": "127.0.0.1:1/private:1"});
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        request.to_string()
    };
    let of_auth = "auth_config in logs, errors, labels and metrics";
    let of_environment = "environment in logs, errors, labels and metrics";
    let (user_info, lost) = ("URL user-info", "secrets in 404 bodies");
    let (guessed, control) = ("guessed token", "ANSI and CRLF in logs");
    let kept = |case, expected, act: Box<dyn Fn(&Server) -> Outcome + Send>| {
        secret(case, expected, (log.into(), act))
    };
    vec![
        kept(
            of_auth,
            "502 registry_unreachable",
            run(private(json!({"auth_config": auth}))),
        ),
        kept(
            of_auth,
            "502 registry_unreachable",
            run(private(
                json!({"auth_config": {"identitytoken": "it-SECRET-4"}}),
            )),
        ),
        kept(
            of_auth,
            "422 invalid_request auth_config",
            run(private(json!({"auth_config": "pw-SECRET-3"}))),
        ),
        kept(
            of_auth,
            "422 invalid_request auth_config password",
            run(private(
                json!({"auth_config": {"username": "u", "password": ["pw-SECRET-3"]}}),
            )),
        ),
        kept(
            of_auth,
            "400 bad_json",
            run("{\"auth_config\":{\"password\":\"pw-SECRET-3\"".into()),
        ),
        kept(
            of_environment,
            "422 invalid_request env_vars",
            run(private(json!({"env_vars": "env-SECRET-5"}))),
        ),
        kept(
            of_environment,
            "422 invalid_request env_vars A",
            run(private(json!({"env_vars": {"A": ["env-SECRET-5"]}}))),
        ),
        kept(
            of_environment,
            "422 start_failed",
            run(shell(
                "true",
                json!({"entrypoint": "/none", "env_vars": {"A": "env-SECRET-5"}}),
            )
            .to_string()),
        ),
        kept(of_environment, "200 success", Box::new(labelled)),
        kept(
            user_info,
            "422 invalid_request image",
            run(json!({"image": "https://u:url-SECRET-6@127.0.0.1:1/x"}).to_string()),
        ),
        kept(
            user_info,
            "422 invalid_request image",
            run(json!({"image": "u:url-SECRET-6@127.0.0.1:1/x"}).to_string()),
        ),
        kept(
            user_info,
            "502 registry_unreachable",
            run(private(
                json!({"auth_config": {"username": "u", "password": "p", "serveraddress": "https://u:url-SECRET-6@127.0.0.1:1"}}),
            )),
        ),
        kept(lost, "404 not_found", get("/nowhere?token=q-SECRET-7")),
        kept(
            lost,
            "404 run_not_found",
            get("/runs/none?token=q-SECRET-7"),
        ),
        kept(
            lost,
            "404 volume_not_found",
            get("/volume/none?token=q-SECRET-7"),
        ),
        kept(guessed, "401 unauthorized", guess("Bearer wrong-SECRET-8")),
        kept(guessed, "401 unauthorized", guess("Bearer tok-SECRET-")),
        kept(guessed, "401 unauthorized", guess("Bearer tok-SECRET-12")),
        kept(guessed, "401 unauthorized", guess("Basic dG9rLVNFQ1JFVC0x")),
        kept(guessed, "401 unauthorized", guess("")),
        row("token comparison in constant time", "subtle", |_| {
            // Not measured: over a network the difference would be lost in noise.
            let guard = concat!(env!("CARGO_MANIFEST_DIR"), "/src/edge/guard.rs");
            let guard = std::fs::read_to_string(guard).unwrap();
            assert!(guard.contains("use subtle::ConstantTimeEq") && guard.contains(".ct_eq("));
            "subtle".into()
        }),
        kept(
            control,
            "404 not_found",
            Box::new(|server| {
                let path = "GET /a%0d%0aforged%1b[31m HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: %0aforged\r\n";
                answered(send(
                    server,
                    format!("{path}Authorization: Bearer {TOKEN}\r\n\r\n").as_bytes(),
                ))
            }),
        ),
        kept(
            control,
            "422 invalid_request image",
            run(json!({"image": "x\u{1b}[31m\r\nforged"}).to_string()),
        ),
        kept(
            control,
            "422 start_failed",
            run(shell("true", json!({"entrypoint": "/x\u{1b}[31m\r\nforged"})).to_string()),
        ),
        kept(
            control,
            "422 invalid_request \u{1b}[31m\r\nforged",
            run(private(json!({"\u{1b}[31m\r\nforged": 1}))),
        ),
    ]
}

type Act = Box<dyn Fn(&Server) -> Outcome + Send>;

/// A row after which no secret, escape or forged line is in the answer, the metrics or the log.
fn secret(case: &'static str, expected: &'static str, (log, act): (PathBuf, Act)) -> Row {
    row(case, expected, move |server| {
        let outcome = act(server);
        let metrics = server.ask(&Request::new("GET", "/metrics").fields(&[BEARER]));
        let log = std::fs::read_to_string(&log).unwrap();
        assert!(log.contains("/containers/json"), "the log is a trace");
        for text in [&outcome, metrics.text(), &log] {
            let found = text.lines().find(|line| line.contains(SECRET));
            assert_eq!(found, None);
        }
        let forged = log
            .lines()
            .find(|line| line.starts_with("forged") || line.contains('\u{1b}'));
        assert_eq!(forged, None);
        outcome
    })
}

fn run(body: String) -> Act {
    Box::new(move |server| {
        let request = Request::new("POST", "/run").fields(&[BEARER]);
        outcome(&server.ask(&request.body(&body)))
    })
}

fn get(path: &'static str) -> Act {
    Box::new(move |server| outcome(&server.ask(&Request::new("GET", path).fields(&[BEARER]))))
}

fn guess(authorization: &'static str) -> Act {
    Box::new(move |server| {
        let request = Request::new("GET", "/policy");
        outcome(&server.ask(&request.fields(&[("Authorization", authorization)])))
    })
}

/// A run that has secrets in everything that it may, while its container is looked at.
fn labelled(server: &Server) -> Outcome {
    let more = json!({"env_vars": {"A": "env-SECRET-5"}, "stdin": "in-SECRET-9",
        "auth_config": {"username": "u-SECRET-2", "password": "pw-SECRET-3"}});
    let request = Request::new("POST", "/run").fields(&[BEARER]);
    let body = shell("sleep 2", more).to_string();
    let mut run = server.begin(&request.body(&body));
    let id = server.await_running();
    let labels = docker(&[
        "inspect",
        "--format",
        "{{json .Config.Labels}} {{.Name}}",
        &id,
    ]);
    assert!(
        labels.contains("oneoff.instance") && !labels.contains(SECRET),
        "{labels}"
    );
    outcome(&read_answer(&mut run).unwrap())
}
