//! The two requests of the README's quick start, and checks of their answers.

use super::{tar_gz, untar};
use serde_json::{Value, json};

/// The script of the second request, in base64.
const SCRIPT: &str = "IyEvYmluL2FzaAoKZWNobyAiSGVsbG8sIFdvcmxkISIgPiAvYXBwL2RhdGEvdGVzdC50eHQ=";

pub fn hello() -> Value {
    json!({
        "image": "alpine:latest", "command": ["echo", "Hello, World!"], "env_vars": {"MY_VAR": "value"},
        "pull_policy": "never",
    })
}

pub fn expect_hello(result: &Value) {
    assert_eq!(result["status"], "success", "{result}");
    assert_eq!(result["stdout"], "Hello, World!\n");
}

/// A directory to be returned, and a script that writes to it.
pub fn files() -> Value {
    let content = tar_gz(&[("before.txt", b"before")], ".");
    json!({
        "image": "alpine:latest", "command": ["/test.sh"], "pull_policy": "never",
        "volumes": {
            "/app/data": {"content": content, "response": true, "type": "directory"},
            "/test.sh:ro": {"mode": "0755", "content": SCRIPT, "type": "file"},
        },
    })
}

pub fn expect_files(result: &Value) {
    assert_eq!(result["status"], "success", "{result}");
    let returned = untar(result["volumes"]["/app/data"]["content"].as_str().unwrap());
    for (name, content) in [("test.txt", "Hello, World!\n"), ("before.txt", "before")] {
        let entry = returned.iter().find(|entry| entry.name == name);
        let found = entry.and_then(|entry| entry.content.as_deref());
        assert_eq!(found, Some(content.as_bytes()), "{name}");
    }
}

/// The same request with `"network": "none"`.
pub fn without_network(mut request: Value) -> Value {
    request["network"] = json!("none");
    request
}
