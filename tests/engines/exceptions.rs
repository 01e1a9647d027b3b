//! What an engine cannot do: tests of the core that fail on it, for a reason that the table states.

/// A test that must fail on an engine. If it passes, the exception is to be removed.
pub struct Exception {
    pub engine: &'static str,
    pub tests: &'static [&'static str],
    /// Must occur in what each of the tests prints, so that no other failure hides behind this one.
    pub words: &'static str,
    /// Note below the table.
    pub reason: &'static str,
}

pub const EXCEPTIONS: &[Exception] = &[];

/// The exception for a test on an engine.
pub fn find(engine: &str, test: &str) -> Option<&'static Exception> {
    EXCEPTIONS
        .iter()
        .find(|exception| exception.engine == engine && exception.tests.contains(&test))
}
