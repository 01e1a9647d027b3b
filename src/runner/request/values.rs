//! Field values that JSON can spell in more than one way: byte sizes, octal modes, owners, a string or a list, a map or a list.

use crate::runner::request::lenient::Takes;
use crate::runner::request::wire::{Reader, Wire, kind_of, whole};
use schemars::JsonSchema;
use serde_json::Value;
use std::collections::BTreeMap;

/// A command line: one string to be split, or its words.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum StringOrList {
    /// To be split as a POSIX shell would.
    Line(String),
    /// Taken as it is.
    Words(Vec<String>),
}

impl Wire for StringOrList {
    const EXPECTED: &'static str = "a string or an array of strings";
    const TAKES: Takes = Takes::WordsOrText;
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        match value {
            Value::String(line) => Some(Self::Line(line)),
            Value::Array(_) => Vec::take(value, reader).map(Self::Words),
            other => mismatch::<Self>(&other, reader),
        }
    }
}

/// The value of an environment variable; `None` removes the image's. A number has the digits that it was sent with: where a
/// JSON value would not keep them, `json` has made it a string.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvValue(pub Option<String>);

impl JsonSchema for EnvValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EnvValue".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": ["string", "number", "boolean", "null"]})
    }
}

impl Wire for EnvValue {
    const EXPECTED: &'static str = "a string, a number, a boolean or null";
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        match value {
            Value::Null => Some(Self(None)),
            Value::String(text) => Some(Self(Some(text))),
            Value::Number(_) | Value::Bool(_) => Some(Self(Some(value.to_string()))),
            other => mismatch::<Self>(&other, reader),
        }
    }
}

/// A number of bytes: an integer, or a string with a unit (`b`, `k`, `m`, `g`, `t`; powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"anyOf": [
            {"type": "integer", "minimum": 0, "maximum": i64::MAX},
            {"type": "string", "pattern": "^\\s*([0-9]+\\.?[0-9]*|\\.[0-9]+)\\s*([bB]|[kmgtKMGT]([iI]?[bB])?)?\\s*$"},
        ]})
    }
}

impl ByteSize {
    /// Parses `512m`, `1.5g`, `2GiB`, `1048576`. `None`: not a number with a known unit, or above `i64::MAX`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let split = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(text.len());
        let (number, unit) = (&text[..split], text[split..].trim_start());
        let factor = match unit {
            "" | "b" => 1u64,
            "k" | "kb" | "kib" => 1 << 10,
            "m" | "mb" | "mib" => 1 << 20,
            "g" | "gb" | "gib" => 1 << 30,
            "t" | "tb" | "tib" => 1 << 40,
            _ => return None,
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole
                .checked_mul(factor)
                .filter(|bytes| *bytes <= i64::MAX as u64)
                .map(Self);
        }
        let fraction: f64 = number.parse().ok()?;
        let bytes = fraction * factor as f64;
        (bytes.is_finite() && bytes < i64::MAX as f64).then_some(Self(bytes as u64))
    }
}

impl Wire for ByteSize {
    const EXPECTED: &'static str = "a number of bytes, or a string such as \"512m\"";
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        let size = match &value {
            Value::Number(number) => whole(number),
            Value::String(text) => {
                let size = Self::parse(text);
                if size.is_none() {
                    reader.fault(format!("expected {}", Self::EXPECTED));
                }
                return size;
            }
            _ => None,
        };
        match size {
            Some(bytes) if bytes > i64::MAX as u64 => {
                reader.fault(format!("expected at most {} bytes", i64::MAX));
                None
            }
            Some(bytes) => Some(Self(bytes)),
            None => mismatch::<Self>(&value, reader),
        }
    }
}

/// A file mode, sent as an octal string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OctalMode(pub u32);

impl JsonSchema for OctalMode {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OctalMode".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^(0o)?([0-7]{1,3}|0?[01][0-7]{3})$"})
    }
}

impl Wire for OctalMode {
    const EXPECTED: &'static str = "an octal string such as \"0755\"";
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        let Value::String(text) = &value else {
            let hint = if value.is_number() {
                " (a number could be octal or decimal)"
            } else {
                ""
            };
            reader.fault(format!(
                "expected {}, got {}{hint}",
                Self::EXPECTED,
                kind_of(&value)
            ));
            return None;
        };
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let is_octal =
            (1..=5).contains(&digits.len()) && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
        match u32::from_str_radix(digits, 8) {
            Ok(mode) if is_octal && mode <= 0o1777 => Some(Self(mode)),
            Ok(mode) if is_octal && mode <= 0o7777 => {
                reader.fault("setuid and setgid bits are not allowed");
                None
            }
            _ => {
                reader.fault(format!("expected {}", Self::EXPECTED));
                None
            }
        }
    }
}

/// An owner by numbers: `uid` or `uid:gid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumericOwner {
    /// User.
    pub uid: u32,
    /// Group; 0 if only a user was given, as for the processes of a container.
    pub gid: u32,
}

impl NumericOwner {
    /// Parses `1000` or `1000:1000`. `None`: not numbers, or more than 4294967294, since the kernel takes 4294967295 for "no
    /// change".
    pub fn parse(text: &str) -> Option<Self> {
        let id = |digits: &str| {
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            let id = digits.parse().ok().filter(|id| *id < u32::MAX);
            id.filter(|_| is_number)
        };
        let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
        Some(Self {
            uid: id(uid)?,
            gid: id(gid)?,
        })
    }
}

