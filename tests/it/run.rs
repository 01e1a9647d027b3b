//! `POST /run`: what goes in and what comes out.

use super::support::{FaultProxy, IMAGE, Server, docker};
use serde_json::{Value, json};

/// A run of a shell script, with further fields.
pub fn shell(script: &str, more: Value) -> Value {
    let mut request = json!({"image": IMAGE, "pull_policy": "never", "network": "none", "command": ["sh", "-c", script]});
    let Value::Object(more) = more else {
        panic!("an object")
    };
    request.as_object_mut().unwrap().extend(more);
    request
}

#[test]
fn the_quick_starts_request_says_hello() {
    let server = Server::start();
    let result = server.run(json!({
        "image": "alpine:latest", "command": ["echo", "Hello, World!"], "env_vars": {"MY_VAR": "value"},
        "pull_policy": "never",
    }));
    assert_eq!(result["status"], "success");
    assert_eq!(result["stdout"], "Hello, World!\n");
    assert_eq!(result["stderr"], "");
    assert_eq!(result["exit_code"], 0);
    assert_eq!(result["reason"], "exited");
    assert!(
        result["image_digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    assert!(result["execution_time"].as_f64().unwrap() > 0.0);
    for step in [
        "queue_ms",
        "pull_ms",
        "create_ms",
        "stage_ms",
        "start_ms",
        "run_ms",
        "collect_ms",
    ] {
        assert!(result["timings"][step].is_u64(), "{step}");
    }
    server.stop();
}

#[test]
fn exit_codes_and_both_streams_come_back_exactly() {
    let server = Server::start();
    for code in [1, 2, 126, 255] {
        let result = server.run(shell(
            &format!("echo out; echo err >&2; exit {code}"),
            json!({}),
        ));
        assert_eq!(result["exit_code"], code);
        assert_eq!(result["status"], format!("error: {code}"));
        assert_eq!(result["reason"], "exited");
        assert_eq!(
            (&result["stdout"], &result["stderr"]),
            (&json!("out\n"), &json!("err\n"))
        );
    }
    server.stop();
}

#[test]
fn a_signal_is_distinguished_from_an_exit() {
    let server = Server::start();
    // PID 1 cannot kill itself with a signal, so the process runs as a child of one.
    let result = server.run(shell("kill -SEGV $$", json!({"init": true})));
    assert_eq!(
        (&result["reason"], &result["exit_code"]),
        (&json!("signalled"), &json!(139))
    );
    server.stop();
}

#[test]
fn memory_is_limited_and_running_out_of_it_is_reported_as_the_engine_reports_it() {
    let server = Server::start();
    let request = json!({"memory": "16m", "init": false});
    let result = server.run(shell("exec tail /dev/zero", request));
    assert_eq!(result["exit_code"], 137, "{result}");
    // Engine 20.10 on cgroup v1 sometimes misses the kernel's OOM kill; the runner reports what the engine reports.
    let instance = format!("label=oneoff.instance={}", server.instance);
    // `--until` takes whole seconds; the next one includes everything up to now.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let until = (now.unwrap().as_secs() + 1).to_string();
    let mut ask = vec!["events", "--since", "10m", "--until", &until];
    ask.extend(["--format", "{{.Action}}", "--filter", &instance]);
    let told = docker(
        &[
            &ask[..],
            &["--filter", "event=oom", "--filter", "event=die"],
        ]
        .concat(),
    );
    let lines: Vec<&str> = told.lines().collect();
    let expected = match lines[..] {
        // The container's state can say it without an event: Podman has none.
        ["die"] => &["signalled", "oom"][..],
        // The oom event may come after the die event, when the run has already been answered.
        ["die", ..] => &["signalled", "oom"],
        _ => &["oom"],
    };
    let reason = result["reason"].as_str().unwrap();
    assert!(expected.contains(&reason), "{reason}: {lines:?}");
    let status = match reason {
        "oom" => "error: out of memory",
        _ => "error: 137",
    };
    assert_eq!(result["status"], status);
    server.stop();
}

#[test]
fn a_run_over_its_time_is_killed_and_its_output_kept() {
    let server = Server::start();
    let result = server.run(shell(
        "trap '' TERM; echo before; sleep 60; echo after",
        json!({"timeout_secs": 2}),
    ));
    assert_eq!(result["status"], "error: timeout");
    assert_eq!(result["reason"], "timeout");
    assert_eq!(result["stdout"], "before\n");
    // PID 1 counts from the start, which the engine answers later.
    let phase = |name: &str| result["timings"][name].as_u64().unwrap();
    let took = phase("start_ms") + phase("run_ms");
    assert!((2000..30_000).contains(&took), "{took}");
    server.stop();
}

#[test]
fn standard_input_is_fed_and_closed() {
    let server = Server::start();
    let result = server.run(shell("cat; echo ' end'", json!({"stdin": "grüße"})));
    assert_eq!(result["stdout"], "grüße end\n");
    let result = server.run(shell(
        "cat | od -An -tx1",
        json!({"stdin": "AP8K", "stdin_encoding": "base64"}),
    ));
    assert_eq!(result["stdout"].as_str().unwrap().trim(), "00 ff 0a");
    let result = server.run(shell("cat", json!({"stdin": ""})));
    assert_eq!(result["stdout"], "");
    // More than all buffers on the way can hold, echoed while it is still being written.
    let long = "0123456789abcde\n".repeat(200_000);
    let result = server.run(shell("cat", json!({"stdin": long})));
    assert!(
        result["stdout"] == json!(long),
        "{} bytes",
        result["stdout"].as_str().unwrap().len()
    );
    server.stop();
}

#[test]
fn a_container_that_never_reads_its_input_still_ends() {
    let server = Server::start();
    let result = server.run(shell("echo done", json!({"stdin": "x".repeat(4_000_000)})));
    assert_eq!(result["stdout"], "done\n");
    server.stop();
}

#[test]
fn output_over_the_limit_keeps_both_ends_and_counts_the_rest() {
    let server = Server::start();
    let script = "i=0; while [ $i -lt 1000 ]; do printf '%09d\\n' $i; i=$((i+1)); done";
    let result = server.run(shell(script, json!({"max_output_bytes": 100})));
    let stdout = result["stdout"].as_str().unwrap();
    assert_eq!(stdout.len(), 100);
    assert!(
        stdout.starts_with("000000000\n000000001\n") && stdout.ends_with("000000999\n"),
        "{stdout}"
    );
    assert_eq!(result["stdout_omitted_bytes"], 10_000 - 100);
    assert!(result.get("stderr_omitted_bytes").is_none());
    assert_eq!(result["exit_code"], 0, "it was drained, not stopped");
    server.stop();
}

#[test]
fn output_that_is_not_text_is_returned_lossy_or_as_base64() {
    let server = Server::start();
    let script = "printf 'a\\377b'";
    assert_eq!(server.run(shell(script, json!({})))["stdout"], "a\u{fffd}b");
    assert_eq!(
        server.run(shell(script, json!({"output_encoding": "base64"})))["stdout"],
        "Yf9i"
    );
    server.stop();
}

#[test]
fn a_command_line_is_split_as_a_shell_would() {
    let server = Server::start();
    let result = server.run(json!({
        "image": IMAGE, "pull_policy": "never", "network": "none",
        "command": "sh -c 'echo \"$1|$2\"' x \"two words\" esc\\ aped",
    }));
    assert_eq!(result["stdout"], "two words|esc aped\n");
    server.stop();
}

#[test]
fn entrypoint_and_environment_replace_and_reset_the_images() {
    let server = Server::start();
    let image = |more: Value| {
        let mut request =
            json!({"image": "oneoff-test:entrypoint", "pull_policy": "never", "network": "none"});
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        server.run(request)["stdout"].as_str().unwrap().to_owned()
    };
    assert_eq!(image(json!({})), "entry cmd\n");
    assert_eq!(image(json!({"command": ["x", "y"]})), "entry x y\n");
    assert_eq!(
        image(json!({"entrypoint": "", "command": ["echo", "z"]})),
        "z\n"
    );
    assert_eq!(
        image(json!({"entrypoint": [], "command": ["echo", "z"]})),
        "z\n"
    );
    assert_eq!(
        image(json!({"entrypoint": ["echo", "mine"]})),
        "mine\n",
        "as docker run: CMD goes too"
    );
    let env = "echo ${IMAGE_VAR-unset},$A,$B,$C; pwd";
    let result = image(json!({
        "entrypoint": ["sh", "-c", env], "env_vars": {"A": 1.5, "B": true, "C": "x y=z", "IMAGE_VAR": null},
    }));
    assert_eq!(result, "unset,1.5,true,x y=z\n/srv\n");
    assert_eq!(
        image(json!({"entrypoint": ["sh", "-c", env]}))
            .lines()
            .next(),
        Some("from-image,,,")
    );
    server.stop();
}

#[test]
fn user_directory_host_name_mounts_and_capabilities_are_as_requested() {
    let server = Server::start();
    let script = "id -u; id -g; pwd; hostname; cat /etc/hosts | grep db; mount | grep -c ' /scratch '; \
                  df -k /dev/shm | tail -n1 | awk '{print $2}'; grep NoNewPrivs /proc/self/status | tr -d '\\t'; \
                  touch /x 2>&1 | grep -o 'Read-only' ; grep CapEff /proc/self/status | tr -d '\\t'";
    let result = server.run(shell(
        script,
        json!({
            "user": "1234:77", "working_dir": "/tmp", "hostname": "box", "extra_hosts": ["db:10.1.2.3"],
            "tmpfs": {"/scratch": "size=1m"}, "shm_size": "8m", "read_only": true, "cap_drop": ["ALL"],
            "labels": {"mine": "1"}, "pids_limit": 50, "cpus": 0.5, "memory": "64m", "network": "bridge",
        }),
    ));
    let lines: Vec<&str> = result["stdout"].as_str().unwrap().lines().collect();
    assert_eq!(
        lines,
        [
            "1234",
            "77",
            "/tmp",
            "box",
            "10.1.2.3\tdb",
            "1",
            "8192",
            "NoNewPrivs:1",
            "Read-only",
            "CapEff:0000000000000000"
        ],
        "{result}"
    );
    server.stop();
}

#[test]
fn with_network_none_there_is_only_loopback() {
    let server = Server::start();
    let interfaces = |network: &str| {
        let result = server.run(shell(
            "awk -F: 'NR > 2 { print $1 }' /proc/net/dev | tr -d ' ' | tr '\\n' ' '",
            json!({"network": network}),
        ));
        result["stdout"].as_str().unwrap().to_owned()
    };
    assert_eq!(interfaces("none").trim(), "lo");
    assert!(interfaces("bridge").contains("eth0"));
    server.stop();
}

/// What this service's PID 1 gets beside the command: bytes of memory, and processes. Not every engine's containers can have it.
fn share_of_pid_1(server: &Server) -> (u64, u64) {
    match server.get("/health").json()["init"]["available"].as_bool() {
        Some(true) => (4 << 20, 2),
        Some(false) => (0, 0),
        None => panic!("a container runs, and it is not known whether it has this service's PID 1"),
    }
}

#[test]
fn the_engine_is_asked_for_every_limit() {
    let server = Server::start();
    let pending = server.begin_run(&shell(
        "sleep 60",
        json!({"memory": "64m", "cpus": 0.5, "pids_limit": 50, "labels": {"mine": "1"}, "timeout_secs": 100}),
    ));
    let id = server.await_running();
    let inspected: Value = serde_json::from_str(&docker(&["inspect", &id])).unwrap();
    let host = &inspected[0]["HostConfig"];
    let (pid_1_memory, pid_1_processes) = share_of_pid_1(&server);
    assert_eq!(host["Memory"], (64 << 20) + pid_1_memory);
    assert_eq!(host["MemorySwap"], (64 << 20) + pid_1_memory);
    assert_eq!(host["NanoCpus"], 500_000_000);
    assert_eq!(host["PidsLimit"], 50 + pid_1_processes);
    assert_eq!(host["Privileged"], false);
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]));
    assert_eq!(host["LogConfig"]["Type"], "none");
    let labels = &inspected[0]["Config"]["Labels"];
    assert_eq!(labels["mine"], "1");
    assert_eq!(labels["oneoff.instance"], server.instance);
    for label in ["oneoff.run", "oneoff.owner", "oneoff.deadline"] {
        assert!(labels[label].is_string(), "{label}");
    }
    drop(pending);
    server.await_nothing_left();
    server.stop();
}

