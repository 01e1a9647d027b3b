//! JSON-RPC 2.0 messages with MCP's restrictions: ids are strings or integers, `params` is an object. Also batches and
//! the cancellation notification. Does no I/O. <https://modelcontextprotocol.io/specification/2025-11-25/basic#messages>

use crate::json;
use crate::memory::Reservation;
use serde_json::{Map, Number, Value, json};

/// Longest accepted id, in bytes: it is echoed in the response.
const LONGEST_ID: usize = 1024;
/// Most messages of a batch.
pub(super) const LARGEST_BATCH: usize = 1000;
/// Longest part of a name from the client that an error repeats, in characters.
const LONGEST_ECHO: usize = 128;

/// A request's id, echoed with its type: `1` and `"1"` are different ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Id {
    /// An integer that fits into 64 bits.
    Number(Number),
    /// A string.
    Text(String),
}

/// A request: gets exactly one response, unless the client cancels it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    /// Chosen by the client.
    pub id: Id,
    /// Such as `tools/call`.
    pub method: String,
    /// Empty when none were sent.
    pub params: Map<String, Value>,
}

/// A notification: never gets a response.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Notification {
    /// Such as `notifications/cancelled`.
    pub method: String,
    /// Empty when none were sent.
    pub params: Map<String, Value>,
}

/// One message from the client.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    /// A request.
    Request(Request),
    /// A notification.
    Notification(Notification),
    /// A response. Ignored, because the server sends no requests.
    Response,
}

/// The content of one line or one HTTP body.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Payload {
    /// One message.
    One(Result<Message, Rejection>),
    /// A batch in its order; only revision 2025-03-26 has batches.
    Batch(Vec<Result<Message, Rejection>>),
}

/// An invalid message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rejection {
    /// The message's id; `None` when it has no usable one.
    pub id: Option<Id>,
    /// What is wrong.
    pub error: Error,
}

/// Why a line or body has no payload.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is not a valid message.
    Message(Rejection),
    /// The memory budget is used up.
    OutOfMemory,
}

/// The error member of a response.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Error {
    /// One of [`Code`]'s values.
    pub code: Code,
    /// One sentence.
    pub message: String,
    /// Details that the code defines.
    pub data: Option<Value>,
}

/// The error codes the server uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub(super) enum Code {
    /// Not JSON.
    Parse = -32700,
    /// Not a valid JSON-RPC message.
    InvalidRequest = -32600,
    /// Unknown method.
    MethodNotFound = -32601,
    /// Invalid parameters, or an unknown tool.
    InvalidParams = -32602,
    /// A limit of the server, or a bug in it.
    Internal = -32603,
    /// Unknown session. The code is the official SDKs'.
    SessionNotFound = -32001,
    /// The HTTP headers contradict the body (2026-07-28).
    HeaderMismatch = -32020,
    /// The call needs a capability that the client did not declare (2026-07-28).
    MissingCapability = -32021,
    /// An unsupported protocol revision (2026-07-28).
    UnsupportedVersion = -32022,
}

impl Notification {
    /// The id of the request that a `notifications/cancelled` cancels. `None` for any other notification.
    pub(super) fn cancelled_request(&self) -> Option<Id> {
        match self.method.as_str() {
            "notifications/cancelled" => self.params.get("requestId").and_then(Id::from_value),
            _ => None,
        }
    }
}

impl Rejection {
    /// Rejects a batch that the negotiated revision does not allow.
    pub(super) fn batch_not_supported() -> Self {
        let what =
            "Invalid request: only revision 2025-03-26 has batches, and it was not agreed on";
        Self {
            id: None,
            error: Error::new(Code::InvalidRequest, what),
        }
    }
}

impl Error {
    /// An error without data.
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// The same error with data.
    #[must_use]
    pub(super) fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    fn to_value(&self) -> Value {
        let mut error = json!({"code": self.code as i64, "message": self.message});
        if let Some(data) = &self.data {
            error["data"] = data.clone();
        }
        error
    }
}

/// The number as an integer. Some languages write `1` as `1.0`, which is the same number. `None`: it has a fraction, or too many
/// digits to be echoed as it was sent.
pub(super) fn whole(number: &Number) -> Option<Number> {
    // Up to here every integer has a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(value) if number.is_f64() => {
            (value.fract() == 0.0 && value.abs() < EXACT).then_some(Number::from(value as i64))
        }
        _ => Some(number.clone()),
    }
}

impl Id {
    /// Reads a string of at most [`LONGEST_ID`] bytes or an integer from -2⁶³ to 2⁶⁴-1. `None` for anything else, also for
    /// null.
    pub(super) fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) if text.len() <= LONGEST_ID => Some(Self::Text(text.clone())),
            Value::Number(number) => whole(number).map(Self::Number),
            _ => None,
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.clone()),
        }
    }
}

