//! JSON schemas of the Rust types that requests are read into and answers are written from.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

/// Generates schemas and collects their definitions.
pub(super) struct Schemas {
    requests: SchemaGenerator,
    responses: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = SchemaSettings::draft2020_12()
            .with(|s| s.definitions_path = "/components/schemas".into());
        Self {
            requests: settings.clone().into_generator(),
            // For a response, a field that is always written is required, even if it may be null.
            responses: settings.for_serialize().into_generator(),
        }
    }
}

impl Schemas {
    /// A reference to the schema of a request body.
    pub(super) fn request<T: JsonSchema>(&mut self) -> Value {
        self.requests.subschema_for::<T>().to_value()
    }

    /// A reference to the schema of a response body.
    pub(super) fn response<T: JsonSchema>(&mut self) -> Value {
        self.responses.subschema_for::<T>().to_value()
    }

    /// All definitions so far, as `components/schemas`.
    pub(super) fn into_definitions(mut self) -> Value {
        let mut definitions = self.requests.take_definitions(true);
        definitions.extend(self.responses.take_definitions(true));
        Value::Object(definitions)
    }
}
