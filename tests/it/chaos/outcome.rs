//! What an answer was: true, an error with a code, or none. An answer that is false fails the test.

use crate::support::{Answer, untar};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Mutex;

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The whole truth.
    True,
    /// An error that says so; its code, or the status of the run.
    Error(String),
    /// The connection broke before the end of the answer.
    Broken,
}

/// What a run must answer. The nonce of its request is in each text.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub stdout: String,
    pub exit_code: i64,
    /// A file with this text must come back under this key.
    pub file: Option<(&'static str, String)>,
    /// A directory with this file, its name and its text, must come back under this key.
    pub directory: Option<(&'static str, (&'static str, String))>,
}

impl Expected {
    pub fn stdout(text: impl Into<String>) -> Self {
        Self {
            stdout: text.into(),
            ..Self::default()
        }
    }

    /// Judges the answer to `POST /run`.
    pub fn judge_answer(&self, answer: Option<&Answer>) -> Outcome {
        match answer {
            None => Outcome::Broken,
            Some(answer) if answer.status == 200 => self.judge(&answer.json()),
            Some(answer) => Outcome::Error(code(answer)),
        }
    }

    /// Judges the result of a run.
    pub fn judge(&self, result: &Value) -> Outcome {
        let stdout = result["stdout"].as_str().unwrap();
        let is_part = self.stdout.starts_with(stdout);
        assert!(is_part, "of another run, not {self:?}: {result}");
        if result["reason"] != "exited" || result["exit_code"] != self.exit_code {
            assert_ne!(result["status"], "success", "{result}");
            return Outcome::Error(result["status"].as_str().unwrap().to_owned());
        }
        let contents = [self.judge_file(result), self.judge_directory(result)];
        let is_printed = stdout == self.stdout;
        if is_printed && !contents.contains(&false) {
            return Outcome::True;
        }
        // It must say what it lacks.
        assert!(result["warnings"].is_array(), "not {self:?}: {result}");
        let lacking = match is_printed {
            true => "outputs lacking",
            false => "stdout lacking",
        };
        show_once(lacking, &format!("{lacking}: {}", result["warnings"]));
        Outcome::Error(lacking.into())
    }

    fn judge_file(&self, result: &Value) -> bool {
        let Some((key, text)) = &self.file else {
            return true;
        };
        let content = content(result, key);
        content
            .map(|content| assert_eq!(decoded(content), *text, "{result}"))
            .is_some()
    }

    fn judge_directory(&self, result: &Value) -> bool {
        let Some((key, (name, text))) = &self.directory else {
            return true;
        };
        let content = content(result, key);
        content
            .map(|content| assert_holds(content, name, text))
            .is_some()
    }
}

/// Asserts that this archive has a file with this text.
pub fn assert_holds(archive: &str, name: &str, text: &str) {
    let entries = untar(archive);
    let found = entries.iter().find(|entry| entry.name.ends_with(name));
    let found = found.and_then(|entry| entry.content.as_deref());
    assert_eq!(found, Some(text.as_bytes()), "{name} in {entries:?}");
}

/// The content under a key. `None`: the answer says why there is none.
fn content<'a>(result: &'a Value, key: &str) -> Option<&'a str> {
    let volume = &result["volumes"][key];
    let said = volume["detail"].is_string();
    assert!(volume["content"].is_string() || said, "{key}: {result}");
    volume["content"].as_str()
}

fn decoded(base64: &str) -> String {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64);
    String::from_utf8(bytes.unwrap()).unwrap()
}

/// Prints the first error of each code, so that a failure can be understood.
pub fn show_once(code: &str, text: &str) {
    static SHOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if SHOWN.lock().unwrap().insert(code.to_owned()) {
        println!("{text}");
    }
}

/// The code of an error, which must be one that says what is wrong.
pub fn code(answer: &Answer) -> String {
    let (status, code, detail) = answer.problem();
    let is_error = (400..600).contains(&status) && status != 500;
    assert!(is_error && !code.is_empty(), "{status} {code}: {detail}");
    show_once(&code, &format!("{status} {code}: {detail}"));
    if status == 429 || code == "not_known_yet" {
        assert!(answer.header("Retry-After").is_some(), "{}", answer.head);
    }
    code
}
