//! JSON as people, programs and language models write it: numbers, platforms, host names, addresses, and what models send in
//! place of what a schema says.

use super::async_runs::forget_all;
use super::mcp::messages;
use super::run::shell;
use super::support::{IMAGE, Request, Server, docker};
use serde_json::{Value, json};
use std::process::Command;

fn plan(server: &Server, body: &str) -> Value {
    let answer = server.request("POST", "/run?dry_run=1", body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.json());
    answer.json()
}

#[test]
fn whole_numbers_are_integers_however_they_are_written() {
    let server = Server::start();
    for (field, number, place, value) in [
        (
            "pids_limit",
            "64.0",
            "/container/HostConfig/PidsLimit",
            64_u64,
        ),
        ("pids_limit", "6.4e1", "/container/HostConfig/PidsLimit", 64),
        (
            "memory",
            "67108864.0",
            "/container/HostConfig/Memory",
            64 << 20,
        ),
        ("memory", "1e8", "/container/HostConfig/Memory", 100_000_000),
        (
            "shm_size",
            "1048576.00",
            "/container/HostConfig/ShmSize",
            1 << 20,
        ),
        (
            "max_output_bytes",
            "1024.0",
            "/container/HostConfig/PidsLimit",
            1024,
        ),
        (
            "timeout_secs",
            "10.0",
            "/container/HostConfig/PidsLimit",
            1024,
        ),
    ] {
        let body =
            format!(r#"{{"image": "{IMAGE}", "pull_policy": "never", "{field}": {number}}}"#);
        let plan = plan(&server, &body);
        assert_eq!(plan.pointer(place), Some(&json!(value)), "{body}: {plan}");
    }
    for number in ["64.5", "-1.0", "1e30"] {
        let body = format!(r#"{{"image": "{IMAGE}", "pids_limit": {number}}}"#);
        assert_eq!(
            server.request("POST", "/run", &body).status,
            422,
            "{number}"
        );
    }
    for (query, status) in [("limit=10", 200), ("limit=10.0", 422), ("limit=1e1", 422)] {
        assert_eq!(
            server.get(&format!("/runs?{query}")).status,
            status,
            "{query}"
        );
    }
    for (tool, arguments) in [
        ("list_runs", r#"{"limit": 5.0}"#),
        ("list_runs", r#"{"limit": "5"}"#),
        ("list_runs", r#"{"limit": 2e1, "state": ""}"#),
    ] {
        let call = format!(
            r#"{{"jsonrpc": "2.0", "id": 7.0, "method": "tools/call",
                "params": {{"name": "{tool}", "arguments": {arguments}, "_meta": {{"progressToken": 3.0}}}}}}"#
        );
        let answer = server.request("POST", "/mcp", &call).json();
        assert_eq!(
            (&answer["id"], &answer["result"]["isError"]),
            (&json!(7), &json!(false)),
            "{answer}"
        );
    }
    server.stop();
}

#[test]
fn equal_requests_of_a_key_are_equal_however_their_numbers_are_written() {
    let server = Server::start();
    let submit = |numbers: &str| {
        let body = format!(
            r#"{{"image": "{IMAGE}", "pull_policy": "never", "network": "none", "command": ["true"], {numbers}}}"#
        );
        let fields = [("Idempotency-Key", "one"), ("Prefer", "respond-async")];
        let answer = server.ask(&Request::new("POST", "/run").fields(&fields).body(&body));
        (answer.status, answer.header("Location"))
    };
    let first = submit(r#""pids_limit": 10, "env_vars": {"A": 1.10}"#);
    assert_eq!(first.0, 202);
    for same in ["10.0", "1e1", "10.000"] {
        assert_eq!(
            submit(&format!(
                r#""pids_limit": {same}, "env_vars": {{"A": 1.10}}"#
            )),
            first
        );
    }
    assert_eq!(
        submit(r#""pids_limit": 10, "env_vars": {"A": 1.1}"#).0,
        422,
        "another value of A"
    );
    forget_all(&server);
    server.stop();
}

#[test]
fn numbers_in_env_vars_reach_the_container_digit_by_digit() {
    let server = Server::start();
    let values = [
        (
            "123456789012345678901234567890",
            "123456789012345678901234567890",
        ),
        ("-0", "-0"),
        ("1.10", "1.10"),
        ("64.0", "64.0"),
        ("1e3", "1e3"),
        ("1E-07", "1E-07"),
        ("3.14159265358979323846", "3.14159265358979323846"),
        ("18446744073709551616", "18446744073709551616"),
        ("true", "true"),
        ("false", "false"),
        ("\"007\"", "007"),
        ("\"\"", ""),
    ];
    let members = values
        .iter()
        .enumerate()
        .map(|(index, (value, _))| format!(r#""N{index}": {value}"#));
    let variables = members.collect::<Vec<_>>().join(", ");
    let names = (0..values.len()).map(|index| format!("echo \"$N{index}\""));
    let script = names.collect::<Vec<_>>().join("; ");
    let request = format!(
        r#"{{"image": "{IMAGE}", "pull_policy": "never", "network": "none", "env_vars": {{{variables}}},
            "command": {}}}"#,
        json!(["sh", "-c", script])
    );
    let wanted: String = values
        .iter()
        .map(|(_, value)| format!("{value}\n"))
        .collect();
    let answer = server.request("POST", "/run", &request);
    assert_eq!(answer.json()["stdout"], wanted);
    let call = format!(
        r#"{{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {{"name": "run_container", "arguments": {request}}}}}"#
    );
    let answer = server.request("POST", "/mcp", &call).json();
    assert_eq!(
        answer["result"]["structuredContent"]["stdout"], wanted,
        "{answer}"
    );
    // The engine stores the request of an asynchronous run, and the run reads it from there.
    let fields = [("Prefer", "wait=60")];
    let answer = server.ask(&Request::new("POST", "/run").fields(&fields).body(&request));
    assert_eq!(answer.json()["stdout"], wanted);
    forget_all(&server);
    server.await_nothing_left();
    server.stop();
}

#[test]
fn host_names_and_addresses_are_those_that_docker_takes() {
    let server = Server::start();
    let longest = "a".repeat(64);
    for name in ["my_host", "my-host.example", "A_1.b", &longest] {
        let result = server.run(shell("hostname", json!({"hostname": name})));
        assert_eq!(result["stdout"], format!("{name}\n"));
    }
    for name in ["", "a b", "a\nb", "hé", "a/b", &"a".repeat(65)] {
        let answer = server.post("/run", &shell("true", json!({"hostname": name})));
        assert_eq!(answer.status, 422, "{name:?}");
    }
    for (hosts, lines) in [
        (json!(["a:1.2.3.4", "b=1.2.3.5"]), "1.2.3.4 a|1.2.3.5 b"),
        (
            json!(["a:::1", "b=::2", "c:[::3]", "d=[2001:db8::4]"]),
            "::1 a|::2 b|::3 c|2001:db8::4 d",
        ),
        (
            json!({"a": "::1", "b": "[::2]", "c": "1.2.3.4"}),
            "::1 a|::2 b|1.2.3.4 c",
        ),
    ] {
        let script = r"grep -wE '[abcd]$' /etc/hosts | tr '\t' ' ' | tr '\n' '|'";
        let more = json!({"extra_hosts": hosts, "network": "bridge"});
        let result = server.run(shell(script, more));
        assert_eq!(result["stdout"], format!("{lines}|"), "{hosts}");
    }
    let gateway = shell(
        "grep -cw gate /etc/hosts",
        json!({"extra_hosts": ["gate=host-gateway"], "network": "bridge"}),
    );
    assert_eq!(server.run(gateway)["stdout"], "1\n");
    for wrong in [
        json!(["a"]),
        json!(["a=[1.2.3.4]"]),
        json!(["a:[::1"]),
        json!(["=::1"]),
        json!({"a": "::1]"}),
        json!(["a=b=::1"]),
    ] {
        let answer = server.post("/run", &shell("true", json!({"extra_hosts": wrong})));
        assert_eq!(answer.status, 422, "{wrong}");
    }
    server.await_nothing_left();
    server.stop();
}

/// Loads a copy of the test image that says it is for arm64 v8. Its programs are this machine's, so that it runs.
const COPY_FOR_ARM: &str = r#"
import io, json, subprocess, sys, tarfile
saved = tarfile.open(fileobj=io.BytesIO(subprocess.check_output(["docker", "save", sys.argv[1]])))
manifest = json.load(saved.extractfile("manifest.json"))
made = io.BytesIO()
with tarfile.open(fileobj=made, mode="w") as image:
    def add(name, content):
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        image.addfile(entry, io.BytesIO(content))
    config = json.load(saved.extractfile(manifest[0]["Config"]))
    config.update(architecture="arm64", variant="v8")
    add("config.json", json.dumps(config).encode())
    for layer in manifest[0]["Layers"]:
        add(layer, saved.extractfile(layer).read())
    add("manifest.json", json.dumps([{"Config": "config.json", "RepoTags": [sys.argv[2]], "Layers": manifest[0]["Layers"]}]).encode())
subprocess.run(["docker", "load"], input=made.getvalue(), check=True, stdout=subprocess.DEVNULL)
"#;

#[test]
fn an_image_of_a_platform_is_found_under_each_of_the_platform_s_names() {
    let server = Server::start();
    let arm = format!("oneoff-test:arm-{}", std::process::id());
    let copied = Command::new("python3")
        .args(["-c", COPY_FOR_ARM, IMAGE, &arm])
        .status()
        .unwrap();
    assert!(copied.success());
    for (image, platform) in [
        (IMAGE, "linux/amd64"),
        (IMAGE, "linux/x86_64"),
        (IMAGE, "amd64"),
        (IMAGE, "x86_64"),
        (IMAGE, "linux"),
        (IMAGE, "Linux/AMD64/v1"),
        (&arm, "linux/arm64/v8"),
        (&arm, "linux/arm64"),
        (&arm, "arm64"),
        (&arm, "linux/aarch64"),
    ] {
        for pull_policy in ["never", "missing"] {
            let more = json!({"image": image, "platform": platform, "pull_policy": pull_policy});
            let result = server.run(shell("echo found", more));
            assert_eq!(
                result["stdout"], "found\n",
                "{image} {platform} {pull_policy}"
            );
        }
    }
    for (image, platform) in [
        (IMAGE, "linux/arm64"),
        (&arm, "amd64"),
        (IMAGE, "linux/arm/v7"),
        (IMAGE, "windows"),
    ] {
        let more = json!({"image": image, "platform": platform});
        let answer = server.post("/run", &shell("true", more));
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (404, &json!("image_not_found")),
            "{platform}"
        );
    }
    server.await_nothing_left();
    docker(&["rmi", &arm]);
    server.stop();
}

#[test]
fn what_models_write_over_mcp_is_understood_where_nothing_else_can_be_meant() {
    let server = Server::start();
    let ask = |arguments: Value| messages::ask(&server, "run_container", arguments);
    let command = r#"["sh", "-c", "echo $A; id -u; pwd; cat /in/f /in/e; touch /x || true; cat /sys/fs/cgroup/pids/pids.max"]"#;
    let empty = json!({"image": IMAGE, "command": command, "entrypoint": "", "env_vars": "{\"A\": 1.10}",
        "pull_policy": "never", "network": "none", "timeout_secs": "30", "read_only": "True", "init": "false",
        "pids_limit": "77", "working_dir": "", "user": "", "hostname": "", "platform": "", "runtime": "", "stdin": "",
        "stdin_encoding": "", "memory": "", "shm_size": "", "cpus": "1.0", "max_output_bytes": "", "output_encoding": "",
        "cap_drop": "[\"ALL\"]", "extra_hosts": "", "tmpfs": "[]", "labels": "{}", "detach": "false",
        "auth_config": {"username": "", "password": "", "email": "", "serveraddress": ""},
        "volumes": "{\"/in/f:ro\": {\"type\": \"file\", \"text\": \"text\\n\", \"content\": \"\", \"name\": \"\", \"host_path\": \"\", \
            \"mode\": \"\", \"response\": \"false\"}, \"/in/e\": {\"type\": \"file\", \"text\": \"\"}}"});
    let encoded = Value::String(empty.to_string());
    for arguments in [empty.clone(), encoded] {
        let result = ask(arguments);
        let shown = &result["structuredContent"];
        assert_eq!(shown["stdout"], "1.10\n0\n/\ntext\n77\n", "{result}");
        assert!(
            shown["stderr"].as_str().unwrap().contains("Read-only"),
            "{result}"
        );
    }
    for (change, place) in [
        (json!({"image": ""}), "image"),
        (json!({"timeout_secs": "soon"}), "timeout_secs"),
        (json!({"read_only": "yes"}), "read_only"),
        (json!({"cap_drop": "['ALL']"}), "cap_drop"),
        (json!({"cap_drop": {"ALL": true}}), "cap_drop"),
        (json!({"user": true}), "user"),
        (json!({"user": 1.5}), "user"),
        (json!({"volumes": "{'/a': 1}"}), "volumes"),
        (json!({"unknown": ""}), "unknown"),
        (json!({"detach": "maybe"}), "detach"),
        (
            json!({"volumes": {"/a": {"type": "file", "text": "x", "mode": 755}}}),
            "mode",
        ),
    ] {
        let mut arguments = empty.clone();
        arguments
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let result = ask(arguments);
        assert_eq!(result["isError"], true, "{change}");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(place), "{change}: {text}");
    }
    let near = json!({"image": IMAGE, "command": ["sh", "-c", "id -u; pwd; cat /f; grep -c \" /t \" /proc/mounts; echo $0 $A", 7.0],
        "network": "none", "user": 1000, "hostname": 5, "cap_drop": "ALL", "tmpfs": "/t", "labels": {"a": 1, "b": true},
        "env_vars": {"A": true}, "volumes": {"/f": {"type": "file", "text": 12.50}}});
    let result = ask(near);
    let shown = &result["structuredContent"];
    assert_eq!(shown["stdout"], "1000\n/\n12.51\n7 true\n", "{result}");
    // A detached run is read again from what the engine stores.
    let mut detached = empty.clone();
    detached["detach"] = json!("true");
    let id = ask(detached)["structuredContent"]["id"].clone();
    let status = messages::ask(&server, "run_status", json!({"id": id, "wait_secs": "30"}));
    assert_eq!(
        status["structuredContent"]["result"]["stdout"], "1.10\n0\n/\ntext\n77\n",
        "{status}"
    );
    // REST is exact.
    for change in [
        json!({"timeout_secs": "30"}),
        json!({"read_only": "true"}),
        json!({"hostname": ""}),
        json!({"labels": "{}"}),
        json!({"labels": {"a": 1}}),
        json!({"user": 1000}),
        json!({"cap_drop": "ALL"}),
        json!({"tmpfs": "/t"}),
    ] {
        assert_eq!(
            server.post("/run", &shell("true", change.clone())).status,
            422,
            "{change}"
        );
    }
    forget_all(&server);
    server.await_nothing_left();
    server.stop();
}
