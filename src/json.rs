//! Parses JSON strictly: exactly one value, no member twice, not too deep, not too many small values. The same for REST and
//! MCP. What the values take is charged to the memory budget while they are parsed.

mod literals;

use crate::memory::Reservation;
use literals::Literals;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::{Cell, RefCell};
use std::fmt;

/// Deepest nesting of arrays and objects; `serde_json` itself stops at 128.
const MAX_DEPTH: u32 = 120;
/// Most memory that the values of one text may take beside the characters of their strings. An empty array takes two bytes of
/// a text and 32 of memory, an object with one member 8 and more than 700.
const MAX_VALUE_BYTES: u64 = 64 << 20;
/// Memory of one value in an array, whose capacity doubles as it grows.
const ITEM_BYTES: u64 = 64;
/// Memory of one member of an object beside its node.
const MEMBER_BYTES: u64 = 32;
/// Memory of a node of an object, and how many members it has at least when members arrive in order.
const NODE_BYTES: u64 = 640;
const NODE_MEMBERS: u64 = 6;
/// What the allocator adds to a string.
const STRING_BYTES: u64 = 16;
/// Bytes that are taken from the budget at a time.
const CHARGE_BYTES: u64 = 64 * 1024;

/// The member whose values are texts of the caller's own: a number in it that a [`Number`] would change becomes a string.
const VERBATIM: &str = "env_vars";
/// What is wrong with a number that is out of range.
pub(crate) const OUT_OF_RANGE: &str = "the number is out of range: at most about 1.8e308";
/// How the parser's error for such a number begins.
const PARSERS_OUT_OF_RANGE: &str = "number out of range";
/// A mark that a text may begin with, and that a parser may ignore (RFC 8259 §8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why a text was refused.
#[derive(Debug)]
pub enum Error {
    /// Not JSON, or nested too deeply.
    Syntax(String),
    /// JSON that is not accepted: a member twice, or too many values.
    Refused(String),
    /// A number is larger than any that can be computed with.
    OutOfRange {
        /// The names and indices that lead to it, outermost first.
        path: Vec<String>,
    },
    /// The memory budget is used up.
    OutOfMemory,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(why) | Self::Refused(why) => f.write_str(why),
            Self::OutOfRange { path } if path.is_empty() => f.write_str(OUT_OF_RANGE),
            Self::OutOfRange { path } => write!(f, "{}: {OUT_OF_RANGE}", path.join(".")),
            Self::OutOfMemory => f.write_str("there is no memory for its values just now"),
        }
    }
}

/// Parses one text. The memory of its values is added to `memory`, also if it is refused.
pub fn parse(text: &[u8], memory: Option<&Reservation>) -> Result<Value, Error> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let meter = Meter::new(memory);
    let literals = Literals::of(text);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let strict = Strict {
        meter: &meter,
        literals: &literals,
        depth: 0,
        digits: Digits::Any,
    };
    let parsed = strict
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    let charged = meter.charge_pending();
    match (parsed, meter.fault.take()) {
        (Ok(_), _) if !charged => Err(Error::OutOfMemory),
        (Ok(value), _) => Ok(value),
        (Err(_), Some(Fault::OutOfMemory)) => Err(Error::OutOfMemory),
        (Err(error), Some(Fault::Refused)) => Err(Error::Refused(error.to_string())),
        (Err(error), None) if error.to_string().starts_with(PARSERS_OUT_OF_RANGE) => {
            let mut path = meter.path_to_fault.take();
            path.reverse();
            Err(Error::OutOfRange { path })
        }
        (Err(error), None) => Err(Error::Syntax(match std::str::from_utf8(text) {
            Ok(_) => error.to_string(),
            Err(fault) => format!(
                "it is not UTF-8 from byte {} on: {error}",
                fault.valid_up_to()
            ),
        })),
    }
}

/// Counts the memory of the values of one text.
struct Meter<'a> {
    memory: Option<&'a Reservation>,
    /// What is left of [`MAX_VALUE_BYTES`].
    left_bytes: Cell<u64>,
    /// Not yet taken from the budget.
    pending_bytes: Cell<u64>,
    fault: RefCell<Option<Fault>>,
    /// The names and indices that lead to the value at which parsing stopped, innermost first.
    path_to_fault: RefCell<Vec<String>>,
}

/// Why parsing stopped, if not for the syntax.
enum Fault {
    Refused,
    OutOfMemory,
}

impl<'a> Meter<'a> {
    fn new(memory: Option<&'a Reservation>) -> Self {
        Self {
            memory,
            left_bytes: Cell::new(MAX_VALUE_BYTES),
            pending_bytes: Cell::new(0),
            fault: RefCell::new(None),
            path_to_fault: RefCell::default(),
        }
    }

