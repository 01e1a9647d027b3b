//! Builder of an OpenAPI Operation Object (OpenAPI 3.1 §4.8.10), and of its parameters and responses.

use super::{examples, problems};
use serde_json::{Map, Value, json};

/// One method of one path, with its Operation Object.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    members: Map<String, Value>,
    responses: Map<String, Value>,
}

impl Operation {
    /// An operation that requires a bearer token and may respond with 400, 401, 403 and 503.
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

    pub(super) fn description(self, text: &str) -> Self {
        self.with("description", text.into())
    }

    /// Removes the requirement of a bearer token.
    pub(super) fn without_authentication(mut self) -> Self {
        self.responses.remove("401");
        self.with("security", json!([]))
    }

    /// Adds a Parameter Object.
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

    /// Sets a JSON request body, and adds the problems that a body may cause. `examples` maps names to Example Objects.
    pub(super) fn request_body(self, schema: Value, examples: Value) -> Self {
        let content = json!({"application/json": {"schema": schema, "examples": examples}});
        self.with("requestBody", json!({"required": true, "content": content}))
            .problems(&[408, 413, 415, 422])
    }

    /// Adds a response with a body.
    pub(super) fn response(self, status: u16, description: &str, body: Content) -> Self {
        let Content {
            media_type,
            schema,
            examples,
        } = body;
        let media = json!({"schema": schema, "examples": examples});
        self.response_object(
            status,
            json!({"description": description, "content": {media_type: media}}),
        )
    }

    /// Adds a Response Object.
    pub(super) fn response_object(mut self, status: u16, response: Value) -> Self {
        self.responses.insert(status.to_string(), response);
        self
    }

    /// Adds the media types of event streams to the response of this status, which `Accept` selects.
    pub(super) fn or_event_stream(mut self, status: u16) -> Self {
        if let Some(response) = self.responses.get_mut(&status.to_string()) {
            // The schema of one event or line: OpenAPI 3.1 cannot describe the items of a stream.
            let event = json!({"type": "string"});
            let fields = json!({"event": event, "data": {}, "id": event});
            for (media_type, example) in examples::STREAMS {
                let schema = json!({"type": "object", "required": ["event"], "properties": fields});
                let examples = json!({"stream": {"value": example}});
                response["content"][media_type] = json!({"schema": schema, "examples": examples});
            }
        }
        self
    }

    /// Sets the header fields of the response of this status.
    pub(super) fn headers(mut self, status: u16, headers: Value) -> Self {
        if let Some(response) = self.responses.get_mut(&status.to_string()) {
            response["headers"] = headers;
        }
        self
    }

    /// Sets the links from the response of this status to other operations.
    pub(super) fn links(mut self, status: u16, links: Value) -> Self {
        if let Some(response) = self.responses.get_mut(&status.to_string()) {
            response["links"] = links;
        }
        self
    }

    /// Adds the shared problem responses of these statuses.
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

/// The body of a response. `examples` maps names to Example Objects.
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

/// A required path parameter.
pub(super) fn path_parameter(name: &str, description: &str, schema: Value, example: &str) -> Value {
    json!({
        "name": name, "in": "path", "required": true, "description": description, "schema": schema, "example": example,
    })
}

/// An optional query parameter.
pub(super) fn query_parameter(name: &str, description: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "required": false, "description": description, "schema": schema})
}

/// An optional header field of the request.
pub(super) fn header_parameter(name: &str, description: &str, schema: Value) -> Value {
    json!({"name": name, "in": "header", "required": false, "description": description, "schema": schema})
}
