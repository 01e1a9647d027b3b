//! Reads a JSON body, strictly: the right media type, one value, no member twice.

use crate::http::{Reply, Request};
use crate::problem::Problem;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::fmt;

/// The request's body as JSON. Errors: 400, 408, 413, 415 or 429, as the answer.
pub(super) fn json(request: &mut Request) -> Result<Value, Box<Reply>> {
    let refused = |problem: &Problem| Box::new(Reply::problem(problem));
    require_json(request).map_err(|problem| refused(&problem))?;
    let body = request
        .read_body()
        .map_err(|error| Box::new(error.to_reply()))?;
    parse(&body).map_err(|error| {
        let detail = format!("the body is not JSON: {error}");
        refused(&Problem::new(400, "bad_json", detail))
    })
}

/// A form or plain text is what a foreign web page can send without asking; JSON is not.
fn require_json(request: &Request) -> Result<(), Box<Problem>> {
    let Some(content_type) = request.header("content-type") else {
        return Ok(());
    };
    let media_type = content_type.split(';').next().unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    let suffixed = media_type.starts_with("application/") && media_type.ends_with("+json");
    if media_type == "application/json" || suffixed {
        return Ok(());
    }
    let detail =
        "expected Content-Type: application/json (curl: -H 'Content-Type: application/json')";
    let problem = Problem::new(415, "unsupported_media_type", detail);
    Err(Box::new(problem))
}

fn parse(body: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let left = Cell::new(MOST_VALUES);
    let value = Strict(&left).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Most values in one body. One of two bytes takes 32 and more in memory: without this, a body within its limit could
/// take twenty times that.
const MOST_VALUES: usize = 1_000_000;

/// Builds a [`Value`] and refuses an object with a member twice, of which `serde_json` would silently drop one, and
/// more values than it is told are left.
#[derive(Clone, Copy)]
struct Strict<'a>(&'a Cell<usize>);

impl Strict<'_> {
    fn count_one<E: Error>(self) -> Result<(), E> {
        let left = self.0.get().checked_sub(1);
        self.0
            .set(left.ok_or_else(|| E::custom(format_args!("more than {MOST_VALUES} values")))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            self.count_one()?;
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = members.next_value_seed(self)?;
            self.count_one()?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("an object has the same member twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_serde_json_reads_is_read_the_same() {
        let text = r#"{"a":[1,-2,3.5,null,true,"x\né"],"b":{"c":{}}}"#;
        assert_eq!(
            parse(text.as_bytes()).unwrap(),
            serde_json::from_str::<Value>(text).unwrap()
        );
    }

    #[test]
    fn hostile_json_is_an_error_and_not_a_crash() {
        let deep = "[".repeat(100_000);
        let many = format!("[{}0]", "0,".repeat(MOST_VALUES));
        let cases: [&[u8]; 9] = [
            many.as_bytes(),
            b"",
            b"{\"a\":1,\"a\":2}",
            b"{} {}",
            deep.as_bytes(),
            b"\"\\ud800\"",
            b"1e999",
            b"{\"a\":\"\xff\"}",
            b"nul",
        ];
        for text in cases {
            assert!(parse(text).is_err(), "{:?}", &text[..text.len().min(20)]);
        }
    }
}
