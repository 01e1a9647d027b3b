//! The vocabulary in which operations are described, and where the schemas of their types come from.

use super::problems;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Collects the schemas of all types that are named.
pub(super) struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = SchemaSettings::draft2020_12()
            .with(|s| s.definitions_path = "/components/schemas".into());
        Self {
            requests: settings.clone().into_generator(),
            // What is always written is required, even where it may be null.
            answers: settings.for_serialize().into_generator(),
        }
    }
}

impl Schemas {
    /// A reference to the schema of something that callers send.
    pub(super) fn request<T: JsonSchema>(&mut self) -> Value {
        self.requests.subschema_for::<T>().to_value()
    }

    /// A reference to the schema of something that is answered.
    pub(super) fn answer<T: JsonSchema>(&mut self) -> Value {
        self.answers.subschema_for::<T>().to_value()
    }

    pub(super) fn into_definitions(mut self) -> Value {
        let mut definitions = self.requests.take_definitions(true);
        definitions.extend(self.answers.take_definitions(true));
        Value::Object(definitions)
    }
}

/// One method of one path.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    members: Map<String, Value>,
    responses: Map<String, Value>,
}

impl Operation {
    /// An operation that needs a token; its path parameters are plain strings.
    pub(super) fn new(method: &'static str, path: &'static str, id: &str, summary: &str) -> Self {
        let mut members = Map::new();
        members.insert("operationId".into(), id.into());
        members.insert("summary".into(), summary.into());
        let operation = Self {
            method,
            path,
            members,
            responses: Map::new(),
        };
        operation.problems(&[400, 401, 403, 503])
    }

    pub(super) fn tag(self, tag: &str) -> Self {
        self.with("tags", json!([tag]))
    }

    pub(super) fn details(self, text: &str) -> Self {
        self.with("description", text.into())
    }

    /// No token is asked for.
    pub(super) fn open(mut self) -> Self {
        self.responses.remove("401");
        self.with("security", json!([]))
    }

    /// A parameter, as an OpenAPI Parameter Object.
    pub(super) fn parameter(mut self, parameter: Value) -> Self {
        let list = self
            .members
            .entry("parameters")
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(parameter);
        }
        self
    }

    /// A JSON body and what can be wrong with it; `examples` are OpenAPI Example Objects by name.
    pub(super) fn takes(self, schema: Value, examples: Value) -> Self {
        let content = json!({"application/json": {"schema": schema, "examples": examples}});
        self.with("requestBody", json!({"required": true, "content": content}))
            .problems(&[408, 413, 415, 422])
    }

    /// An answer with a body; `examples` are OpenAPI Example Objects by name.
    pub(super) fn answers(self, status: u16, description: &str, body: Content) -> Self {
        let Content {
            media_type,
            schema,
            examples,
        } = body;
        let media = json!({"schema": schema, "examples": examples});
        self.response(
            status,
            json!({"description": description, "content": {media_type: media}}),
        )
    }

    /// An answer as an OpenAPI Response Object.
    pub(super) fn response(mut self, status: u16, response: Value) -> Self {
        self.responses.insert(status.to_string(), response);
        self
    }

    /// The answer of this status may also come as a stream of events, where `Accept` asks for one.
    pub(super) fn or_streamed(mut self, status: u16) -> Self {
        if let Some(response) = self.responses.get_mut(&status.to_string()) {
            // Of each event, or line: OpenAPI 3.1 has no word for a stream's items.
            let event = json!({"type": "string"});
            let fields = json!({"event": event, "data": {}, "id": event});
            for (media_type, example) in super::examples::STREAMS {
                let schema = json!({"type": "object", "required": ["event"], "properties": fields});
                let examples = json!({"stream": {"value": example}});
                response["content"][media_type] = json!({"schema": schema, "examples": examples});
            }
        }
        self
    }

    /// Header fields of the answer of this status.
    pub(super) fn headers(mut self, status: u16, headers: Value) -> Self {
        if let Some(response) = self.responses.get_mut(&status.to_string()) {
            response["headers"] = headers;
        }
        self
    }

    /// Links from the answer of this status to other operations.
    pub(super) fn links(mut self, status: u16, links: Value) -> Self {
        if let Some(response) = self.responses.get_mut(&status.to_string()) {
            response["links"] = links;
        }
        self
    }

    /// Problems that it may answer with, beyond those that any operation may.
    pub(super) fn problems(mut self, statuses: &[u16]) -> Self {
        for status in statuses {
            self.responses
                .insert(status.to_string(), problems::reference(*status));
        }
        self
    }

    pub(super) fn into_value(mut self) -> Value {
        self.members
            .insert("responses".into(), Value::Object(self.responses));
        Value::Object(self.members)
    }

    fn with(mut self, member: &str, value: Value) -> Self {
        self.members.insert(member.into(), value);
        self
    }
}

/// The body of an answer.
pub(super) struct Content {
    pub(super) media_type: &'static str,
    pub(super) schema: Value,
    pub(super) examples: Value,
}

impl Content {
    pub(super) fn json(schema: Value, examples: Value) -> Self {
        Self {
            media_type: "application/json",
            schema,
            examples,
        }
    }

    pub(super) fn text(media_type: &'static str, example: &str) -> Self {
        Self {
            media_type,
            schema: json!({"type": "string"}),
            examples: json!({"example": {"value": example}}),
        }
    }
}

/// A path parameter that is a non-empty text.
pub(super) fn in_path(name: &str, description: &str, schema: Value, example: &str) -> Value {
    json!({
        "name": name, "in": "path", "required": true, "description": description, "schema": schema, "example": example,
    })
}

/// An optional query parameter.
pub(super) fn in_query(name: &str, description: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "required": false, "description": description, "schema": schema})
}

/// An optional request header field.
pub(super) fn in_header(name: &str, description: &str, schema: Value) -> Value {
    json!({"name": name, "in": "header", "required": false, "description": description, "schema": schema})
}
