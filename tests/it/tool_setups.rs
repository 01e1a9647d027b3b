//! README's steps that add this service to other tools: each is made from one description of the server and read back here, and
//! what it configures is used.

use super::support::{Request, Server, readme};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What every step says of the server.
const NAME: &str = "docker";
const ADDRESS: &str = "http://localhost:8000/mcp";

fn cursor_config() -> Value {
    json!({"url": ADDRESS})
}

fn vscode_config() -> Value {
    json!({"name": NAME, "type": "http", "url": ADDRESS})
}

/// The links as README should have them.
fn links() -> [String; 2] {
    let cursor = BASE64_STANDARD.encode(cursor_config().to_string());
    let cursor = utf8_percent_encode(&cursor, NON_ALPHANUMERIC);
    let vscode = vscode_config().to_string();
    let vscode = utf8_percent_encode(&vscode, NON_ALPHANUMERIC);
    [
        format!("cursor://anysphere.cursor-deeplink/mcp/install?name={NAME}&config={cursor}"),
        format!("vscode:mcp/install?{vscode}"),
    ]
}

/// The text from `start` to the end of a link in README.
fn link(readme: &str, start: &str) -> String {
    let from = readme
        .find(start)
        .unwrap_or_else(|| panic!("README has no {start}"));
    let rest = &readme[from..];
    let end = rest.find([')', '`', '\n', ' ']).unwrap();
    rest[..end].to_owned()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/deploy")
        .join(name)
}

/// Calls a tool at an address of which only the path counts. Returns its result.
fn call_tool(server: &Server, address: &str, tool: &str) -> Value {
    let path = address.splitn(4, '/').nth(3).unwrap();
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}});
    let answer = server.ask(&Request::new("POST", &format!("/{path}")).body(&call.to_string()));
    answer.json()["result"]["structuredContent"].clone()
}

#[test]
fn the_links_of_editors_are_those_of_the_settings_beside_them_and_reach_the_server() {
    let readme = readme();
    for expected in links() {
        assert!(readme.contains(&expected), "README should have {expected}");
    }
    let cursor = link(&readme, "cursor://");
    let query = cursor.split_once('?').unwrap().1;
    let parameters: Vec<(&str, String)> = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (name, decoded(value)))
        .collect();
    assert_eq!(parameters[0], ("name", NAME.to_owned()));
    let config = BASE64_STANDARD.decode(&parameters[1].1).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!((parameters[1].0, &config), ("config", &cursor_config()));

    let vscode = link(&readme, "vscode:mcp/install?");
    let vscode: Value = serde_json::from_str(&decoded(vscode.split_once('?').unwrap().1)).unwrap();
    assert_eq!(vscode, vscode_config());
    // The same, as the file beside the link has it.
    let file = json!({"servers": {NAME: {"type": "http", "url": ADDRESS}}}).to_string();
    let squeezed = readme.replace([' ', '\n'], "");
    assert!(squeezed.contains(&file), "{file}");

    let server = Server::start();
    for address in [&config["url"], &vscode["url"]] {
        let health = call_tool(&server, address.as_str().unwrap(), "docker_health");
        assert_eq!(health["status"], "ok", "{address}");
    }
    server.stop();
}

#[test]
fn the_line_for_claude_code_names_the_same_server() {
    let readme = readme();
    let line = readme
        .lines()
        .find(|line| line.starts_with("claude mcp add"))
        .expect("README has it");
    let words = shlex::split(line).unwrap();
    assert_eq!(words[..3], ["claude", "mcp", "add"]);
    assert_eq!(words[3..], ["--transport", "http", NAME, ADDRESS]);
}

