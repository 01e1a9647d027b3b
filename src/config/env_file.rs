//! `.env`: lines of `NAME=value`. Values are taken literally: nothing is substituted, so that a `$` in a secret stays one. Names
//! that are not asked for are not looked at, since other programs may share the file.

use std::collections::HashMap;
use std::path::Path;

/// White space around names and values. Any other may be part of a secret that was pasted.
const BLANKS: [char; 2] = [' ', '\t'];

/// The values of each name in a file, as they were written, quotes included.
#[derive(Default)]
pub(super) struct EnvFile(HashMap<String, Vec<String>>);

impl EnvFile {
    /// Reads a file; one that does not exist is empty. Errors: it cannot be read, is not UTF-8, or has a line that is no
    /// assignment. They name the line, and do not repeat it.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        if let Err(error) = path.symlink_metadata()
            && error.kind() == std::io::ErrorKind::NotFound
        {
            return Ok(Self::default());
        }
        let bytes = std::fs::read(path)
            .map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        let text =
            String::from_utf8(bytes).map_err(|_| format!("{}: is not UTF-8", path.display()))?;
        Self::parse(&text).map_err(|reason| format!("{}: {reason}", path.display()))
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut values: HashMap<String, Vec<String>> = HashMap::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_matches(BLANKS);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line
                .split_once('=')
                .map(|(name, value)| (without_export(name.trim_matches(BLANKS)), value))
                .filter(|(name, _)| is_name(name))
                .ok_or_else(|| format!("line {} is not NAME=value", index + 1))?;
            let written = values.entry(name.to_owned()).or_default();
            written.push(value.to_owned());
        }
        Ok(Self(values))
    }

    /// The value of a variable. Errors: two values, quotes that are not closed, or characters that could mean more than
    /// themselves.
    pub(super) fn value(&self, name: &str) -> Result<Option<String>, String> {
        let value = match self.0.get(name).map(Vec::as_slice) {
            None => return Ok(None),
            Some([written]) => unquoted(written),
            Some(_) => Err("there are two values"),
        };
        value
            .map(Some)
            .map_err(|reason| format!("{reason} (in .env)"))
    }
}

fn without_export(name: &str) -> &str {
    match name.strip_prefix("export") {
        Some(rest) if rest.starts_with(BLANKS) => rest.trim_start_matches(BLANKS),
        _ => name,
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
}

/// What a value as it was written means. Quotes, single or double, enclose a literal text. Without quotes the text ends before
/// white space and a `#`.
fn unquoted(written: &str) -> Result<String, &'static str> {
    // A `#` right after the `=` may be a comment or the start of a secret.
    if written.starts_with('#') {
        return Err("a value that starts with # must be quoted");
    }
    let text = written.trim_start_matches(BLANKS);
    for quote in ['\'', '"'] {
        let Some(rest) = text.strip_prefix(quote) else {
            continue;
        };
        let (inside, after) = rest.split_once(quote).ok_or("a quote is not closed")?;
        if !is_comment(after) {
            return Err("something follows the closing quote");
        }
        if quote == '"' && inside.contains('\\') {
            return Err("a backslash is literal in single quotes only; write the value in these");
        }
        return Ok(inside.to_owned());
    }
    let end = text.find(BLANKS).unwrap_or(text.len());
    if text.starts_with('#') {
        return Ok(String::new());
    }
    let (value, after) = text.split_at(end);
    if !is_comment(after) || value.contains(char::is_whitespace) {
        return Err("a value with white space must be quoted");
    }
    if value.contains(['\'', '"', '\\']) {
        return Err("a value with quotes or backslashes must be in single quotes");
    }
    Ok(value.to_owned())
}

fn is_comment(rest: &str) -> bool {
    let text = rest.trim_start_matches(BLANKS);
    text.is_empty() || (text.starts_with('#') && text.len() < rest.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn value(line: &str) -> Result<Option<String>, String> {
        EnvFile::parse(line)?.value("A")
    }

    #[test]
    fn values_are_literal() {
        for (line, expected) in [
            ("A=1", "1"),
            ("  export  A = 1  ", "1"),
            ("A=$ecret", "$ecret"),
            ("A=pa$$w0rd", "pa$$w0rd"),
            ("A=\"pa${NOPE}x\"", "pa${NOPE}x"),
            ("A='a b \\ \" # $x'", "a b \\ \" # $x"),
            ("A=\"fi ve\" # comment", "fi ve"),
            ("A=a#b", "a#b"),
            ("A=a # comment", "a"),
            ("A=", ""),
            ("A=   # comment", ""),
            ("A=a=b=", "a=b="),
            ("# comment\n\nB=1\r\nA=2\r\n", "2"),
        ] {
            assert_eq!(value(line), Ok(Some(expected.to_owned())), "{line}");
        }
        assert_eq!(value("B=1"), Ok(None));
    }

    #[test]
    fn what_could_mean_something_else_is_refused() {
        for line in [
            "A",
            "=1",
            "A B=1",
            "9A=1",
            "A=#secret",
            "A='open",
            "A=\"open",
            "A='a'b",
            "A=a b",
            "A=a\u{a0}",
            "A=a\u{a0} # comment",
            "A=a\rb",
            "A=a\\ b",
            "A=a'b'",
            "A=\"a\\nb\"",
            "A=1\nA=2",
        ] {
            let refused = value(line).unwrap_err();
            assert!(!refused.contains("secret"), "{refused}");
        }
        // What others need of the file is theirs.
        assert_eq!(value("B=a'b\nA=1"), Ok(Some("1".to_owned())));
    }
}
