//! How commands end, and what they used.

use super::super::run::shell;
use super::super::support::{EventStream, Request, Server, docker, read_answer};
use super::had_init;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[test]
fn every_signal_that_ends_a_command_has_its_name() {
    let server = Server::start();
    for (number, name) in [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (3, "SIGQUIT"),
        (4, "SIGILL"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (10, "SIGUSR1"),
        (11, "SIGSEGV"),
        (13, "SIGPIPE"),
        (14, "SIGALRM"),
        (15, "SIGTERM"),
        (16, "SIGSTKFLT"),
        (24, "SIGXCPU"),
        (30, "SIGPWR"),
        (31, "SIGSYS"),
        (34, "SIGRTMIN"),
        (64, "SIGRTMIN+30"),
    ] {
        // A shell itself ignores SIGQUIT.
        let command = json!([
            "bash",
            "-c",
            format!("(sleep 0.1; kill -{number} $$) & exec sleep 20")
        ]);
        let result = server.run(shell("", json!({"command": command})));
        let seen = (&result["reason"], &result["signal"], &result["exit_code"]);
        let expected = (&json!("signalled"), &json!(name), &json!(128 + number));
        assert_eq!(seen, expected, "{result}");
        assert_eq!(result["status"], json!(format!("error: {}", 128 + number)));
    }
    server.stop();
}

#[test]
fn an_exit_code_alone_is_neither_a_signal_nor_out_of_memory() {
    let server = Server::start();
    for code in [0, 1, 125, 126, 127, 128, 129, 137, 139, 143, 192, 255] {
        let result = server.run(shell(&format!("exit {code}"), json!({})));
        assert_eq!(
            (&result["reason"], &result["signal"], &result["exit_code"]),
            (&json!("exited"), &json!(null), &json!(code)),
            "{result}"
        );
        assert_eq!(result["oom_killed"], json!(null));
    }
    server.stop();
}

#[test]
fn running_out_of_memory_is_known_exactly() {
    let server = Server::start();
    for _ in 0..3 {
        let result = server.run(shell("exec tail /dev/zero", json!({"memory": "16m"})));
        assert_eq!(
            (&result["reason"], &result["signal"], &result["oom_killed"]),
            (&json!("oom"), &json!("SIGKILL"), &json!(true)),
            "{result}"
        );
        assert_eq!(result["status"], "error: out of memory");
        assert!(result["usage"]["memory_peak_bytes"].as_u64().unwrap() > 16 << 20);
        // A child of the command, which lives on.
        let result = server.run(shell(
            "tail /dev/zero; echo $?; exit 4",
            json!({"memory": "16m"}),
        ));
        assert_eq!(
            (&result["reason"], &result["stdout"], &result["oom_killed"]),
            (&json!("exited"), &json!("137\n"), &json!(true)),
            "{result}"
        );
    }
    server.stop();
}

#[test]
fn the_command_gets_the_limits_that_were_asked_for() {
    let server = Server::start();
    // The shell and 19 others.
    let bomb = "for i in $(seq 19); do sleep 60 & done; echo full; sleep 60 & echo more";
    let result = server.run(shell(bomb, json!({"pids_limit": 20})));
    assert_eq!(result["stdout"], "full\n", "{result}");
    assert_eq!(result["usage"]["pids_peak"], 20);
    // A bomb without an end of its own.
    let bomb = "b() { b | b & }; b; sleep 0.3; echo over";
    let result = server.run(shell(bomb, json!({"pids_limit": 30, "timeout_secs": 20})));
    assert_eq!(result["reason"], "exited", "{result}");
    assert_eq!(result["usage"]["pids_peak"], 30);
    server.await_nothing_left();
    let request = shell("sleep 60", json!({"memory": "64m", "pids_limit": 7}));
    let _run = server.begin_run(&request);
    let container = server.await_running();
    let limits = docker(&[
        "inspect",
        &container,
        "--format",
        "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.PidsLimit}}",
    ]);
    let memory = (64 << 20) + (4 << 20);
    assert_eq!(limits, format!("{memory} {memory} 9"));
    server.stop();
}

#[test]
fn what_a_run_used_is_said() {
    let server = Server::start();
    let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
    let result = server.run(shell(busy, json!({})));
    let idle = server.run(shell("sleep 0.5", json!({})));
    let seconds = |result: &Value| result["usage"]["cpu_seconds"].as_f64().unwrap();
    assert!(seconds(&result) > 10.0 * seconds(&idle), "{result} {idle}");
    assert!(seconds(&idle) < 0.1, "{idle}");
    let result = server.run(shell(
        "head -c 40000000 /dev/zero | tail -c 30000000 | wc -c",
        json!({}),
    ));
    assert!(
        result["usage"]["memory_peak_bytes"].as_u64().unwrap() > 25_000_000,
        "{result}"
    );
    server.stop();
}

#[test]
fn a_command_that_cannot_be_started_is_said_in_the_engines_words() {
    let server = Server::start();
    for (more, words) in [
        (
            json!({"command": ["nope"]}),
            "exec: \"nope\": executable file not found in $PATH",
        ),
        (
            json!({"command": ["/nope"]}),
            "exec: \"/nope\": stat /nope: no such file or directory",
        ),
        (
            json!({"command": ["/etc/passwd"]}),
            "exec: \"/etc/passwd\": permission denied",
        ),
        (
            json!({"command": ["/etc"]}),
            "exec: \"/etc\": permission denied",
        ),
        (
            json!({"command": ["./x"], "working_dir": "/"}),
            "exec: \"./x\": stat ./x: no such file or directory",
        ),
        (
            json!({"command": ["sh"], "env_vars": {"PATH": "/nowhere"}}),
            "executable file not found in $PATH",
        ),
        (
            json!({"command": ["/f"], "volumes": {"/f:ro": {"type": "file", "mode": "0755", "text": "#!/nowhere/sh\n"}}}),
            "exec /f: no such file or directory",
        ),
        (
            json!({"command": ["/f"], "volumes": {"/f:ro": {"type": "file", "mode": "0755", "text": "no program"}}}),
            "exec /f: exec format error",
        ),
    ] {
        for init in [true, false] {
            let mut request = shell("", more.clone());
            request["init"] = json!(init);
            let answer = server.post("/run", &request);
            let problem = answer.json();
            if init || answer.status == 422 {
                assert_eq!(
                    (answer.status, &problem["code"]),
                    (422, &json!("start_failed")),
                    "{problem}"
                );
            }
            let detail = problem["detail"].as_str().unwrap_or_default();
            assert!(!init || detail.contains(words), "{detail}");
        }
    }
    // No event says that it had started: the answer to one who watches is the same.
    let request = shell("", json!({"command": ["nope"]})).to_string();
    let fields = [("Accept", "application/x-ndjson")];
    let post = Request::new("POST", "/run").fields(&fields).body(&request);
    let answer = server.ask(&post);
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (422, &json!("start_failed"))
    );
    server.stop();
}

