//! Matches text against patterns in which `*` matches any number of characters. Every other character matches
//! itself. Needs no recursion and no memory.

/// Whether the whole text matches the pattern. Upper and lower case differ.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    matches_by(pattern, text, u8::eq)
}

/// Whether the whole text matches the pattern, whatever the case of ASCII letters.
pub(crate) fn matches_ignore_ascii_case(pattern: &str, text: &str) -> bool {
    matches_by(pattern, text, u8::eq_ignore_ascii_case)
}

fn matches_by(pattern: &str, text: &str, is_same: fn(&u8, &u8) -> bool) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go back to after a mismatch: the last `*`, and the text that it has not taken yet.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|c| is_same(c, &text[t])) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            (p, t) = (star + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_number_of_characters() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "a.example.com.evil", false),
            ("https://*.x", "https://a.x", true),
            ("https://*.x", "http://a.x", false),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXb", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
            let ignoring_case = matches_ignore_ascii_case(pattern, &text.to_ascii_uppercase());
            assert_eq!(ignoring_case, expected, "{pattern} {text}, in upper case");
        }
        assert!(!matches("*.example.com", "a.EXAMPLE.com"));
    }
}