/// Parses one line or body, whose values are added to `memory`. Errors: it is not JSON, or not accepted by `json`.
pub(super) fn parse(bytes: &[u8], memory: Option<&Reservation>) -> Result<Payload, Refusal> {
    let value = json::parse(bytes, memory).map_err(|error| match error {
        json::Error::Syntax(why) => {
            let error = Error::new(Code::Parse, format!("Parse error: {why}"));
            Refusal::Message(Rejection { id: None, error })
        }
        json::Error::Refused(why) => Refusal::Message(reject(None, &why)),
        error @ json::Error::OutOfRange { .. } => {
            Refusal::Message(reject(None, &error.to_string()))
        }
        json::Error::OutOfMemory => Refusal::OutOfMemory,
    })?;
    Ok(match value {
        Value::Array(items) if items.is_empty() => {
            Payload::One(Err(reject(None, "a batch must not be empty")))
        }
        Value::Array(items) if items.len() > LARGEST_BATCH => Payload::One(Err(reject(
            None,
            &format!("a batch has at most {LARGEST_BATCH} messages"),
        ))),
        Value::Array(items) => Payload::Batch(items.into_iter().map(message).collect()),
        other => Payload::One(message(other)),
    })
}

fn message(value: Value) -> Result<Message, Rejection> {
    let Value::Object(mut object) = value else {
        return Err(reject(None, "a message must be an object"));
    };
    let raw_id = object.get("id").cloned();
    let id = raw_id.as_ref().and_then(Id::from_value);
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(reject(id, "jsonrpc must be \"2.0\""));
    }
    let method = match object.remove("method") {
        Some(Value::String(method)) => method,
        None if object.contains_key("result") || object.contains_key("error") => {
            return Ok(Message::Response);
        }
        _ => return Err(reject(id, "method must be a string")),
    };
    if raw_id.is_some() && id.is_none() {
        return Err(reject(
            None,
            "id must be a string of at most 1024 bytes or an integer of at most 64 bits, not null",
        ));
    }
    let params = match object.remove("params") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => {
            let error = Error::new(
                Code::InvalidParams,
                "Invalid params: params must be an object",
            );
            return Err(Rejection { id, error });
        }
    };
    Ok(match id {
        Some(id) => Message::Request(Request { id, method, params }),
        None => Message::Notification(Notification { method, params }),
    })
}

fn reject(id: Option<Id>, what: &str) -> Rejection {
    let error = Error::new(Code::InvalidRequest, format!("Invalid request: {what}"));
    Rejection { id, error }
}

/// The response to the request with this id.
pub(super) fn response(id: &Id, result: Result<Value, Error>) -> Value {
    match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id.to_value(), "result": result}),
        Err(error) => {
            json!({"jsonrpc": "2.0", "id": id.to_value(), "error": error.to_value()})
        }
    }
}

/// The response to an invalid message. Without a usable id there is no `id` member: no revision's schema allows null.
pub(super) fn rejection(rejection: &Rejection) -> Value {
    match &rejection.id {
        Some(id) => response(id, Err(rejection.error.clone())),
        None => json!({"jsonrpc": "2.0", "error": rejection.error.to_value()}),
    }
}

/// The same response with this error in place of its content.
pub(super) fn failed_response(response: &Value, error: &Error) -> Value {
    json!({"jsonrpc": "2.0", "id": response["id"], "error": error.to_value()})
}

