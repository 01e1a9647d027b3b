//! Reads JSON into typed requests and finds every fault in one pass. A fault names the location and what was expected,
//! never the value, which may be a secret.

use crate::problem::Fault;
use crate::runner::request::lenient::{self, MOST_EMBEDDED_BYTES, Spelling, Takes};
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;

/// The state of reading one request: the current location and the faults found so far.
#[derive(Debug, Default)]
pub struct Reader {
    loc: Vec<String>,
    faults: Vec<Fault>,
    spelling: Spelling,
    /// Bytes of strings that were parsed as JSON.
    embedded_bytes: usize,
}

impl Reader {
    /// A reader whose locations all start with `root`, such as `body`.
    pub fn new(root: &str) -> Self {
        Self {
            loc: vec![root.into()],
            ..Self::default()
        }
    }

    /// The same reader for values in this spelling.
    #[must_use]
    pub fn with_spelling(mut self, spelling: Spelling) -> Self {
        self.spelling = spelling;
        self
    }

    /// Reads a value of a type. `None`: it is wrong, and the faults are recorded.
    pub fn read<T: Wire>(&mut self, value: Value) -> Option<T> {
        if self.spelling == Spelling::Exact {
            return T::take(value, self);
        }
        let written = match &value {
            Value::String(text) => self.meant_by(text, T::TAKES),
            _ => None,
        };
        let meant = written.unwrap_or_else(|| lenient::near(value, T::TAKES));
        T::take(meant, self)
    }

    /// Reads the value of a member whose name the caller chose.
    fn read_member<T: Wire>(&mut self, value: Value) -> Option<T> {
        self.read(match self.spelling {
            Spelling::Exact => value,
            Spelling::Lenient => lenient::near_member(value, T::TAKES),
        })
    }

    fn meant_by(&mut self, text: &str, takes: Takes) -> Option<Value> {
        if lenient::may_be_embedded(text) {
            self.embedded_bytes = self.embedded_bytes.saturating_add(text.len());
            if self.embedded_bytes > MOST_EMBEDDED_BYTES {
                return None;
            }
        }
        let name = self.loc.last().map_or("", String::as_str);
        lenient::meant_by(text, takes, name)
    }

    /// Removes the members of an object that count as absent.
    pub(crate) fn drop_absent(&self, object: &mut Map<String, Value>, known: &[&str]) {
        if self.spelling == Spelling::Lenient {
            lenient::drop_empty(object, known);
        }
    }

    /// Records a fault at the current location. Keeps at most 1,000 faults, so that a body of a million unknown fields does
    /// not cause an answer many times its size.
    pub fn fault(&mut self, msg: impl Into<String>) {
        const MAX_FAULTS: usize = 1000;
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault {
                loc: self.loc.clone(),
                msg: msg.into(),
            });
        }
    }

    /// Records a fault at `key` below the current location.
    pub fn fault_at(&mut self, key: &str, msg: impl Into<String>) {
        self.within(key, |reader| reader.fault(msg));
    }

    /// Calls `read` with `key` appended to the location, and restores the location.
    pub fn within<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.loc.push(shorten(key));
        let result = read(self);
        self.loc.pop();
        result
    }

    /// Whether there is no fault at exactly `key` below the current location.
    pub fn is_clean_at(&self, key: &str) -> bool {
        let is_at_key = |fault: &Fault| {
            fault.loc.len() == self.loc.len() + 1
                && fault.loc.starts_with(&self.loc)
                && fault.loc.ends_with(&[key.to_owned()])
        };
        !self.faults.iter().any(is_at_key)
    }

    /// Whether there is no fault at all.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// The faults, in the order in which they were found.
    pub fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    fn mismatch<T: Wire>(&mut self, found: &Value) -> Option<T> {
        self.fault(format!("expected {}, got {}", T::EXPECTED, kind_of(found)));
        None
    }
}

/// A type that can be read from JSON.
pub trait Wire: Sized {
    /// The expected value, in the words of a fault: "expected …".
    const EXPECTED: &'static str;
    /// The kinds of values that it takes.
    const TAKES: Takes = Takes::Text;

    /// Reads the value. `None`: it is wrong, and the faults are recorded in `reader`.
    fn take(value: Value, reader: &mut Reader) -> Option<Self>;
}

