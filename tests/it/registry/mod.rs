//! Pulls from a real registry that wants a password.

mod credentials;
mod references;
mod shared_pulls;
mod slow_pulls;

use crate::support::registry::Registry;
use serde_json::{Value, json};

/// A run of `cat /version` in an image of the registry, with further fields.
fn version_of(registry: &Registry, name: &str, more: Value) -> Value {
    let mut request = json!({
        "image": format!("{}/{name}", registry.address()), "command": ["cat", "/version"], "network": "none",
    });
    let Value::Object(more) = more else {
        panic!("an object")
    };
    request.as_object_mut().unwrap().extend(more);
    request
}