#[test]
fn the_workflow_for_n8n_runs_a_container_and_offers_the_tools() {
    let text = std::fs::read_to_string(deploy("n8n-workflow.json")).unwrap();
    let workflow: Value = serde_json::from_str(&text).unwrap();
    let nodes = workflow["nodes"].as_array().unwrap();
    let of_type = |end: &str| {
        let mut found = nodes
            .iter()
            .filter(|node| node["type"].as_str().unwrap().ends_with(end));
        found.next().unwrap_or_else(|| panic!("{end}"))
    };
    let names: Vec<&Value> = nodes.iter().map(|node| &node["name"]).collect();
    for (from, kinds) in workflow["connections"].as_object().unwrap() {
        assert!(names.contains(&&json!(from)), "{from}");
        for target in kinds
            .as_object()
            .unwrap()
            .values()
            .flat_map(|targets| targets[0].as_array().unwrap())
        {
            assert!(names.contains(&&target["node"]), "{target}");
        }
    }
    let request = &of_type(".httpRequest")["parameters"];
    assert_eq!(
        (&request["method"], &request["url"]),
        (&json!("POST"), &json!("http://runner:8000/run"))
    );
    let mcp = &of_type(".mcpClientTool")["parameters"];
    assert_eq!(mcp["serverTransport"], "httpStreamable");

    let server = Server::start();
    let body: Value = serde_json::from_str(request["jsonBody"].as_str().unwrap()).unwrap();
    assert_eq!(server.run(body)["stdout"], "Hello from n8n\n");
    let health = call_tool(
        &server,
        mcp["endpointUrl"].as_str().unwrap(),
        "docker_health",
    );
    assert_eq!(health["status"], "ok");
    server.stop();
}

#[test]
fn the_compose_file_is_that_of_the_readme_and_compose_accepts_it() {
    let text = std::fs::read_to_string(deploy("compose.yaml")).unwrap();
    assert!(
        readme().contains(&format!("```yaml\n{text}```\n")),
        "README shows tests/deploy/compose.yaml"
    );
    let output = Command::new("docker-compose")
        .args(["--file", deploy("compose.yaml").to_str().unwrap(), "config"])
        .env("AUTH_TOKEN", "s3cret")
        .output()
        .expect("Debian's docker-compose is installed; `make test` sees to it");
    let config = String::from_utf8(output.stdout).unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words}");
    for part in [
        "AUTH_TOKEN: s3cret",
        "RUNNER_INSTANCE: runner",
        "/var/run/docker.sock:/var/run/docker.sock",
        "127.0.0.1:8000:8000",
    ] {
        assert!(config.contains(part), "{part} in {config}");
    }
    // The workflow reaches the runner under the name that it has here.
    let workflow = std::fs::read_to_string(deploy("n8n-workflow.json")).unwrap();
    assert!(text.contains("\n  runner:\n") && workflow.contains("http://runner:8000/"));
}

/// The section of CHANGELOG that a release of this version would have.
fn release_notes(version: &str) -> std::process::Output {
    Command::new("tests/support/release_notes.sh")
        .arg(version)
        .output()
        .unwrap()
}

#[test]
fn this_version_has_release_notes_and_its_crate_holds_what_it_needs() {
    let notes = release_notes(env!("CARGO_PKG_VERSION"));
    let text = String::from_utf8(notes.stdout).unwrap();
    assert!(
        notes.status.success() && text.contains("`POST /run`"),
        "{text}"
    );
    assert!(!text.contains("\n## "), "only its own section: {text}");
    assert!(!release_notes("99.0.0").status.success());

    let listed = Command::new(env!("CARGO"))
        .args(["package", "--list", "--allow-dirty", "--offline"])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let files: Vec<&str> = listed.lines().collect();
    for needed in [
        "build.rs",
        "src/main.rs",
        "src/rest/page/main.js",
        "src/rest/docs/page.html",
        "README.md",
        "LICENSE",
    ] {
        assert!(files.contains(&needed), "{needed}");
    }
    // What cargo would refuse to publish without.
    let manifest = std::fs::read_to_string("Cargo.toml").unwrap();
    for field in ["description = ", "license = ", "readme = "] {
        assert!(manifest.contains(field), "{field}");
    }
}
