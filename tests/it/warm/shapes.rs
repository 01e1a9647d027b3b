//! Which runs have a container that waits, and that they do not see a difference.

use super::*;
use crate::run::shell as run_shell;
use crate::support::{IMAGE, SecondEngine, leftovers};

/// The fields of a result that say how the run ended, with what it printed.
fn outcome(result: &Value) -> Value {
    json!({
        "status": result["status"], "exit_code": result["exit_code"], "reason": result["reason"],
        "signal": result["signal"], "stdout": result["stdout"], "stderr": result["stderr"],
        "volumes": result["volumes"], "warnings": result["warnings"], "image_digest": result["image_digest"],
    })
}

#[test]
fn a_run_is_the_same_in_a_container_that_waited() {
    let server = server("1");
    // The host name is the container's id.
    let script = "id; pwd; echo $0 $#; env | grep -v '^HOSTNAME=' | sort; [ \"$HOSTNAME\" = $(hostname) ]; echo $?; ls -a / /tmp; \
                  cat; echo e >&2; ls /proc/self/fd | wc -l; umask; ulimit -n; cat /proc/self/limits; mount | grep -c .; exit 3";
    for more in [
        json!({}),
        json!({"stdin": "fed", "env_vars": {"A": "b\n\"", "PATH": "/bin:/sbin", "HOSTNAME": "mine"}}),
        json!({"stdin": "", "env_vars": {"HOME": null, "HOSTNAME": null, "A": ""}}),
        json!({"stdin": "x".repeat(300_000), "env_vars": {"HOME": "", "B": "y".repeat(100_000)}}),
        json!({"user": "1000:1000", "read_only": true, "cap_drop": ["ALL"], "working_dir": "/tmp"}),
        json!({"env_vars": {"_RJEM_MALLOC_CONF": "abort_conf:true,bogus:1"}}),
        json!({"user": "nobody", "env_vars": {"HOME": "/h", "PATH": null}, "entrypoint": "/bin/sh", "command": ["-c", "echo \"$HOME $PATH\"; exit 3"]}),
        json!({"network": "bridge", "tmpfs": {"/t": ""}, "shm_size": "1m", "memory": "64m", "pids_limit": 20, "cpus": 0.5}),
        json!({"init": true, "extra_hosts": ["a:1.2.3.4"]}),
        json!({"command": "sh -c 'kill -SEGV $$'"}),
        json!({"command": ["sh", "-c", "exit 137"], "output_encoding": "base64"}),
    ] {
        let request = run_shell(script, more);
        let cold = warm_up(&server, &request);
        let warm = server.run(request.clone());
        assert!(is_warm(&warm), "{request}: {warm}");
        assert_eq!(outcome(&warm), outcome(&cold), "{request}");
        assert!(warm["usage"]["cpu_seconds"].is_f64());
        assert_eq!(warm["timings"]["create_ms"], 0);
    }
    server.stop();
}

#[test]
fn what_cannot_be_started_is_said_in_the_same_words() {
    let server = server("1");
    warm_up(&server, &run_shell("", json!({})));
    for more in [
        json!({"command": ["no-such-program"]}),
        json!({"command": ["/etc/passwd"]}),
        json!({"command": ["/tmp"]}),
    ] {
        await_waiting(&server, 1);
        let hits = outcomes(&server, "hit");
        let request = run_shell("", more);
        let warm = server.post("/run", &request);
        assert_eq!(outcomes(&server, "hit"), hits + 1.0, "{request}");
        let mut cold = request.clone();
        cold["hostname"] = json!("cold");
        assert_eq!(warm.problem(), server.post("/run", &cold).problem());
        assert_eq!(warm.status, 422);
    }
    server.stop();
}

#[test]
fn a_working_directory_that_the_engine_would_make_is_made() {
    let server = server("1");
    warm_up(&server, &run_shell("", json!({})));
    let request = run_shell(
        "pwd; cat",
        json!({"working_dir": "/made/for/it", "stdin": "fed"}),
    );
    let result = server.run(request);
    assert_eq!(result["stdout"], "/made/for/it\nfed");
    assert!(!is_warm(&result), "{result}");
    assert_eq!(outcomes(&server, "working_dir"), 1.0);
    server.stop();
}

#[test]
fn spellings_of_an_image_and_of_the_defaults_have_one_shape() {
    let server = Server::with(&[
        ("RUNNER_WARM_CONTAINERS", "1"),
        ("RUNNER_WARM_IMAGES", "docker.io/library/alpine"),
        ("RUNNER_DEFAULT_MEMORY", "512m"),
    ]);
    let id = docker(&["image", "inspect", "--format", "{{.Id}}", "alpine:latest"]);
    for more in [
        json!({}),
        json!({"image": "alpine"}),
        json!({"image": "alpine:latest"}),
        json!({"image": "index.docker.io/library/alpine:latest"}),
        json!({"image": id}),
        json!({
            "image": "alpine", "memory": "512m", "network": "bridge", "pids_limit": 1024, "read_only": false, "init": true,
            "tmpfs": {}, "cap_drop": [], "extra_hosts": {}, "labels": {}, "volumes": {}, "env_vars": {},
        }),
        json!({"timeout_secs": 5, "max_output_bytes": 10, "output_encoding": "base64", "working_dir": "/tmp", "stdin": "x"}),
    ] {
        await_waiting(&server, 1);
        let mut request = json!({"image": "alpine", "pull_policy": "never", "command": ["true"]});
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let result = server.run(request.clone());
        assert!(is_warm(&result), "{request}: {result}");
    }
    await_waiting(&server, 1);
    assert_eq!(metric(&server, "oneoff_warm_shapes"), 1.0);
    server.stop();
}