#[test]
fn a_command_that_leaves_processes_behind_is_over_when_it_ends() {
    let server = Server::start();
    for script in [
        "sleep 60 & exit 5",
        "(sleep 60 &); (trap '' TERM HUP INT; exec sleep 60) & exit 5",
        "setsid sleep 60 & exit 5",
        "for i in 1 2 3 4 5; do (while :; do :; done) & done; exit 5",
    ] {
        let begun = Instant::now();
        let result = server.run(shell(script, json!({"timeout_secs": 50})));
        assert_eq!(result["exit_code"], 5, "{result}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{script}");
    }
    // Orphans are reaped while the command runs.
    let script = "for i in 1 2 3; do (sleep 0.05 &) ; done; sleep 0.5; ps | grep -c '\\[sleep\\]'";
    let result = server.run(shell(script, json!({})));
    assert_eq!(result["stdout"], "0\n", "{result}");
    server.stop();
}

#[test]
fn at_its_time_limit_a_run_ends_with_what_it_printed_and_used() {
    let server = Server::start();
    let script = "trap '' TERM INT HUP; echo begun; while :; do :; done";
    let result = server.run(shell(script, json!({"timeout_secs": 1})));
    assert_eq!(
        (&result["reason"], &result["status"], &result["stdout"]),
        (
            &json!("timeout"),
            &json!("error: timeout"),
            &json!("begun\n")
        )
    );
    assert!(had_init(&result), "{result}");
    assert_eq!(result["signal"], "SIGKILL");
    server.stop();
}

