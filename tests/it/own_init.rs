//! The service's own PID 1 in the containers of runs: exact ends, what was used, and nothing of it to be seen.

mod adopted;
mod delivery;
mod fates;
mod forged;
mod output;

use super::run::shell;
use super::support::Server;
use serde_json::{Value, json};

/// The fields of a result that say how the run ended, with what it printed.
fn outcome(result: &Value) -> Value {
    json!({
        "status": result["status"], "exit_code": result["exit_code"], "reason": result["reason"],
        "stdout": result["stdout"], "stderr": result["stderr"], "oom_killed": result["oom_killed"],
        "volumes": result["volumes"], "warnings": result["warnings"],
    })
}

/// Whether the run had this service's PID 1.
fn had_init(result: &Value) -> bool {
    result["usage"]["cpu_seconds"].is_f64()
}

#[test]
fn a_run_is_the_same_with_and_without_it() {
    let server = Server::start();
    let script = "id; pwd; echo $0; env | sort; ls -a /; cat; echo e >&2; ls /proc/self/fd | wc -l; umask; ulimit -n; trap; exit 3";
    for more in [
        json!({}),
        json!({"stdin": "fed"}),
        json!({"user": "1000:1000", "read_only": true, "cap_drop": ["ALL"]}),
        json!({"user": "nobody", "working_dir": "/made/for/it", "env_vars": {"A": "b\n\"", "PATH": "/bin:/sbin"}}),
        json!({"network": "bridge", "hostname": "h", "tmpfs": {"/t": ""}, "shm_size": "1m"}),
        json!({"entrypoint": ["/bin/sh", "-c"], "command": ["id; cat; exit 3"]}),
        json!({"env_vars": {"_RJEM_MALLOC_CONF": "abort_conf:true,bogus:1", "A": "b"}}),
        json!({"volumes": {
            "/in:ro": {"type": "file", "text": "in"}, "/out": {"type": "directory", "response": true},
        }, "command": ["sh", "-c", "cat /in; (sleep 0.1; echo late > /out/x) & wait; exit 3"]}),
    ] {
        let run = |init: bool| {
            let mut request = shell(script, more.clone());
            request["init"] = json!(init);
            request["hostname"] = json!("h");
            server.run(request)
        };
        let (plain, ours) = (run(false), run(true));
        assert!(had_init(&ours) && !had_init(&plain), "{ours} {plain}");
        // The mount point of the init is in the root directory.
        let mut seen = outcome(&ours);
        seen["stdout"] = json!(seen["stdout"].as_str().unwrap().replace(".oneoff\n", ""));
        let mut expected = outcome(&plain);
        for result in [&mut seen, &mut expected] {
            for volume in result["volumes"].as_object_mut().unwrap().values_mut() {
                // Times differ.
                volume["content"] = json!(volume["content"].is_string());
            }
        }
        assert_eq!(seen, expected, "{more}");
        assert_eq!(ours["exit_code"], 3);
    }
    server.stop();
}

#[test]
fn who_is_pid_1_is_as_the_request_the_setting_and_the_program_say() {
    let pid = |server: &Server, program: &str, init: Value| {
        let mut request = shell(
            "",
            json!({
                "entrypoint": [program], "command": [],
                "volumes": {(format!("{program}:ro")): {"type": "file", "mode": "0755", "text": "#!/bin/sh\necho $$\n"}},
            }),
        );
        if !init.is_null() {
            request["init"] = init;
        }
        let result = server.run(request);
        let is_pid_1 = result["stdout"] == "1\n";
        assert_eq!(is_pid_1, !had_init(&result), "{result}");
        is_pid_1
    };
    for (mode, of_init, of_other) in [
        ("auto", true, false),
        ("on", false, false),
        ("off", true, true),
    ] {
        let server = Server::with(&[("RUNNER_INIT", mode)]);
        assert_eq!(pid(&server, "/init", json!(null)), of_init, "{mode}");
        assert_eq!(
            pid(&server, "/usr/bin/tini", json!(null)),
            of_init,
            "{mode}"
        );
        assert_eq!(pid(&server, "/opt/tool", json!(null)), of_other, "{mode}");
        for program in ["/init", "/opt/tool"] {
            assert!(!pid(&server, program, json!(true)), "{mode} {program}");
            assert!(pid(&server, program, json!(false)), "{mode} {program}");
        }
        server.stop();
    }
}