#[test]
fn the_defaults_of_the_server_apply_without_being_requested() {
    let server = Server::with(&[
        ("RUNNER_DEFAULT_MEMORY", "48m"),
        ("RUNNER_DEFAULT_PIDS_LIMIT", "33"),
        ("RUNNER_DEFAULT_TIMEOUT_SECS", "1"),
        ("RUNNER_DEFAULT_OUTPUT_BYTES", "4"),
        ("RUNNER_MAX_CPUS", "0.75"),
    ]);
    let request = json!({"image": IMAGE, "pull_policy": "never", "command": ["sh", "-c", "echo 123456; sleep 60"]});
    let pending = server.begin_run(&request);
    let id = server.await_running();
    let inspected: Value = serde_json::from_str(&docker(&["inspect", &id])).unwrap();
    let (pid_1_memory, pid_1_processes) = share_of_pid_1(&server);
    let host = &inspected[0]["HostConfig"];
    assert_eq!(host["Memory"], (48 << 20) + pid_1_memory);
    assert_eq!(host["PidsLimit"], 33 + pid_1_processes);
    assert_eq!(inspected[0]["HostConfig"]["NanoCpus"], 750_000_000);
    let mut pending = pending;
    let answer = super::support::read_answer(&mut pending).unwrap().json();
    assert_eq!(answer["reason"], "timeout");
    assert_eq!(answer["stdout"], "126\n", "first and last half");
    server.stop();
}

