//! Reads JSON into typed requests, finding every fault in one pass. Faults name the place and what was expected,
//! never the value, which may be a secret.

use crate::problem::Fault;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Where in a request a value stands, and what was found wrong so far.
#[derive(Debug, Default)]
pub struct Reader {
    loc: Vec<String>,
    faults: Vec<Fault>,
}

impl Reader {
    /// A reader whose locations start with `root`, such as `body`.
    pub fn new(root: &str) -> Self {
        Self {
            loc: vec![root.into()],
            faults: Vec::new(),
        }
    }

    /// Records a fault at the current place. Beyond a thousand they are not kept: a body of a million unknown fields
    /// must not become an answer many times its size.
    pub fn fault(&mut self, msg: impl Into<String>) {
        const MOST_FAULTS: usize = 1000;
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault {
                loc: self.loc.clone(),
                msg: msg.into(),
            });
        }
    }

    /// Records a fault at `key` below the current place.
    pub fn fault_at(&mut self, key: &str, msg: impl Into<String>) {
        self.within(key, |reader| reader.fault(msg));
    }

    /// Runs `read` one step further in.
    pub fn within<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.loc.push(shorten(key));
        let result = read(self);
        self.loc.pop();
        result
    }

    /// Whether nothing was found wrong at `key` below the current place.
    pub fn is_clean_at(&self, key: &str) -> bool {
        let here = |fault: &Fault| {
            fault.loc.len() == self.loc.len() + 1
                && fault.loc.starts_with(&self.loc)
                && fault.loc.ends_with(&[key.to_owned()])
        };
        !self.faults.iter().any(here)
    }

    /// Whether nothing was found wrong.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// Everything found wrong.
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
    /// What a caller should send, for fault messages.
    const EXPECTED: &'static str;

    /// Takes the value, or records faults and gives `None`.
    fn take(value: Value, reader: &mut Reader) -> Option<Self>;
}

/// Takes an optional member out of an object; `null` counts as absent.
pub fn member<T: Wire>(
    object: &mut Map<String, Value>,
    name: &str,
    reader: &mut Reader,
) -> Option<T> {
    match object.remove(name) {
        None | Some(Value::Null) => None,
        Some(value) => reader.within(name, |reader| T::take(value, reader)),
    }
}

/// Records a fault for every member that nobody took.
pub fn refuse_unknown(object: &Map<String, Value>, known: &[&str], reader: &mut Reader) {
    for name in object.keys() {
        reader.fault_at(
            name,
            format!("unknown field; expected one of: {}", known.join(", ")),
        );
    }
}

/// The JSON type of a value, in words.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(n) if n.is_f64() => "a fractional number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn shorten(key: &str) -> String {
    const LONGEST: usize = 128;
    match key.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &key[..end]),
        None => key.to_owned(),
    }
}

impl Wire for String {
    const EXPECTED: &'static str = "a string";
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        match value {
            Value::String(text) => Some(text),
            other => reader.mismatch::<Self>(&other),
        }
    }
}

impl Wire for bool {
    const EXPECTED: &'static str = "true or false";
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        value.as_bool().or_else(|| reader.mismatch::<Self>(&value))
    }
}

impl Wire for u64 {
    const EXPECTED: &'static str = "a non-negative integer";
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        value.as_u64().or_else(|| reader.mismatch::<Self>(&value))
    }
}

impl Wire for f64 {
    const EXPECTED: &'static str = "a number";
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        value.as_f64().or_else(|| reader.mismatch::<Self>(&value))
    }
}

// In arrays and objects, what is wrong is recorded and left out; the rest goes on, so that its own faults are found too.

impl<T: Wire> Wire for Vec<T> {
    const EXPECTED: &'static str = "an array";
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        let Value::Array(items) = value else {
            return reader.mismatch::<Self>(&value);
        };
        let mut taken = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            taken.extend(reader.within(&index.to_string(), |reader| T::take(item, reader)));
        }
        Some(taken)
    }
}

impl<T: Wire> Wire for BTreeMap<String, T> {
    const EXPECTED: &'static str = "an object";
    fn take(value: Value, reader: &mut Reader) -> Option<Self> {
        let Value::Object(members) = value else {
            return reader.mismatch::<Self>(&value);
        };
        let mut taken = BTreeMap::new();
        for (key, item) in members {
            if let Some(item) = reader.within(&key, |reader| T::take(item, reader)) {
                taken.insert(key, item);
            }
        }
        Some(taken)
    }
}

/// What is required cannot be null, though its field is an `Option` until it is checked.
pub(crate) fn refuse_null(schema: &mut schemars::Schema) {
    let required = schema.get("required").and_then(Value::as_array).cloned();
    for name in required.iter().flatten().filter_map(Value::as_str) {
        let place = schema
            .get_mut("properties")
            .and_then(|all| all.get_mut(name));
        let Some(Value::Object(property)) = place else {
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
                // The property's own description says more than its type's.
                for (key, value) in choice.as_object().cloned().unwrap_or_default() {
                    property.entry(key).or_insert(value);
                }
            }
        }
    }
}

/// Declares a request type once: its fields become the struct, its JSON schema and its reader. Every field is optional
/// here; which of them a request must have, `spec` checks and `#[schemars(extend("required" = […]))]` tells the schema.
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
            /// The names of all fields, as they stand in JSON.
            $vis const FIELDS: &'static [&'static str] = &[$($crate::runner::request::wire::wire_name!($field $(= $wire)?)),*];
        }

        impl $crate::runner::request::wire::Wire for $name {
            const EXPECTED: &'static str = "an object";
            fn take(value: serde_json::Value, reader: &mut $crate::runner::request::wire::Reader) -> Option<Self> {
                let serde_json::Value::Object(mut object) = value else {
                    let found = $crate::runner::request::wire::kind_of(&value);
                    reader.fault(format!("expected an object, got {found}"));
                    return None;
                };
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

macro_rules! wire_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident = $wire:literal) => {
        $wire
    };
}

/// Declares an enum that is one of a few words in JSON.
macro_rules! wire_enum {
    ($(#[$attr:meta])* $vis:vis enum $name:ident { $($(#[$vattr:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$attr])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
        $vis enum $name { $($(#[$vattr])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// As it stands in JSON.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// What this word means.
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
