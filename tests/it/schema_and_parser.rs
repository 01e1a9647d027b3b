//! The schemas of `/openapi.json` and of the MCP tools say what the parser takes: both are asked about the same values.

use super::mcp::messages;
use super::support::Server;
use oneoff_docker_runner::rest::openapi;
use oneoff_docker_runner::runner::request::wire::{Reader, Wire};
use oneoff_docker_runner::runner::{AuthRequest, RunRequest, Spelling, VolumeMount, VolumeRequest};
use serde_json::{Value, json};

/// One value of each kind and spelling that the schemas tell apart.
fn values() -> Vec<Value> {
    let texts = [
        "",
        "a",
        "0",
        "512m",
        "1.5g",
        "2 GiB",
        ".5k",
        "1.",
        "12b",
        "m",
        "1x",
        "-1",
        "0644",
        "755",
        "1777",
        "2755",
        "0o600",
        "9",
        "00777",
        "01777",
        "02777",
        "always",
        "missing",
        "base64",
        "utf8",
        "file",
        "directory",
        "host",
        "volume",
    ];
    let mut values: Vec<Value> = texts.into_iter().map(Value::from).collect();
    values.extend([
        Value::Null,
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(64.0),
        json!(-0.0),
        json!(1.5),
        json!(1e3),
        json!(u64::MAX),
        json!(i64::MAX),
        json!([]),
        json!(["a"]),
        json!(["a:b"]),
        json!([1]),
        json!([null]),
        json!([["a"]]),
        json!({}),
        json!({"a": "b"}),
        json!({"a": 1}),
        json!({"a": 1.5}),
        json!({"a": true}),
        json!({"a": null}),
        json!({"a": []}),
        json!({"a": {}}),
        json!({"/a": {"type": "file"}}),
        json!({"/a": {"type": "link"}}),
        json!({"type": "file"}),
        json!({"username": "u"}),
        json!({"username": 1}),
    ]);
    values
}

fn is_read<T: Wire>(value: &Value, spelling: Spelling) -> bool {
    let mut reader = Reader::new("body").with_spelling(spelling);
    reader.read::<T>(value.clone());
    reader.is_clean()
}

/// Every value for every field of an object, beside the members that it must have.
fn objects(fields: &[&str], base: &Value) -> Vec<Value> {
    let mut objects = vec![base.clone()];
    for field in fields.iter().chain(&["unknown"]) {
        for value in values() {
            // The schema says in one more place what the check of the whole request says: a required member is there, and is no null.
            let lacks_type = *field == "volumes" && value == json!({"a": {}});
            if lacks_type || value.is_null() && base.get(field).is_some() {
                continue;
            }
            let mut object = base.clone();
            object[*field] = value;
            objects.push(object);
        }
    }
    objects
}

fn compare<T: Wire>(name: &str, fields: &[&str], base: Value) -> Vec<String> {
    let document = openapi::document();
    let schema = json!({"$ref": format!("#/components/schemas/{name}"), "components": document["components"]});
    let schema = jsonschema::validator_for(&schema).unwrap();
    let mut differences = Vec::new();
    for object in objects(fields, &base) {
        let (valid, read) = (
            schema.is_valid(&object),
            is_read::<T>(&object, Spelling::Exact),
        );
        if valid != read {
            differences.push(format!("{name} {object}: valid {valid}, read {read}"));
        }
    }
    differences
}

#[test]
fn a_body_is_valid_by_the_schema_exactly_if_it_is_read() {
    let differences = [
        compare::<RunRequest>("RunRequest", RunRequest::FIELDS, json!({"image": "x"})),
        compare::<VolumeMount>("VolumeMount", VolumeMount::FIELDS, json!({"type": "file"})),
        compare::<AuthRequest>("AuthRequest", AuthRequest::FIELDS, json!({})),
        compare::<VolumeRequest>("VolumeRequest", VolumeRequest::FIELDS, json!({"name": "x"})),
    ];
    assert_eq!(differences.concat(), Vec::<String>::new());
}

#[test]
fn arguments_that_are_valid_by_a_tool_s_schema_are_read() {
    let server = Server::start();
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let tools = server.request("POST", "/mcp", list).json()["result"]["tools"].clone();
    let schema_of = |name: &str| {
        let tool = tools
            .as_array()
            .unwrap()
            .iter()
            .find(|tool| tool["name"] == name)
            .unwrap();
        jsonschema::validator_for(&tool["inputSchema"]).unwrap()
    };
    let (run, volume) = (schema_of("run_container"), schema_of("create_volume"));
    // Members that no schema names are allowed by it for some clients' sake, and refused by name.
    let is_named = |object: &&Value| object.get("unknown").is_none();
    for object in objects(RunRequest::FIELDS, &json!({"image": "x"}))
        .iter()
        .filter(is_named)
    {
        let read = is_read::<RunRequest>(object, Spelling::Lenient);
        assert!(read || !run.is_valid(object), "{object}");
    }
    for object in objects(VolumeRequest::FIELDS, &json!({"name": "x"}))
        .iter()
        .filter(is_named)
    {
        let read = is_read::<VolumeRequest>(object, Spelling::Lenient);
        assert!(read || !volume.is_valid(object), "{object}");
    }
    for whole in [json!({"wait_secs": 1.0}), json!({"limit": 3.0})] {
        let tool = if whole.get("limit").is_some() {
            "list_runs"
        } else {
            "run_status"
        };
        let mut arguments = whole.clone();
        if tool == "run_status" {
            arguments["id"] = json!("none");
        }
        assert!(schema_of(tool).is_valid(&arguments));
        let text = messages::ask(&server, tool, arguments).to_string();
        assert!(!text.contains("expected"), "{text}");
    }
    server.stop();
}
