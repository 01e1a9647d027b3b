//! Problem details (RFC 9457): the body of every HTTP error response.

use serde::Serialize;

/// The media type of a serialized [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error answer (RFC 9457 §3.1), with a machine-readable `code` and, for 422, every fault found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Problem {
    /// `about:blank`: the `code` member distinguishes problems.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status code's standard phrase.
    pub title: String,
    /// The HTTP status code.
    pub status: u16,
    /// What went wrong, for a person.
    pub detail: String,
    /// What went wrong, for a program: a stable snake_case word.
    pub code: String,
    /// Each fault of a 422 answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Fault {
    /// Where: the path of keys into the request, such as `["body", "volumes", "/app", "mode"]`.
    pub loc: Vec<String>,
    /// What was expected. Never repeats the value given: it may be a secret.
    pub msg: String,
}

impl Problem {
    /// A problem without a list of faults.
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".into(),
            title: reason_phrase(status).into(),
            status,
            detail: detail.into(),
            code: code.into(),
            errors: Vec::new(),
        }
    }

    /// The problem as a JSON body.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The reason phrase (RFC 9110 §15) of a status code that this service uses.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        499 => "Client Closed Request",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}