#[test]
fn an_image_that_is_missing_is_a_404_and_nothing_is_left_behind() {
    let server = Server::start();
    for policy in ["never", "missing", "always"] {
        // A registry on a closed port: the answer is never a 500.
        let image = if policy == "never" {
            "no-such-image:1"
        } else {
            "127.0.0.1:1/no-such-image:1"
        };
        let answer = server.post(
            "/run",
            &json!({"image": image, "command": "true", "pull_policy": policy}),
        );
        let problem = answer.json();
        match policy {
            "never" => assert_eq!(
                (answer.status, &problem["code"]),
                (404, &json!("image_not_found")),
                "{problem}"
            ),
            _ => assert_eq!(
                (answer.status, &problem["code"]),
                (502, &json!("registry_unreachable")),
                "{problem}"
            ),
        }
        assert_eq!(
            answer.header("Content-Type").as_deref(),
            Some("application/problem+json")
        );
    }
    server.stop();
}

#[test]
fn a_container_that_cannot_start_is_a_422_with_the_engines_message_and_nothing_is_left_behind() {
    let server = Server::start();
    for (fault, word) in [
        (json!({"command": ["/no/such/program"]}), "no such file"),
        (json!({"command": ["no-such-program"]}), "executable"),
        (json!({"user": "ghost"}), "ghost"),
        (json!({"command": ["/tmp"]}), "permission denied"),
        (json!({"working_dir": "/etc/passwd"}), "not a directory"),
    ] {
        let answer = server.post("/run", &shell("true", fault.clone()));
        let problem = answer.json();
        assert_eq!(
            (answer.status, &problem["code"]),
            (422, &json!("start_failed")),
            "{fault}: {problem}"
        );
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .to_lowercase()
                .contains(word),
            "{fault}: {problem}"
        );
    }
    server.stop();
}

