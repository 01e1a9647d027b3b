//! The `Prefer` header field: <https://www.rfc-editor.org/rfc/rfc7240#section-2>. Knows no preference by its name.

/// The preferences of a request, in their order.
#[derive(Debug)]
pub(super) struct Prefer(Vec<Preference>);

#[derive(Debug)]
struct Preference {
    /// In lower case.
    name: String,
    /// Empty if there is none: an empty value means the same.
    value: String,
}

impl Prefer {
    /// Parses the values of all `Prefer` fields of a request. Parameters are passed over, because no preference that this
    /// server knows has any. What cannot be parsed is left out, as unknown preferences are to be.
    pub(super) fn parse<'a>(fields: impl Iterator<Item = &'a str>) -> Self {
        let preferences = fields.flat_map(|field| split_unquoted(field, ','));
        Self(preferences.filter_map(Preference::parse).collect())
    }

    /// The value of a preference, of whose instances the first one counts. Empty: it has none. `None`: the request does not
    /// have this preference.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let first = self.0.iter().find(|preference| preference.name == name);
        first.map(|preference| preference.value.as_str())
    }
}

impl Preference {
    fn parse(text: &str) -> Option<Self> {
        let without_parameters = split_unquoted(text, ';').into_iter().next()?;
        let (name, value) = without_parameters
            .split_once('=')
            .unwrap_or((without_parameters, ""));
        let (name, value) = (name.trim(), value.trim());
        Some(Self {
            name: is_token(name).then(|| name.to_ascii_lowercase())?,
            value: match value.strip_prefix('"') {
                Some(quoted) => unquote(quoted)?,
                None if value.is_empty() || is_token(value) => value.to_owned(),
                None => return None,
            },
        })
    }
}

/// Splits at each separator that is not within a quoted string.
fn split_unquoted(text: &str, separator: char) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let is_separator = |letter: char| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match letter {
            '"' if !was_escaped => is_quoted = !is_quoted,
            '\\' if is_quoted => is_escaped = !was_escaped,
            _ => {}
        }
        letter == separator && !is_quoted
    };
    text.split(is_separator).collect()
}

/// The content of a quoted string, given without its first quotation mark. `None`: it does not end where the text does.
fn unquote(text: &str) -> Option<String> {
    let mut content = String::new();
    let mut letters = text.chars();
    loop {
        match letters.next()? {
            '"' => return letters.next().is_none().then_some(content),
            '\\' => content.push(letters.next()?),
            letter => content.push(letter),
        }
    }
}

/// Whether this is a token (RFC 9110 §5.6.2).
fn is_token(text: &str) -> bool {
    let is_token_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_instance_of_a_preference_counts_and_quotes_and_parameters_are_its_own() {
        for (fields, wait, respond_async) in [
            (&["wait=1", "wait=4"][..], Some("1"), false),
            (&["wait=1, wait=4"], Some("1"), false),
            (&["WAIT = 1 ,Respond-Async"], Some("1"), true),
            (&["wait=\"1\""], Some("1"), false),
            (&["wait=x, wait=4"], Some("x"), false),
            (&["wait"], Some(""), false),
            (&["respond-async;foo=bar"], None, true),
            (&["respond-async=\"\" "], None, true),
            (&["foo, respond-async"], None, true),
            (&["foo=\"a,b\"; c=\"d;e\", respond-async"], None, true),
            (&["foo; respond-async"], None, false),
            (&["foo;wait=0"], None, false),
            (&["foo=\"x, respond-async\""], None, false),
            (&["foo=\"x; wait=0\""], None, false),
            (&["foo=\"a\\\"b, respond-async, c\""], None, false),
            (&["foo=\"a\\\\\", respond-async"], None, true),
            (&["foo=\"open, respond-async", "wait=2"], Some("2"), false),
            (&["respond-asyncx, ,;,=, =1, a b"], None, false),
            (&["wait=1 2"], None, false),
            (&["wait=\"1\"2"], None, false),
            (&[""], None, false),
            (&[], None, false),
        ] {
            let prefer = Prefer::parse(fields.iter().copied());
            assert_eq!(prefer.value("wait"), wait, "{fields:?}");
            let found = prefer.value("respond-async");
            assert_eq!(found, respond_async.then_some(""), "{fields:?}");
        }
    }
}