    /// Counts memory that values take beside the characters of strings.
    fn count<E: serde::de::Error>(&self, bytes: u64) -> Result<(), E> {
        let Some(left) = self.left_bytes.get().checked_sub(bytes) else {
            return Err(self.refuse(format_args!(
                "too many values: they would take more than {MAX_VALUE_BYTES} bytes of memory"
            )));
        };
        self.left_bytes.set(left);
        self.charge(bytes)
    }

    /// Counts a string.
    fn count_text<E: serde::de::Error>(&self, text: &str) -> Result<(), E> {
        self.charge(text.len() as u64 + STRING_BYTES)
    }

    fn charge<E: serde::de::Error>(&self, bytes: u64) -> Result<(), E> {
        self.pending_bytes.set(self.pending_bytes.get() + bytes);
        if self.pending_bytes.get() < CHARGE_BYTES || self.charge_pending() {
            return Ok(());
        }
        *self.fault.borrow_mut() = Some(Fault::OutOfMemory);
        Err(E::custom("out of memory"))
    }

    /// False: the budget does not have it.
    fn charge_pending(&self) -> bool {
        let pending = self.pending_bytes.take();
        self.memory.is_none_or(|memory| memory.grow(pending))
    }

    /// Notes that parsing stopped within this member or item.
    fn note_fault_in<T, E>(&self, outcome: Result<T, E>, place: impl ToString) -> Result<T, E> {
        if outcome.is_err() {
            self.path_to_fault.borrow_mut().push(place.to_string());
        }
        outcome
    }

    fn refuse<E: serde::de::Error>(&self, why: impl fmt::Display) -> E {
        *self.fault.borrow_mut() = Some(Fault::Refused);
        E::custom(why)
    }
}

/// Deserializes a [`Value`] at some depth.
#[derive(Clone, Copy)]
struct Strict<'a> {
    meter: &'a Meter<'a>,
    literals: &'a Literals<'a>,
    depth: u32,
    digits: Digits,
}

