//! The digest by which the request of an idempotency key is recognised. Two spellings of one request have the same digest.

use serde::Serialize;
use serde_json::{Number, Value};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

/// The member whose values are the caller's own: the form of a number and a null in it mean something.
const VERBATIM: &str = "env_vars";

/// A digest that differs between requests. It is not cryptographic. Copies nothing of the request.
pub(crate) fn digest(request: &Value) -> u128 {
    let mut halves = Halves([0_u8, 1].map(|seed| {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        hasher
    }));
    // Writing to hashers does not fail.
    let _ = serde_json::to_writer(&mut halves, &Normalised::request(request));
    let [high, low] = halves.0.map(|mut hasher| {
        // As a string ends.
        hasher.write_u8(0xff);
        u128::from(hasher.finish())
    });
    high << 64 | low
}

/// Two hashers of the same bytes, which were begun differently.
struct Halves([DefaultHasher; 2]);

impl io::Write for Halves {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for hasher in &mut self.0 {
            hasher.write(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A part of a request without what makes no difference: a field that is null is absent, and `10.0` is `10`.
#[derive(Serialize)]
#[serde(untagged)]
enum Normalised<'a> {
    Object(BTreeMap<&'a str, Self>),
    Number(Number),
    Verbatim(&'a Value),
}

impl<'a> Normalised<'a> {
    fn request(request: &'a Value) -> Self {
        Self::fields(request, |name, value| match value {
            verbatim if name == VERBATIM => Self::Verbatim(verbatim),
            Value::Object(volumes) if name == "volumes" => {
                let volume = |(path, volume): (&'a String, &'a Value)| {
                    (
                        path.as_str(),
                        Self::fields(volume, |_, value| Self::scalar(value)),
                    )
                };
                Self::Object(volumes.iter().map(volume).collect())
            }
            other => Self::scalar(other),
        })
    }

    /// An object without its null members; anything else as it is.
    fn fields(value: &'a Value, field: impl Fn(&'a str, &'a Value) -> Self) -> Self {
        let Value::Object(members) = value else {
            return Self::Verbatim(value);
        };
        let present = members.iter().filter(|(_, value)| !value.is_null());
        let fields = present.map(|(name, value)| (name.as_str(), field(name, value)));
        Self::Object(fields.collect())
    }

    fn scalar(value: &'a Value) -> Self {
        match value {
            Value::Number(number) => Self::Number(shortest(number)),
            other => Self::Verbatim(other),
        }
    }
}

/// The number as an integer if it is one.
fn shortest(number: &Number) -> Number {
    // Up to here every integer has a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(value) if number.is_f64() && value.fract() == 0.0 && value.abs() <= EXACT => {
            Number::from(value as i64)
        }
        _ => number.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::digest;
    use serde_json::{Value, json};

    fn with(member: &str, value: Value) -> u128 {
        let mut request = json!({"image": "x", "command": ["a"],
            "volumes": {"/v": {"type": "file", "text": "t"}}, "env_vars": {"A": 1}});
        request[member] = value;
        digest(&request)
    }

    /// Digests are stored, so that a new version must find the same.
    #[test]
    fn the_digest_of_a_plain_request_is_that_of_its_text() {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let request = json!({"image": "x", "command": ["a", 1.5], "cpus": 0.5, "timeout_secs": 10});
        let half = |seed: u8| {
            let mut hasher = DefaultHasher::new();
            (seed, request.to_string()).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        assert_eq!(digest(&request), half(0) << 64 | half(1));
    }

    #[test]
    fn two_spellings_of_one_request_are_the_same_and_two_requests_are_not() {
        let volume = |more: Value| {
            let mut volume = json!({"type": "file", "text": "t"});
            volume["mode"] = more;
            with("volumes", json!({"/v": volume}))
        };
        let plain = with("image", json!("x"));
        for (same, other) in [
            (
                with("timeout_secs", json!(10)),
                with("timeout_secs", json!(10.0)),
            ),
            (
                with("timeout_secs", json!(10)),
                with("timeout_secs", json!(1e1)),
            ),
            (plain, with("hostname", Value::Null)),
            (plain, volume(Value::Null)),
        ] {
            assert_eq!(same, other);
        }
        for different in [
            with("image", json!("y")),
            with("timeout_secs", json!(10)),
            with("env_vars", json!({"A": 1.0})),
            with("env_vars", json!({"A": null})),
            with("env_vars", json!({})),
            with("volumes", json!({"/v": null})),
            volume(json!("0755")),
        ] {
            assert_ne!(plain, different);
        }
        assert_ne!(
            with("timeout_secs", json!(10)),
            with("timeout_secs", json!(10.5))
        );
    }
}