/// Removes and reads a member of an object. `None`: absent, `null`, or wrong, with the fault recorded.
pub fn member<T: Wire>(
    object: &mut Map<String, Value>,
    name: &str,
    reader: &mut Reader,
) -> Option<T> {
    match object.remove(name) {
        None | Some(Value::Null) => None,
        Some(value) => reader.within(name, |reader| reader.read(value)),
    }
}

/// Records a fault for every member that is still in the object, which [`member`] did not remove.
pub fn refuse_unknown(object: &Map<String, Value>, known: &[&str], reader: &mut Reader) {
    for name in object.keys() {
        reader.fault_at(
            name,
            format!("unknown field; expected one of: {}", known.join(", ")),
        );
    }
}

/// The JSON type of a value, in the words of a fault: "got …".
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) => kind_of_number(number),
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn kind_of_number(number: &Number) -> &'static str {
    match number.as_f64() {
        Some(value) if value.fract() != 0.0 => "a fractional number",
        Some(value) if value < 0.0 => "a negative integer",
        _ if number.is_f64() && whole(number).is_none() => "an integer of more than 64 bits",
        _ => "an integer",
    }
}

/// The number as an integer, also where it is written as one with a fraction of zero (`10.0`). `None`: it is negative, has a
/// fraction, or more than 64 bits.
pub(crate) fn whole(number: &Number) -> Option<u64> {
    const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;
    let of_float = |value: f64| {
        let is_whole = value.fract() == 0.0 && (0.0..TWO_TO_64).contains(&value);
        is_whole.then_some(value as u64)
    };
    number.as_u64().or_else(|| of_float(number.as_f64()?))
}

/// A key for a location, cut to 128 characters.
fn shorten(key: &str) -> String {
    const MAX_CHARS: usize = 128;
    match key.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &key[..end]),
        None => key.to_owned(),
    }
}

impl Wire for String {
    const EXPECTED: &'static str = "a string";
    const TAKES: Takes = Takes::String;
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        match value {
            Value::String(text) => Some(text),
            other => reader.mismatch::<Self>(&other),
        }
    }
}

impl Wire for bool {
    const EXPECTED: &'static str = "true or false";
    const TAKES: Takes = Takes::Boolean;
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        value.as_bool().or_else(|| reader.mismatch::<Self>(&value))
    }
}

impl Wire for u64 {
    const EXPECTED: &'static str = "a non-negative integer";
    const TAKES: Takes = Takes::Number;
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        let taken = match &value {
            Value::Number(number) => whole(number),
            _ => None,
        };
        taken.or_else(|| reader.mismatch::<Self>(&value))
    }
}

impl Wire for f64 {
    const EXPECTED: &'static str = "a number";
    const TAKES: Takes = Takes::Number;
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        value.as_f64().or_else(|| reader.mismatch::<Self>(&value))
    }
}

// A wrong item of an array or object is left out, and reading continues, so that all its faults are found.

impl<T: Wire> Wire for Vec<T> {
    const EXPECTED: &'static str = "an array";
    const TAKES: Takes = Takes::Array;
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        let Value::Array(items) = value else {
            return reader.mismatch::<Self>(&value);
        };
        let mut taken = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            taken.extend(reader.within(&index.to_string(), |reader| reader.read(item)));
        }
        Some(taken)
    }
}

impl<T: Wire> Wire for BTreeMap<String, T> {
    const EXPECTED: &'static str = "an object";
    const TAKES: Takes = Takes::Object;
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        let Value::Object(members) = value else {
            return reader.mismatch::<Self>(&value);
        };
        let mut taken = BTreeMap::new();
        for (key, item) in members {
            if let Some(item) = reader.within(&key, |reader| reader.read_member(item)) {
                taken.insert(key, item);
            }
        }
        Some(taken)
    }
}

/// Removes `null` from the schema of every required property. schemars allows it, because each field is an `Option`.
pub(crate) fn refuse_null(schema: &mut schemars::Schema) {
    let required = schema.get("required").and_then(Value::as_array).cloned();
    for name in required.iter().flatten().filter_map(Value::as_str) {
        let property = schema
            .get_mut("properties")
            .and_then(|all| all.get_mut(name));
        let Some(Value::Object(property)) = property else {
            continue;
        };
        if let Some(Value::Array(kinds)) = property.get_mut("type") {
            kinds.retain(|kind| kind != "null");
            if let [only] = &kinds[..] {
                property["type"] = only.clone();
            }
        }
        if let Some(Value::Array(choices)) = property.remove("anyOf") {
            let is_null = |choice: &Value| choice["type"] == "null";
            for choice in choices.into_iter().filter(|choice| !is_null(choice)) {
                // Keeps the property's own description, which says more than its type's.
                for (key, value) in choice.as_object().cloned().unwrap_or_default() {
                    property.entry(key).or_insert(value);
                }
            }
        }
    }
}

