//! Bad input: every fault is reported in one precise answer, and nothing is created.

use super::run::shell;
use super::support::{IMAGE, Request, Server};
use serde_json::{Value, json};

fn places(problem: &Value) -> Vec<String> {
    let errors = problem["errors"]
        .as_array()
        .unwrap_or_else(|| panic!("{problem}"));
    let place = |fault: &Value| {
        assert!(!fault["msg"].as_str().unwrap().is_empty());
        let parts = fault["loc"].as_array().unwrap();
        parts
            .iter()
            .map(|part| part.as_str().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    };
    errors.iter().map(place).collect()
}

#[test]
fn each_field_wrong_in_turn_is_a_422_that_names_it_and_nothing_is_left_behind() {
    let server = Server::start();
    let file = |more: Value| json!({"/f": more});
    let cases = [
        ("image", json!(5), "body image"),
        ("image", json!(""), "body image"),
        ("image", json!("two words"), "body image"),
        ("command", json!(5), "body command"),
        ("command", json!(["a", 5]), "body command 1"),
        ("command", json!("unclosed 'quote"), "body command"),
        ("command", json!(["nul\u{0}"]), "body command"),
        ("entrypoint", json!({}), "body entrypoint"),
        ("env_vars", json!("A=1"), "body env_vars"),
        ("env_vars", json!({"A": []}), "body env_vars A"),
        ("env_vars", json!({"A=B": "x"}), "body env_vars A=B"),
        ("env_vars", json!({"": "x"}), "body env_vars "),
        ("pull_policy", json!("sometimes"), "body pull_policy"),
        ("pull_policy", json!(true), "body pull_policy"),
        ("auth_config", json!("user:password"), "body auth_config"),
        (
            "auth_config",
            json!({"username": "u"}),
            "body auth_config password",
        ),
        (
            "auth_config",
            json!({"username": "u", "password": "p", "pass": "x"}),
            "body auth_config pass",
        ),
        ("volumes", json!([]), "body volumes"),
        (
            "volumes",
            json!({"relative": {"type": "directory"}}),
            "body volumes relative",
        ),
        (
            "volumes",
            json!({"/": {"type": "directory"}}),
            "body volumes /",
        ),
        (
            "volumes",
            json!({"/proc": {"type": "directory"}}),
            "body volumes /proc",
        ),
        (
            "volumes",
            json!({"/dev/shm": {"type": "directory"}}),
            "body volumes /dev/shm",
        ),
        (
            "volumes",
            json!({"/a/../..": {"type": "directory"}}),
            "body volumes /a/../..",
        ),
        (
            "volumes",
            json!({"/a:ro,rshared": {"type": "directory"}}),
            "body volumes /a:ro,rshared",
        ),
        (
            "volumes",
            json!({"/a:b:ro": {"type": "directory"}}),
            "body volumes /a:b:ro",
        ),
        (
            "volumes",
            json!({"/a": {"type": "directory"}, "/a/": {"type": "directory"}}),
            "body volumes /a/",
        ),
        (
            "volumes",
            json!({"/a:ro": {"type": "directory"}, "/a": {"type": "directory"}}),
            "body volumes /a:ro",
        ),
        ("volumes", file(json!({})), "body volumes /f type"),
        (
            "volumes",
            file(json!({"type": "link"})),
            "body volumes /f type",
        ),
        (
            "volumes",
            file(json!({"type": "file"})),
            "body volumes /f content",
        ),
        (
            "volumes",
            file(json!({"type": "file", "content": "*"})),
            "body volumes /f content",
        ),
        (
            "volumes",
            file(json!({"type": "file", "content": "eA==", "text": "x"})),
            "body volumes /f text",
        ),
        (
            "volumes",
            file(json!({"type": "file", "text": "x", "mode": 755})),
            "body volumes /f mode",
        ),
        (
            "volumes",
            file(json!({"type": "file", "text": "x", "mode": "9"})),
            "body volumes /f mode",
        ),
        (
            "volumes",
            file(json!({"type": "file", "text": "x", "mode": "4755"})),
            "body volumes /f mode",
        ),
        (
            "volumes",
            file(json!({"type": "file", "text": "x", "name": "v"})),
            "body volumes /f name",
        ),
        (
            "volumes",
            file(json!({"type": "file", "text": "x", "response": "yes"})),
            "body volumes /f response",
        ),
        (
            "volumes",
            file(json!({"type": "directory", "content": "eA=="})),
            "body volumes /f content",
        ),
        (
            "volumes",
            file(json!({"type": "directory", "files": {"../x": "y"}})),
            "body volumes /f files ../x",
        ),
        (
            "volumes",
            file(json!({"type": "directory", "files": {"a": "x", "a/b": "y"}})),
            "body volumes /f files a",
        ),
        (
            "volumes",
            file(json!({"type": "volume"})),
            "body volumes /f name",
        ),
        (
            "volumes",
            file(json!({"type": "volume", "name": "/etc"})),
            "body volumes /f name",
        ),
        (
            "volumes",
            file(json!({"type": "volume", "name": "a:b"})),
            "body volumes /f name",
        ),
        (
            "volumes",
            file(json!({"type": "host"})),
            "body volumes /f host_path",
        ),
        (
            "volumes",
            file(json!({"type": "host", "host_path": "etc"})),
            "body volumes /f host_path",
        ),
        (
            "volumes",
            file(json!({"type": "host", "host_path": "/etc", "response": true})),
            "body volumes /f response",
        ),
        ("stdin", json!(5), "body stdin"),
        ("stdin_encoding", json!("utf16"), "body stdin_encoding"),
        ("timeout_secs", json!(0), "body timeout_secs"),
        ("timeout_secs", json!(-1), "body timeout_secs"),
        ("timeout_secs", json!("10"), "body timeout_secs"),
        ("timeout_secs", json!(1e300), "body timeout_secs"),
        ("timeout_secs", json!(3601), "body timeout_secs"),
        ("working_dir", json!("relative"), "body working_dir"),
        ("working_dir", json!("/proc/self/fd/8"), "body working_dir"),
        ("user", json!(""), "body user"),
        ("user", json!(5), "body user"),
        ("hostname", json!("a b"), "body hostname"),
        ("platform", json!("unix"), "body platform"),
        ("labels", json!({"a": 1}), "body labels a"),
        (
            "labels",
            json!({"oneoff.instance": "x"}),
            "body labels oneoff.instance",
        ),
        ("init", json!("yes"), "body init"),
        ("read_only", json!(1), "body read_only"),
        ("tmpfs", json!("/a"), "body tmpfs"),
        ("tmpfs", json!(["relative"]), "body tmpfs relative"),
        ("shm_size", json!("lots"), "body shm_size"),
        ("cap_drop", json!("ALL"), "body cap_drop"),
        ("cap_drop", json!(["NET RAW"]), "body cap_drop 0"),
        ("extra_hosts", json!(["nohost"]), "body extra_hosts nohost"),
        (
            "extra_hosts",
            json!({"h": "not an address"}),
            "body extra_hosts h",
        ),
        (
            "extra_hosts",
            json!(["my host:::1"]),
            "body extra_hosts my host",
        ),
        ("extra_hosts", json!({"*.a": "::1"}), "body extra_hosts *.a"),
        ("extra_hosts", json!(["a#b=::1"]), "body extra_hosts a#b"),
        ("extra_hosts", json!(["a..b=::1"]), "body extra_hosts a..b"),
        ("runtime", json!(5), "body runtime"),
        ("network", json!(5), "body network"),
        ("network", json!(""), "body network"),
        ("memory", json!("1m"), "body memory"),
        ("memory", json!("much"), "body memory"),
        ("memory", json!(-1), "body memory"),
        ("memory", json!(1.5), "body memory"),
        ("cpus", json!(0), "body cpus"),
        ("cpus", json!("2"), "body cpus"),
        ("pids_limit", json!(0), "body pids_limit"),
        ("pids_limit", json!(-1), "body pids_limit"),
        ("max_output_bytes", json!("65m"), "body max_output_bytes"),
        ("output_encoding", json!("hex"), "body output_encoding"),
        ("privileged", json!(true), "body privileged"),
        ("network_mode", json!("host"), "body network_mode"),
    ];
    for (field, value, place) in cases {
        let answer = server.post("/run", &shell("true", json!({field: value})));
        let problem = answer.json();
        assert_eq!(answer.status, 422, "{field} = {value}: {problem}");
        assert_eq!(problem["code"], "invalid_request");
        assert_eq!(places(&problem), [place], "{field} = {value}: {problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains(field),
            "{problem}"
        );
    }
    assert_eq!(
        places(&server.post("/run", &json!({})).json()),
        ["body image"]
    );
    assert_eq!(places(&server.post("/run", &json!([])).json()), ["body"]);
    server.stop();
}

#[test]
fn several_faults_are_reported_in_one_answer() {
    let server = Server::start();
    let problem = server
        .post(
            "/run",
            &json!({"command": 5, "colour": "red", "timeout_secs": -1, "volumes": {"x": {"type": "file"}, "/y": 1}}),
        )
        .json();
    let mut found = places(&problem);
    found.sort();
    assert_eq!(
        found,
        [
            "body colour",
            "body command",
            "body image",
            "body timeout_secs",
            "body volumes /y",
            "body volumes x"
        ]
    );
    server.stop();
}

#[test]
fn a_request_that_the_settings_do_not_allow_is_a_403() {
    let server = Server::with(&[
        ("RUNNER_ALLOWED_IMAGES", "oneoff-test:*"),
        ("RUNNER_ALLOWED_VOLUMES", "public-*"),
        ("RUNNER_MAX_MEMORY", "64m"),
        ("RUNNER_MAX_PIDS_LIMIT", "10"),
        ("RUNNER_MAX_CPUS", "1"),
        ("RUNNER_ALLOWED_NETWORKS", "*"),
    ]);
    let volume = json!({"/v": {"type": "volume", "name": "private"}});
    for (change, code) in [
        (json!({"image": "alpine:latest"}), "image_not_allowed"),
        (json!({"network": "host"}), "network_not_allowed"),
        (json!({"network": "container:abc"}), "network_not_allowed"),
        (json!({"runtime": "runc"}), "runtime_not_allowed"),
        (json!({"volumes": volume}), "volume_not_allowed"),
    ] {
        let answer = server.post("/run", &shell("true", change.clone()));
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (403, &json!(code)),
            "{change}"
        );
    }
    for (field, value) in [
        ("memory", json!("65m")),
        ("pids_limit", json!(11)),
        ("cpus", json!(1.5)),
    ] {
        let answer = server.post("/run", &shell("true", json!({field: value})));
        let problem = answer.json();
        assert_eq!(
            answer.status, 422,
            "a maximum is named, not clamped to: {problem}"
        );
        assert!(
            problem["detail"].as_str().unwrap().contains("maximum is"),
            "{problem}"
        );
    }
    assert_eq!(
        server.run(shell("echo fits", json!({"memory": "64m"})))["stdout"],
        "fits\n"
    );
    assert_eq!(
        server.post("/volume", &json!({"name": "private"})).status,
        403
    );
    server.stop();
}