#[test]
fn more_cpus_than_the_engine_has_are_refused() {
    let server = Server::start();
    let answer = server.post("/run", &shell("true", json!({"cpus": 50_000})));
    let (status, code, detail) = answer.problem();
    assert_eq!(
        (status, code.as_str()),
        (422, "invalid_request"),
        "{detail}"
    );
    assert!(detail.contains("the engine's CPUs"), "{detail}");
    assert_eq!(
        answer.json()["errors"][0]["loc"],
        json!(["body", "cpus"]),
        "{detail}"
    );
    server.stop();
}

#[test]
fn daemonised_children_do_not_outlive_their_run() {
    let server = Server::start();
    let result = server.run(shell("(sleep 600 &) ; echo started", json!({})));
    assert_eq!(result["stdout"], "started\n");
    server.stop();
}

#[test]
fn a_container_that_closes_its_output_is_still_waited_for() {
    let server = Server::start();
    let result = server.run(shell("exec >&- 2>&-; sleep 0.3; exit 7", json!({})));
    assert_eq!(result["exit_code"], 7);
    server.stop();
}

#[test]
fn a_fork_bomb_meets_its_limit() {
    let server = Server::start();
    let script = "b() { b | b & }; b; sleep 1; echo survived";
    let result = server.run(shell(script, json!({"pids_limit": 20, "timeout_secs": 20})));
    assert!(
        result["reason"] == "exited" || result["reason"] == "timeout",
        "{result}"
    );
    server.stop();
}