/// A name from the client as an error repeats it: cut, so that an error stays short.
pub(super) fn for_echo(name: &str) -> String {
    match name.char_indices().nth(LONGEST_ECHO) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// A notification from the server.
pub(super) fn notification(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Message, Rejection> {
        match parse(text.as_bytes(), None).unwrap() {
            Payload::One(message) => message,
            Payload::Batch(_) => panic!("{text} is no batch"),
        }
    }

    #[test]
    fn ids_are_echoed_with_their_type() {
        for id in [
            "0",
            "-7",
            "\"\"",
            "\"0\"",
            "18446744073709551615",
            "-9223372036854775808",
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            let Message::Request(request) = one(&text).unwrap() else {
                panic!("{text}");
            };
            let answer = response(&request.id, Ok(json!({}))).to_string();
            assert!(answer.contains(&format!("\"id\":{id}")), "{answer}");
        }
    }

    #[test]
    fn an_id_that_could_not_be_echoed_as_it_was_sent_is_rejected() {
        for id in [
            "18446744073709551616",
            "-9223372036854775809",
            "123456789012345678901234567890",
            "9007199254740993.0",
            "1.5",
            "1e30",
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            let rejected = one(&text).unwrap_err();
            assert_eq!(rejected.error.code, Code::InvalidRequest, "{id}");
            assert_eq!(rejected.id, None, "{id}");
        }
    }

    #[test]
    fn a_whole_number_is_an_integer_however_it_is_written() {
        for (id, echoed) in [("1.0", "1"), ("-2.0", "-2"), ("1e3", "1000"), ("0.0", "0")] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            let Message::Request(request) = one(&text).unwrap() else {
                panic!("a request");
            };
            let answer = response(&request.id, Ok(json!({}))).to_string();
            assert!(answer.contains(&format!("\"id\":{echoed},")), "{answer}");
        }
    }

    #[test]
    fn a_batch_has_a_largest_size() {
        let batch = |count: usize| format!("[{}]", vec!["3"; count].join(","));
        let whole = parse(batch(LARGEST_BATCH).as_bytes(), None).unwrap();
        assert!(matches!(whole, Payload::Batch(items) if items.len() == LARGEST_BATCH));
        let error = one(&batch(LARGEST_BATCH + 1)).unwrap_err().error;
        assert_eq!(error.code, Code::InvalidRequest);
        assert!(error.message.contains("at most 1000 messages"));
    }

    #[test]
    fn an_invalid_message_is_rejected_with_its_id_if_it_has_one() {
        let long = format!(
            r#"{{"jsonrpc":"2.0","id":"{}","method":"x"}}"#,
            "i".repeat(2000)
        );
        for (text, code, id) in [
            ("5", Code::InvalidRequest, false),
            ("[]", Code::InvalidRequest, false),
            (r#"{"id":1,"method":"x"}"#, Code::InvalidRequest, true),
            (
                r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#,
                Code::InvalidRequest,
                true,
            ),
            (r#"{"jsonrpc":"2.0","id":1}"#, Code::InvalidRequest, true),
            (
                r#"{"jsonrpc":"2.0","id":"a","method":7}"#,
                Code::InvalidRequest,
                true,
            ),
            (
                r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#,
                Code::InvalidRequest,
                false,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#,
                Code::InvalidRequest,
                false,
            ),
            (
                r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#,
                Code::InvalidRequest,
                false,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}"#,
                Code::InvalidParams,
                true,
            ),
            (&long, Code::InvalidRequest, false),
        ] {
            let rejected = one(text).unwrap_err();
            assert_eq!(rejected.error.code, code, "{text}");
            assert_eq!(rejected.id.is_some(), id, "{text}");
            assert_eq!(rejection(&rejected).get("id").is_some(), id, "{text}");
        }
    }

    #[test]
    fn invalid_json_is_a_parse_error() {
        let deep = "[".repeat(100_000);
        for text in ["", "{", "{\"a\":\u{1}}", "{\u{feff}}", "nul", &deep] {
            let Err(Refusal::Message(rejected)) = parse(text.as_bytes(), None) else {
                panic!("{text:.20}");
            };
            assert_eq!(rejected.error.code, Code::Parse, "{text:.20}");
        }
        assert!(parse(b"\xff\xfe", None).is_err());
    }

    #[test]
    fn a_member_twice_and_too_many_values_are_invalid_requests_with_the_reason() {
        let zeros = format!("[{}0]", "0,".repeat(2_000_000));
        let twice = r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#;
        for (text, why) in [
            (twice, "\"id\" is there twice"),
            (&zeros, "too many values"),
        ] {
            let Err(Refusal::Message(rejected)) = parse(text.as_bytes(), None) else {
                panic!("{text:.20}");
            };
            assert_eq!(rejected.error.code, Code::InvalidRequest);
            assert!(rejected.error.message.contains(why), "{rejected:?}");
        }
    }

    #[test]
    fn notifications_and_responses_are_distinguished() {
        assert!(matches!(
            one(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).unwrap(),
            Message::Notification(_)
        ));
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}"#,
        ] {
            assert_eq!(one(text).unwrap(), Message::Response);
        }
    }

    #[test]
    fn a_batch_keeps_its_order_and_its_invalid_messages() {
        let text = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},3]"#;
        let Payload::Batch(items) = parse(text.as_bytes(), None).unwrap() else {
            panic!("a batch");
        };
        assert!(items[0].is_ok() && items[1].is_err());
    }

    #[test]
    fn only_notifications_cancelled_names_a_request() {
        for (method, params, expected) in [
            ("notifications/cancelled", json!({"requestId": 1}), true),
            ("notifications/cancelled", json!({"requestId": "a"}), true),
            ("notifications/cancelled", json!({"requestId": null}), false),
            ("notifications/cancelled", json!({}), false),
            ("notifications/progress", json!({"requestId": 1}), false),
        ] {
            let notification = Notification {
                method: method.into(),
                params: params.as_object().cloned().unwrap(),
            };
            let found = notification.cancelled_request();
            assert_eq!(found.is_some(), expected, "{method} {params}");
        }
    }
}