#[test]
fn invalid_json_is_a_400_a_number_out_of_range_a_422_and_another_media_type_a_415() {
    let server = Server::start();
    for body in [
        "",
        "{",
        "nul",
        "{\"image\": \"a\", \"image\": \"b\"}",
        "{} x",
        "\"\\ud800\"",
        "[1e999]",
    ] {
        let answer = server.request("POST", "/run", body);
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (400, &json!("bad_json")),
            "{body}"
        );
    }
    for (body, place) in [
        (
            r#"{"image": "a", "env_vars": {"A": 1e400}}"#,
            "body env_vars A",
        ),
        (
            r#"{"image": "a", "timeout_secs": -1e999}"#,
            "body timeout_secs",
        ),
        (
            r#"{"image": "a", "command": ["a", 1e309]}"#,
            "body command 1",
        ),
    ] {
        let answer = server.request("POST", "/run", body);
        assert_eq!(answer.status, 422, "{body}");
        assert_eq!(places(&answer.json()), [place]);
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains("the number is out of range"), "{detail}");
    }
    let deep = "[".repeat(200_000);
    assert_eq!(server.request("POST", "/run", &deep).status, 400);
    for media_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let request = Request::new("POST", "/run").fields(&[("Content-Type", media_type)]);
        let answer = server.ask(&request.body("{}"));
        assert_eq!(answer.status, 415, "{media_type}");
    }
    server.stop();
}

