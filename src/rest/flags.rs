//! Query parameters that are on or off.

use crate::runner::Error;

/// Whether the parameter `wanted` is on. Any other parameter is an error, because it may be a misspelt `wanted`, and then doing
/// what is done without it would be wrong.
pub(super) fn is_set(query: &[(String, String)], wanted: &str) -> Result<bool, Error> {
    let mut is_set = false;
    for (name, value) in query {
        let invalid = |msg: String| Error::invalid(&["query", name], msg);
        if name != wanted {
            return Err(invalid(format!("unknown parameter; expected: {wanted}")));
        }
        is_set = match value.as_str() {
            "1" | "true" => true,
            "0" | "false" => false,
            _ => return Err(invalid("expected 1, 0, true or false".into())),
        };
    }
    Ok(is_set)
}