#[test]
fn signals_from_outside_reach_the_command_and_a_kill_is_told() {
    let server = Server::start();
    let script = "trap 'echo caught; exit 9' TERM; trap 'echo user' USR1; echo ready; while :; do sleep 0.02; done";
    let fields = [("Accept", "application/x-ndjson")];
    let watch = |script: &str| {
        let request = shell(script, json!({"timeout_secs": 60})).to_string();
        let post = Request::new("POST", "/run").fields(&fields).body(&request);
        let mut live = EventStream::new(server.begin(&post));
        while !live.line().unwrap().contains("ready") {}
        live
    };
    let last = |mut live: EventStream| -> Value {
        let mut last = String::new();
        while let Some(line) = live.line() {
            last = line;
        }
        serde_json::from_str(&last).unwrap()
    };
    let live = watch(script);
    let container = server.await_running();
    docker(&["kill", "--signal", "USR1", &container]);
    docker(&["stop", &container]);
    let result = last(live);
    assert_eq!(result["exit_code"], 9, "{result}");
    assert!(
        result["stdout"].as_str().unwrap().ends_with("caught\n"),
        "{result}"
    );
    let script = "for n in 1 2 3 5 6 10 12 13 14 15 16 20 21 22 23 24 25 26 27 29 30 31; do trap \"echo got $n\" $n; done; \
                  echo ready; while [ ! -e /go ]; do sleep 0.05; done; exit 9";
    let live = watch(script);
    let container = server.await_running();
    for number in [
        1, 2, 3, 5, 6, 10, 12, 13, 14, 15, 16, 20, 21, 22, 23, 24, 25, 26, 27, 29, 30, 31,
    ] {
        docker(&["kill", "--signal", &number.to_string(), &container]);
    }
    docker(&["exec", &container, "touch", "/go"]);
    let result = last(live);
    let stdout = result["stdout"].as_str().unwrap();
    assert_eq!(stdout.matches("got").count(), 22, "{result}");
    let live = watch("echo ready; sleep 60");
    docker(&["kill", &server.await_running()]);
    let result = last(live);
    assert_eq!(
        (&result["reason"], &result["signal"], &result["exit_code"]),
        (&json!("signalled"), &json!("SIGKILL"), &json!(137)),
        "{result}"
    );
    assert_eq!(result["usage"]["cpu_seconds"], json!(null));
    server.stop();
}

#[test]
fn the_end_of_a_command_is_known_though_pid_1_was_stopped() {
    let server = Server::start();
    let request = shell(
        "while [ ! -e /go ]; do sleep 0.1; done; exit 4",
        json!({"timeout_secs": 4}),
    );
    let mut run = server.begin_run(&request);
    let container = server.await_running();
    docker(&["kill", "--signal", "STOP", &container]);
    docker(&["exec", &container, "touch", "/go"]);
    let result = read_answer(&mut run).unwrap().json();
    assert_eq!(
        (&result["reason"], &result["exit_code"]),
        (&json!("exited"), &json!(4)),
        "{result}"
    );
    server.stop();
}

/// A file in memory counts, and belongs to no process that the kernel could kill.
#[test]
fn pid_1_outlives_memory_that_no_process_has() {
    let server = Server::start();
    let fill = "sh -c 'head -c 60m /dev/zero > /dev/shm/x'; echo st $?; exit 4";
    for user in ["0:0", "1000:1000"] {
        let request = shell(
            fill,
            json!({"memory": "16m", "shm_size": "100m", "user": user}),
        );
        let result = server.run(request);
        assert_eq!(
            (&result["reason"], &result["exit_code"]),
            (&json!("exited"), &json!(4)),
            "{result}"
        );
        let stdout = result["stdout"].as_str().unwrap();
        assert!(stdout == "st 137\n", "{result}");
    }
    let result = server.run(shell(
        "cat /proc/self/oom_score_adj",
        json!({"memory": "512m"}),
    ));
    let added: u64 = result["stdout"].as_str().unwrap().trim().parse().unwrap();
    assert!((1..100).contains(&added), "{result}");
    server.stop();
}