/// Which numbers keep their digits.
#[derive(Clone, Copy)]
enum Digits {
    /// None: only the value counts.
    Any,
    /// Those that are members of this value.
    OfMembers,
    /// This value.
    Own,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            let why = format_args!("nested more than {MAX_DEPTH} levels deep");
            return Err(E::custom(why));
        }
        Ok(Self {
            depth: self.depth + 1,
            digits: Digits::Any,
            ..self
        })
    }

    /// The same for a member with this name of the value that this reads.
    fn of_member(self, name: &str, inside: Self) -> Self {
        let digits = match self.digits {
            Digits::OfMembers => Digits::Own,
            Digits::Any | Digits::Own if name == VERBATIM => Digits::OfMembers,
            Digits::Any | Digits::Own => Digits::Any,
        };
        Self { digits, ..inside }
    }

    fn number<E: serde::de::Error>(self, number: Number) -> Result<Value, E> {
        self.literals.pass();
        if !matches!(self.digits, Digits::Own) {
            return Ok(Value::Number(number));
        }
        let literal = self.literals.last();
        if number.to_string() == literal {
            return Ok(Value::Number(number));
        }
        self.meter.count_text(literal)?;
        Ok(Value::String(literal.to_owned()))
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

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.number(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.number(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        match Number::from_f64(value) {
            Some(number) => self.number(number),
            None => Err(E::custom(PARSERS_OUT_OF_RANGE)),
        }
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.meter.count_text(value)?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        self.meter.count_text(&value)?;
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inside = self.deeper()?;
        let mut array = Vec::new();
        loop {
            let item = items.next_element_seed(inside);
            let Some(item) = self.meter.note_fault_in(item, array.len())? else {
                break;
            };
            self.meter.count(ITEM_BYTES)?;
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inside = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            self.meter.count_text(&name)?;
            let starts_node = (object.len() as u64).is_multiple_of(NODE_MEMBERS);
            let node_bytes = if starts_node { NODE_BYTES } else { 0 };
            self.meter.count(MEMBER_BYTES + node_bytes)?;
            if object.contains_key(&name) {
                let shown: String = name.chars().take(64).collect();
                let why = format_args!("the member {shown:?} is there twice");
                return Err(self.meter.refuse(why));
            }
            let value = members.next_value_seed(self.of_member(&name, inside));
            let value = self.meter.note_fault_in(value, &name)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::memory::MemoryBudget;

    #[test]
    fn valid_json_is_read_as_serde_json_reads_it() {
        let text = r#"{"a":[1,-2,3.5,null,true,"x\né"],"b":{"c":{}}}"#;
        assert_eq!(
            parse(text.as_bytes(), None).unwrap(),
            serde_json::from_str::<Value>(text).unwrap()
        );
    }

    #[test]
    fn a_number_out_of_range_is_named_by_the_names_that_lead_to_it() {
        for (text, expected) in [
            (r#"{"env_vars":{"A":1e400}}"#, "env_vars.A: "),
            (r#"{"a":[1,{"b":2},-1e999]}"#, "a.2: "),
            ("1e400", ""),
        ] {
            let error = parse(text.as_bytes(), None).unwrap_err();
            assert!(matches!(&error, Error::OutOfRange { .. }), "{error:?}");
            assert_eq!(error.to_string(), format!("{expected}{OUT_OF_RANGE}"));
        }
        for taken in ["1e308", "1e-400", "123456789012345678901234567890"] {
            assert!(parse(taken.as_bytes(), None).is_ok(), "{taken}");
        }
        let syntax = parse(br#"{"number out of range": x}"#, None).unwrap_err();
        assert!(matches!(syntax, Error::Syntax(_)));
    }

    #[test]
    fn a_byte_order_mark_before_the_text_is_ignored() {
        assert_eq!(
            parse(b"\xef\xbb\xbf{}", None).unwrap(),
            serde_json::json!({})
        );
        for text in [
            &b"\xef\xbb\xbf\xef\xbb\xbf{}"[..],
            b"{\xef\xbb\xbf}",
            b"\xff\xfe{\0}\0",
        ] {
            assert!(parse(text, None).is_err(), "{text:?}");
        }
    }

    #[test]
    fn numbers_in_env_vars_keep_their_digits_and_no_others_do() {
        for digits in [
            "0",
            "-0",
            "-1",
            "64.0",
            "64.00",
            "1e3",
            "1E+3",
            "0.10",
            "1e-7",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775809",
            "123456789012345678901234567890",
            "0.1234567890123456789012345",
            "1e308",
        ] {
            let text = format!(
                r#"[1.50, "2.50 \" 3", {{"4.50": "\\"}}, {{"env_vars": {{"5\u00e9": "6", "A": {digits}, "B": [7.50],
                "C": 8.0, "D": {digits}}}, "other": {digits}}}]"#
            );
            let value = parse(text.as_bytes(), None).unwrap();
            for (name, written) in [("A", digits), ("C", "8.0"), ("D", digits)] {
                let kept = match &value[3]["env_vars"][name] {
                    Value::String(text) => text.clone(),
                    number => number.to_string(),
                };
                assert_eq!(kept, written, "{text}");
            }
            assert_eq!(value[3]["env_vars"]["B"][0], 7.5);
            assert!(value[3]["other"].is_number());
            assert_eq!((&value[0], &value[1]), (&1.5.into(), &"2.50 \" 3".into()));
        }
    }

    #[test]
    fn every_refusal_says_why() {
        let deep = "[".repeat(100_000);
        let zeros = format!("[{}0]", "0,".repeat(2_000_000));
        let objects = format!("[{}0]", "{\"a\":1},".repeat(200_000));
        let cases: [(&[u8], &str); 11] = [
            (b"{\"a\":\"J\xfcrgen\"}", "not UTF-8 from byte 7 on"),
            (zeros.as_bytes(), "too many values"),
            (objects.as_bytes(), "too many values"),
            (
                b"{\"a\":1,\"b\":[{\"c\":1,\"c\":2}]}",
                "\"c\" is there twice",
            ),
            (deep.as_bytes(), "120 levels deep at line 1 column 121"),
            (b"", "EOF"),
            (b"{} {}", "trailing characters"),
            (b"\"\\ud800\"", "line 1"),
            (b"1e999", "out of range"),
            (b"{\"a\":\"\xff\"}", "invalid unicode"),
            (b"nul", "line 1"),
        ];
        for (text, why) in cases {
            let error = parse(text, None).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn values_are_charged_to_the_budget_and_refused_where_it_is_used_up() {
        let budget = MemoryBudget::new(1 << 20);
        let (other, memory) = (budget.reservation(), budget.reservation());
        assert!(other.grow(1 << 19));
        let zeros = |count| format!("[{}0]", "0,".repeat(count));
        assert!(parse(zeros(1000).as_bytes(), Some(&memory)).is_ok());
        assert!(memory.bytes() >= 1000 * ITEM_BYTES);
        assert!(matches!(
            parse(zeros(10_000).as_bytes(), Some(&memory)),
            Err(Error::OutOfMemory)
        ));
    }
}
