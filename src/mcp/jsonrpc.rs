//! JSON-RPC 2.0 messages as MCP narrows them: ids are strings or integers, `params` is an object, a response is a
//! `Result`. <https://modelcontextprotocol.io/specification/2025-11-25/basic#messages>

use serde_json::{Map, Number, Value, json};

/// Longest id that is taken, in bytes: it is echoed in every answer.
const LONGEST_ID: usize = 1024;

/// A request's id, echoed as it came: `1` and `"1"` are different ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Id {
    /// An integer.
    Number(Number),
    /// A string.
    Text(String),
}

/// A request: answered exactly once, unless it is cancelled.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    /// The caller's id for it.
    pub id: Id,
    /// Such as `tools/call`.
    pub method: String,
    /// Empty when none were sent.
    pub params: Map<String, Value>,
}

/// A notification: never answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Notification {
    /// Such as `notifications/cancelled`.
    pub method: String,
    /// Empty when none were sent.
    pub params: Map<String, Value>,
}

/// One message of a peer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    /// To be answered.
    Request(Request),
    /// Not to be answered.
    Notification(Notification),
    /// An answer. We ask nothing, so nobody waits for it.
    Response,
}

/// What one line or one HTTP body holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Payload {
    /// One message.
    One(Result<Message, Rejection>),
    /// A batch, in order; only revision 2025-03-26 has them.
    Batch(Vec<Result<Message, Rejection>>),
}

/// A message that could not be understood, and the id to answer to, if it had a usable one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rejection {
    /// The id, when there was one.
    pub id: Option<Id>,
    /// What is wrong.
    pub error: Error,
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

/// The error codes we answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub(super) enum Code {
    /// Not JSON.
    Parse = -32700,
    /// Not a JSON-RPC message.
    InvalidRequest = -32600,
    /// No such method.
    MethodNotFound = -32601,
    /// The parameters are wrong; also: no such tool.
    InvalidParams = -32602,
    /// A bug of ours.
    Internal = -32603,
    /// No such session (as the official servers number it).
    SessionNotFound = -32001,
    /// The HTTP headers contradict the body (2026-07-28).
    HeaderMismatch = -32020,
    /// The client lacks a capability that the call needs (2026-07-28).
    MissingCapability = -32021,
    /// A protocol revision we do not speak (2026-07-28).
    UnsupportedVersion = -32022,
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

impl Id {
    /// Takes a string or an integer; anything else, null included, is no id.
    pub(super) fn take(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) if text.len() <= LONGEST_ID => Some(Self::Text(text.clone())),
            Value::Number(number) if is_integer(number) => Some(Self::Number(number.clone())),
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

fn is_integer(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|n| n.fract() == 0.0)
}

/// Reads one line or body. Errors: it is not JSON.
pub(super) fn parse(bytes: &[u8]) -> Result<Payload, Rejection> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| Rejection {
        id: None,
        error: Error::new(Code::Parse, format!("Parse error: {error}")),
    })?;
    Ok(match value {
        Value::Array(items) if items.is_empty() => {
            Payload::One(Err(reject(None, "a batch must not be empty")))
        }
        Value::Array(items) => Payload::Batch(items.into_iter().map(message).collect()),
        other => Payload::One(message(other)),
    })
}

fn message(value: Value) -> Result<Message, Rejection> {
    let Value::Object(mut object) = value else {
        return Err(reject(None, "a message must be an object"));
    };
    let raw_id = object.get("id").cloned();
    let id = raw_id.as_ref().and_then(Id::take);
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
            "id must be an integer or a short string, not null",
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

/// The response to the request of this id.
pub(super) fn response(id: &Id, result: Result<Value, Error>) -> Value {
    match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id.to_value(), "result": result}),
        Err(error) => {
            json!({"jsonrpc": "2.0", "id": id.to_value(), "error": error.to_value()})
        }
    }
}

/// The answer to what could not be understood. Without a usable id the member is left out: no revision's schema
/// allows null there.
pub(super) fn rejection(rejection: &Rejection) -> Value {
    match &rejection.id {
        Some(id) => response(id, Err(rejection.error.clone())),
        None => json!({"jsonrpc": "2.0", "error": rejection.error.to_value()}),
    }
}

/// A notification of ours.
pub(super) fn notification(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Message, Rejection> {
        match parse(text.as_bytes()).unwrap() {
            Payload::One(message) => message,
            Payload::Batch(_) => panic!("{text} is no batch"),
        }
    }

    #[test]
    fn ids_are_echoed_with_their_type() {
        for id in ["0", "-7", "\"\"", "\"0\"", "18446744073709551615", "1.0"] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            let Message::Request(request) = one(&text).unwrap() else {
                panic!("{text}");
            };
            let answer = response(&request.id, Ok(json!({}))).to_string();
            assert!(answer.contains(&format!("\"id\":{id}")), "{answer}");
        }
    }

    #[test]
    fn what_is_no_message_is_rejected_with_the_id_when_it_has_one() {
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
    fn what_is_no_json_is_a_parse_error() {
        let deep = "[".repeat(100_000);
        for text in ["", "{", "{\"a\":\u{1}}", "\u{feff}{}", "nul", &deep] {
            let error = parse(text.as_bytes()).unwrap_err().error;
            assert_eq!(error.code, Code::Parse, "{text:.20}");
        }
        assert!(parse(b"\xff\xfe").is_err());
    }

    #[test]
    fn notifications_and_responses_are_told_apart() {
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
    fn a_batch_keeps_its_order_and_its_faults() {
        let text = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},3]"#;
        let Payload::Batch(items) = parse(text.as_bytes()).unwrap() else {
            panic!("a batch");
        };
        assert!(items[0].is_ok() && items[1].is_err());
    }
}