#[test]
fn a_body_over_the_limit_is_a_413_before_it_is_sent() {
    let server = Server::with(&[("RUNNER_MAX_BODY_BYTES", "1k")]);
    // Not one byte of the body is sent: the answer must not wait for it.
    let answer = server.ask(&Request::new("POST", "/run").fields(&[("Content-Length", "1025")]));
    assert_eq!(answer.status, 413);
    assert!(
        answer.json()["detail"].as_str().unwrap().contains("1024"),
        "{:?}",
        answer.json()
    );
    let fits = server.post("/run", &shell("echo ok", json!({})));
    assert_eq!(fits.status, 200);
    server.stop();
}

#[test]
fn unknown_paths_are_404_and_unknown_methods_405() {
    let server = Server::start();
    for (method, path, status, allow) in [
        ("GET", "/nothing", 404, None),
        ("GET", "/run", 405, Some("POST")),
        ("PUT", "/run", 405, Some("POST")),
        ("BREW", "/run", 405, Some("POST")),
        ("GET", "/volume", 405, Some("POST")),
        ("POST", "/volume/x", 405, Some("GET, HEAD, DELETE")),
        ("POST", "/health", 405, Some("GET, HEAD")),
        ("GET", "/run/x", 404, None),
    ] {
        let answer = server.request(method, path, "");
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.header("Allow").as_deref(), allow, "{method} {path}");
    }
    server.stop();
}