#[test]
fn a_run_that_needs_a_container_of_its_own_has_one_and_the_metrics_say_why() {
    let server = server("1");
    warm_up(&server, &run_shell("", json!({})));
    for (more, outcome) in [
        (json!({"labels": {"a": "b"}}), "labels"),
        (json!({"hostname": "h"}), "hostname"),
        (json!({"init": false}), "init"),
        (json!({"volumes": {"/d": {"type": "directory"}}}), "volumes"),
        (
            json!({"volumes": {"/f": {"type": "file", "response": true}}}),
            "volumes",
        ),
        (json!({"command": ["/sbin/init", "--help"]}), "init"),
        (json!({"memory": "100m"}), "none_waiting"),
    ] {
        let before = outcomes(&server, outcome);
        let mut request = run_shell("true", json!({}));
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let plan = server.post("/run?dry_run=1", &request).json();
        let result = server.run(request.clone());
        assert!(!is_warm(&result), "{request}");
        assert_eq!(outcomes(&server, outcome), before + 1.0, "{request}");
        // Whether one waits is not known to a plan, nor what the image says.
        assert_eq!(plan["warm"], outcome == "none_waiting", "{request}: {plan}");
    }
    server.stop();
}

#[test]
fn an_asynchronous_run_has_a_container_of_its_own() {
    let server = server("1");
    warm_up(&server, &run_shell("", json!({})));
    let id = await_waiting(&server, 1);
    let request = run_shell("echo out", json!({})).to_string();
    let accepted = server.ask(
        &crate::support::Request::new("POST", "/run")
            .fields(&[("Prefer", "respond-async")])
            .body(&request),
    );
    let run = accepted.json()["id"].as_str().unwrap().to_owned();
    let deadline = Instant::now() + Duration::from_secs(30);
    let state = loop {
        let state = server.get(&format!("/runs/{run}")).json();
        if state["state"] == "finished" {
            break state;
        }
        assert!(Instant::now() < deadline, "{state}");
    };
    assert_eq!(state["result"]["timings"]["warm"], false);
    assert_eq!(outcomes(&server, "asynchronous"), 1.0);
    assert_eq!(await_waiting(&server, 1), id);
    assert_eq!(
        server.request("DELETE", &format!("/runs/{run}"), "").status,
        200
    );
    let instance = format!("oneoff.instance={}", server.instance);
    let is_run = |object: &String| !object.contains("-warm") && !object.ends_with("-init");
    while leftovers(&instance).iter().any(is_run) {
        assert!(Instant::now() < deadline, "the run is not forgotten");
    }
    server.stop();
}

#[test]
fn a_tag_that_moved_never_gives_a_run_the_old_image() {
    let name = format!("oneoff-test:moving-{}", std::process::id());
    let commit = |text: &str| {
        let container = docker(&[
            "create",
            IMAGE,
            "sh",
            "-c",
            &format!("echo {text} > /which"),
        ]);
        docker(&["start", "-a", &container]);
        docker(&["commit", &container, &name]);
        docker(&["rm", &container]);
    };
    commit("old");
    let server = Server::with(&[
        ("RUNNER_WARM_CONTAINERS", "2"),
        ("RUNNER_WARM_IMAGES", &name),
    ]);
    let request = json!({"image": name, "pull_policy": "never", "command": ["cat", "/which"]});
    await_waiting(&server, 1);
    let result = server.run(request.clone());
    assert!(is_warm(&result) && result["stdout"] == "old\n", "{result}");
    await_waiting(&server, 1);
    commit("new");
    let result = server.run(request);
    assert!(!is_warm(&result) && result["stdout"] == "new\n", "{result}");
    server.stop();
    let images = docker(&["images", "-q", "--filter", &format!("reference={name}")]);
    docker(&["rmi", "-f", &images]);
}

#[test]
fn an_mcp_client_has_a_container_that_waits() {
    let server = server("1");
    let request = run_shell("echo mcp", json!({}));
    warm_up(&server, &request);
    let call = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "run_container", "arguments": request},
    });
    let answer = server.post("/mcp", &call).json();
    let result = &answer["result"]["structuredContent"];
    assert_eq!(result["stdout"], "mcp\n", "{answer}");
    assert_eq!(result["timings"]["warm"], true, "{answer}");
    server.stop();
}

#[test]
fn containers_wait_on_an_engine_behind_tls_too() {
    let engine = SecondEngine::start_tls("warm");
    engine.load_images();
    let server = engine.server(&[("RUNNER_WARM_CONTAINERS", "1")]);
    let instance = server.instance.clone();
    let request = run_shell("cat; echo $HOME", json!({"stdin": "through TLS "}));
    server.run(request.clone());
    let deadline = Instant::now() + Duration::from_secs(60);
    while metric(&server, "oneoff_warm_containers") != 1.0 {
        assert!(Instant::now() < deadline, "no container waits");
    }
    let result = server.run(request);
    assert!(is_warm(&result), "{result}");
    assert_eq!(result["stdout"], "through TLS /root\n");
    server.stop();
    assert_eq!(engine.leftovers(&instance), Vec::<String>::new());
}