impl std::fmt::Display for NumericOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

impl JsonSchema for NumericOwner {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NumericOwner".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"anyOf": [
            {"type": "string", "pattern": "^[0-9]{1,10}(:[0-9]{1,10})?$"},
            {"type": "integer", "minimum": 0, "maximum": u32::MAX - 1},
        ]})
    }
}

impl Wire for NumericOwner {
    const EXPECTED: &'static str =
        "an owner in numbers, such as \"1000\" or \"1000:1000\", up to 4294967294";
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        let owner = match &value {
            Value::String(text) => Self::parse(text),
            Value::Number(number) => whole(number).and_then(|uid| Self::parse(&uid.to_string())),
            other => return mismatch::<Self>(other, reader),
        };
        if owner.is_none() {
            reader.fault(format!("expected {}", Self::EXPECTED));
        }
        owner
    }
}

/// Temporary file systems: path to options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tmpfs(pub Vec<(String, String)>);

impl JsonSchema for Tmpfs {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Tmpfs".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        map_or_list_schema()
    }
}

impl Wire for Tmpfs {
    const EXPECTED: &'static str =
        "an object of path to options, or an array of \"path[:options]\"";
    const TAKES: Takes = Takes::Collection;
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        map_or_list::<Self>(value, reader, split_at_colon).map(Self)
    }
}

/// Extra `/etc/hosts` lines: host to address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtraHosts(pub Vec<(String, String)>);

impl JsonSchema for ExtraHosts {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ExtraHosts".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        map_or_list_schema()
    }
}

impl Wire for ExtraHosts {
    const EXPECTED: &'static str =
        "an object of host to address, or an array of \"host:address\" or \"host=address\"";
    const TAKES: Takes = Takes::Collection;
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        map_or_list::<Self>(value, reader, split_host).map(Self)
    }
}

fn map_or_list_schema() -> schemars::Schema {
    schemars::json_schema!({"anyOf": [
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "array", "items": {"type": "string"}},
    ]})
}

fn map_or_list<T: Wire>(
    value: Value,
    reader: &mut Reader,
    split: impl Fn(&str) -> (String, String),
) -> Option<Vec<(String, String)>> {
    match value {
        Value::Object(_) => BTreeMap::take(value, reader).map(|map| map.into_iter().collect()),
        Value::Array(_) => {
            let lines: Vec<String> = Vec::take(value, reader)?;
            Some(lines.iter().map(|line| split(line)).collect())
        }
        other => {
            mismatch::<T>(&other, reader);
            None
        }
    }
}

/// Splits `host=address` or `host:address`; no host has either sign, but addresses have colons.
fn split_host(line: &str) -> (String, String) {
    match line.split_once('=') {
        Some((host, address)) => (host.to_owned(), address.to_owned()),
        None => split_at_colon(line),
    }
}

fn split_at_colon(line: &str) -> (String, String) {
    match line.split_once(':') {
        Some((left, right)) => (left.to_owned(), right.to_owned()),
        None => (line.to_owned(), String::new()),
    }
}

fn mismatch<T: Wire>(found: &Value, reader: &mut Reader) -> Option<T> {
    reader.fault(format!("expected {}, got {}", T::EXPECTED, kind_of(found)));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_numbers() {
        let owner = |uid, gid| Some(NumericOwner { uid, gid });
        for (value, expected) in [
            (serde_json::json!("1000"), owner(1000, 0)),
            (serde_json::json!("0"), owner(0, 0)),
            (serde_json::json!("1000:50"), owner(1000, 50)),
            (serde_json::json!("4294967294"), owner(4_294_967_294, 0)),
            (serde_json::json!(1000), owner(1000, 0)),
            (serde_json::json!(1000.0), owner(1000, 0)),
            (serde_json::json!("4294967295"), None),
            (serde_json::json!(4_294_967_295_u64), None),
            (serde_json::json!("app"), None),
            (serde_json::json!("app:1"), None),
            (serde_json::json!("1:"), None),
            (serde_json::json!(":1"), None),
            (serde_json::json!("1:2:3"), None),
            (serde_json::json!("+1"), None),
            (serde_json::json!("-1"), None),
            (serde_json::json!(-1), None),
            (serde_json::json!(1.5), None),
            (serde_json::json!(""), None),
            (serde_json::json!(["1"]), None),
        ] {
            let mut reader = Reader::new("body");
            let taken = NumericOwner::take(value.clone(), &mut reader);
            assert_eq!(taken, expected, "{value}");
            assert_eq!(reader.is_clean(), expected.is_some(), "{value}");
        }
    }

    #[test]
    fn byte_sizes_parse_as_in_the_docker_cli() {
        for (text, bytes) in [
            ("512m", Some(512 << 20)),
            ("1.5g", Some(3 << 29)),
            ("2GiB", Some(2 << 30)),
            ("10 kb", Some(10 << 10)),
            ("7", Some(7)),
            ("m", None),
            ("", None),
            ("-1", None),
            ("1x", None),
            ("99999999999t", None),
        ] {
            assert_eq!(ByteSize::parse(text).map(|s| s.0), bytes, "{text}");
        }
    }
}
