//! Reads a JSON body, strictly: a JSON media type, exactly one value, and no member twice.

use crate::http::{Reply, Request};
use crate::problem::Problem;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::fmt;

/// Reads the request's body as JSON. Errors: the reply to give, with status 400, 408, 413, 415 or 429.
pub(super) fn json(request: &mut Request) -> Result<Value, Box<Reply>> {
    let refused = |problem: &Problem| Box::new(Reply::problem(problem));
    require_json(request).map_err(|problem| refused(&problem))?;
    let body = request
        .read_body()
        .map_err(|error| Box::new(Reply::from(error)))?;
    parse(&body).map_err(|error| {
        let detail = format!("the body is not JSON: {error}");
        refused(&Problem::new(400, "bad_json", detail))
    })
}

/// Refuses other media types. A web page of another origin can send a form or plain text without a preflight, but no JSON.
fn require_json(request: &Request) -> Result<(), Box<Problem>> {
    let Some(media_type) = request.media_type() else {
        return Ok(());
    };
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
    let left = Cell::new(MAX_VALUES);
    let value = Strict(&left).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Most values in one body. A value of two bytes uses at least 32 bytes of memory, so that without this limit a body could
/// use twenty times its own size.
const MAX_VALUES: usize = 1_000_000;

/// Deserializes a [`Value`]. Refuses an object with a member twice, of which `serde_json` would silently drop one, and more
/// values than the cell says are left.
#[derive(Clone, Copy)]
struct Strict<'a>(&'a Cell<usize>);

impl Strict<'_> {
    fn count_one<E: Error>(self) -> Result<(), E> {
        let left = self.0.get().checked_sub(1);
        self.0
            .set(left.ok_or_else(|| E::custom(format_args!("more than {MAX_VALUES} values")))?);
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
    fn valid_json_is_read_as_serde_json_reads_it() {
        let text = r#"{"a":[1,-2,3.5,null,true,"x\né"],"b":{"c":{}}}"#;
        assert_eq!(
            parse(text.as_bytes()).unwrap(),
            serde_json::from_str::<Value>(text).unwrap()
        );
    }

    #[test]
    fn invalid_and_hostile_json_is_refused() {
        let deep = "[".repeat(100_000);
        let many = format!("[{}0]", "0,".repeat(MAX_VALUES));
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