#[test]
fn hostile_archives_are_refused_before_any_object_is_created() {
    let server = Server::start();
    let bomb = {
        let output = std::process::Command::new("sh")
            .args(["-c", "head -c 300000000 /dev/zero | gzip | base64"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for (content, word) in [
        ("bm90IGd6aXA=", "gzip"),
        ("/Td6WFoAAATm1rRG", "xz"),
        ("KLUv/SQAAQAAmenYUQ==", "zst"),
        (bomb.as_str(), ""),
    ] {
        let volumes = json!({"/d": {"type": "directory", "content": content}});
        let answer = server.post(
            "/run",
            &json!({"image": IMAGE, "pull_policy": "never", "volumes": volumes}),
        );
        let problem = answer.json();
        assert_eq!(answer.status, 422, "{problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains(word),
            "{problem}"
        );
        assert_eq!(server.leftovers(), Vec::<String>::new());
    }
    server.stop();
}

#[test]
fn secrets_stay_out_of_answers_and_logs() {
    let log = std::env::temp_dir().join(format!("oneoff-secrets-{}.log", std::process::id()));
    let server = Server::with_log(
        &[("RUST_LOG", "trace"), ("AUTH_TOKEN", "tok-SECRET-1")],
        &log,
    );
    let request = json!({
        "image": "127.0.0.1:1/private:1", "env_vars": {"KEY": "env-SECRET-2"},
        "auth_config": {"username": "u", "password": "pw-SECRET-3", "registrytoken": "rt-SECRET-4"},
    });
    let body = request.to_string();
    let mut answers = Vec::new();
    for (authorization, body) in [
        ("Bearer tok-SECRET-1", body.as_str()),
        ("Bearer tok-SECRET-wrong", body.as_str()),
        (
            "Bearer tok-SECRET-1",
            r#"{"image": "x", "auth_config": "pw-SECRET-3", "env_vars": "env-SECRET-2"}"#,
        ),
        (
            "Bearer tok-SECRET-1",
            r#"{"image": "x", "auth_config": {"password": ["pw-SECRET-3"]}}"#,
        ),
    ] {
        let request = Request::new("POST", "/run").fields(&[("Authorization", authorization)]);
        let answer = server.ask(&request.body(body));
        answers.push(answer.status);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!text.contains("SECRET"), "{text}");
    }
    assert_eq!(answers, [502, 401, 422, 422]);
    assert_eq!(server.get("/health?token=q-SECRET-5").status, 200);
    server.stop();
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    assert!(text.contains("/images/create"), "the log is a trace");
    let leaks: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("SECRET"))
        .collect();
    assert_eq!(leaks, Vec::<&str>::new());
}