/// Declares a request type once and derives the struct, its JSON schema and its [`Wire`] implementation. Every field is an
/// `Option`; required fields are checked later (`spec`) and listed in the schema by
/// `#[schemars(extend("required" = […]))]`. `field: Type = "name"` gives a field another name in JSON.
macro_rules! wire_struct {
    ($(#[$attr:meta])* $vis:vis struct $name:ident {
        $($(#[$fattr:meta])* $field:ident: $type:ty $(= $wire:literal)?,)*
    }) => {
        #[derive(Default, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        $(#[$attr])*
        #[schemars(transform = $crate::runner::request::wire::refuse_null)]
        $vis struct $name {
            $($(#[$fattr])* $(#[schemars(rename = $wire)])? pub $field: Option<$type>,)*
        }

        impl $name {
            /// The names of all fields in JSON.
            $vis const FIELDS: &'static [&'static str] = &[$($crate::runner::request::wire::wire_name!($field $(= $wire)?)),*];
        }

        impl $crate::runner::request::wire::Wire for $name {
            const EXPECTED: &'static str = "an object";
            const TAKES: $crate::runner::request::lenient::Takes = $crate::runner::request::lenient::Takes::Object;
            fn take(value: serde_json::Value, reader: &mut $crate::runner::request::wire::Reader) -> Option<Self> {
                let serde_json::Value::Object(mut object) = value else {
                    let found = $crate::runner::request::wire::kind_of(&value);
                    reader.fault(format!("expected an object, got {found}"));
                    return None;
                };
                reader.drop_absent(&mut object, Self::FIELDS);
                let taken = Self {
                    $($field: $crate::runner::request::wire::member(
                        &mut object, $crate::runner::request::wire::wire_name!($field $(= $wire)?), reader),)*
                };
                $crate::runner::request::wire::refuse_unknown(&object, Self::FIELDS, reader);
                Some(taken)
            }
        }
    };
}

/// The name of a field in JSON.
macro_rules! wire_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident = $wire:literal) => {
        $wire
    };
}

/// Declares an enum whose variants are words in JSON.
macro_rules! wire_enum {
    ($(#[$attr:meta])* $vis:vis enum $name:ident { $($(#[$vattr:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$attr])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
        $vis enum $name { $($(#[$vattr])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// The word in JSON.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The variant with this word.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }

        impl $crate::runner::request::wire::Wire for $name {
            const EXPECTED: &'static str = concat!("one of:" $(, " ", $word)*);
            fn take(value: serde_json::Value, reader: &mut $crate::runner::request::wire::Reader) -> Option<Self> {
                match value.as_str() {
                    Some(word) => {
                        let known = Self::from_word(word);
                        if known.is_none() {
                            reader.fault(concat!("expected one of:" $(, " ", $word)*));
                        }
                        known
                    }
                    None => {
                        let found = $crate::runner::request::wire::kind_of(&value);
                        reader.fault(format!("expected {}, got {found}", Self::EXPECTED));
                        None
                    }
                }
            }
        }
    };
}

pub(crate) use {wire_enum, wire_name, wire_struct};

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fault_never_says_that_what_was_expected_is_what_came() {
        let fault = |value: Value| {
            let mut reader = Reader::new("body");
            let taken = u64::take(value, &mut reader);
            assert_eq!(taken.is_none(), !reader.is_clean());
            reader.into_faults().pop().map(|fault| fault.msg)
        };
        for (value, got) in [
            (json!(-1), "a negative integer"),
            (json!(-1.0), "a negative integer"),
            (json!(1.5), "a fractional number"),
            (json!(1e30), "an integer of more than 64 bits"),
            (json!("1"), "a string"),
        ] {
            let expected = format!("expected a non-negative integer, got {got}");
            assert_eq!(fault(value), Some(expected));
        }
        for value in [json!(0), json!(10.0), json!(1e3), json!(u64::MAX)] {
            assert_eq!(fault(value), None);
        }
    }
}