#[test]
fn a_limit_holds_or_the_warnings_say_that_it_does_not() {
    let server = Server::start();
    let script = "i=0; while [ $i -lt 40 ]; do sleep 9 & i=$((i+1)); done; echo all";
    let result = server.run(shell(script, json!({"pids_limit": 20})));
    let warnings = result["warnings"].to_string();
    assert_eq!(
        result["stdout"] == "all\n",
        warnings.contains("pids_limit are not enforced"),
        "{result}"
    );
    server.stop();
}

#[test]
fn an_image_can_be_named_by_its_id() {
    let server = Server::start();
    let id = docker(&["image", "inspect", "--format", "{{.Id}}", IMAGE]);
    let digits = id.strip_prefix("sha256:").unwrap();
    for reference in [&id, digits, &digits[..12]] {
        for pull_policy in ["never", "missing"] {
            let mut request = shell("echo here", json!({"pull_policy": pull_policy}));
            request["image"] = json!(reference);
            let result = server.run(request);
            assert_eq!(result["stdout"], "here\n", "{reference}");
            assert_eq!(result["image_digest"], json!(id), "{reference}");
        }
    }
    server.stop();
}

#[test]
fn an_exit_code_of_137_is_not_out_of_memory() {
    let server = Server::start();
    for (more, reason) in [
        (json!({"command": ["sh", "-c", "exit 137"]}), "exited"),
        (json!({"command": ["sh", "-c", "kill -9 $$"]}), "signalled"),
        (
            json!({"command": ["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]}),
            "exited",
        ),
        // The engine does not distinguish them.
        (
            json!({"command": ["sh", "-c", "exit 137"], "init": false}),
            "signalled",
        ),
    ] {
        let result = server.run(shell("", more));
        assert_eq!(result["reason"], reason, "{result}");
        assert_eq!(
            (&result["exit_code"], &result["status"]),
            (&json!(137), &json!("error: 137"))
        );
        assert_eq!(result["oom_killed"], json!(null), "{result}");
    }
    server.stop();
}

#[test]
fn a_container_that_exits_before_the_kill_at_its_time_limit_did_not_time_out() {
    for (code, reason) in [(137, "signalled"), (3, "exited")] {
        let instance = format!("late-kill-{code}-{}", std::process::id());
        let filter = format!("label=oneoff.instance={instance}");
        let cutting = FaultProxy::holding("/kill?", move || {
            let container = docker(&["ps", "--quiet", "--filter", &filter]);
            docker(&["exec", &container, "touch", "/over"]);
            docker(&["wait", &container]);
        });
        let server = Server::named(&instance, &[("DOCKER_HOST", &cutting.docker_host())]);
        let script = format!("until [ -e /over ]; do sleep 0.05; done; exit {code}");
        let result = server.run(shell(&script, json!({"timeout_secs": 0.5, "init": false})));
        assert!(cutting.has_cut(), "the limit was over");
        assert_eq!(
            (&result["reason"], &result["exit_code"]),
            (&json!(reason), &json!(code))
        );
        server.stop();
    }
}
