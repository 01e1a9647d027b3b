//! What a run of the tests printed: which test passed, and what the others said.

use std::collections::BTreeMap;

/// One run of `tests/it` on one engine.
#[derive(Default)]
pub struct Outcome {
    /// The engine's, or that it said none.
    pub version: String,
    /// Why nothing was tested.
    pub failure: Option<String>,
    /// By name; the output of those that failed.
    pub tests: BTreeMap<String, Result<(), String>>,
}

impl Outcome {
    /// No test was run.
    pub fn failed(why: String) -> Self {
        Self {
            version: "unknown".into(),
            failure: Some(why),
            ..Self::default()
        }
    }

    /// Reads what libtest printed.
    pub fn parse(version: String, printed: &str) -> Self {
        let mut tests = BTreeMap::new();
        for line in printed.lines() {
            let Some((name, word)) = line
                .trim_end()
                .strip_prefix("test ")
                .and_then(|rest| rest.rsplit_once(" ... "))
            else {
                continue;
            };
            let result = match word {
                "ok" => Ok(()),
                "FAILED" => Err(said(printed, name)),
                _ => continue,
            };
            tests.insert(name.to_owned(), result);
        }
        Self {
            version,
            failure: None,
            tests,
        }
    }

    /// Takes what another run of some of the tests gave instead.
    pub fn replace(&mut self, other: Self) {
        self.failure = other.failure;
        self.version = other.version;
        self.tests.extend(other.tests);
    }

    /// The result of a test; one that did not end is a failure.
    pub fn of(&self, test: &str) -> Result<(), &str> {
        match self.tests.get(test) {
            Some(Ok(())) => Ok(()),
            Some(Err(said)) => Err(said),
            None => Err("it did not run to its end"),
        }
    }
}

/// The output of a failed test.
fn said(printed: &str, name: &str) -> String {
    let head = format!("---- {name} stdout ----");
    let lines = printed
        .lines()
        .map(str::trim_end)
        .skip_while(|line| *line != head)
        .skip(1)
        .take_while(|line| !line.starts_with("---- ") && *line != "failures:")
        .filter(|line| !line.is_empty() && !line.starts_with("note: run with"));
    lines.collect::<Vec<_>>().join("\n    ")
}
