//! Names of archive entries: which are allowed, their normal form, and their display in messages. Names are bytes, as on
//! Linux.

/// Longest name, in bytes (`PATH_MAX`).
const MAX_NAME: usize = 4096;
/// Longest component of a name, in bytes (`NAME_MAX`).
const MAX_COMPONENT: usize = 255;
/// Most components of a name.
const MAX_DEPTH: usize = 255;
/// Most characters of a name in a message.
const MAX_DISPLAYED: usize = 120;

/// The normal form of a name: no `.` components, no empty components, no slash at either end. The archive's root is the
/// empty name. Error: the rule that the name breaks, worded to follow the name.
pub(super) fn normalise(name: &[u8]) -> Result<Vec<u8>, &'static str> {
    if name.is_empty() {
        return Err("has an empty name");
    }
    if name.len() > MAX_NAME {
        return Err("has a name longer than 4096 bytes");
    }
    if name.contains(&0) {
        return Err("has a NUL byte in its name");
    }
    if name.starts_with(b"/") {
        return Err("has an absolute name");
    }
    let mut normalised = Vec::with_capacity(name.len());
    let mut depth = 0;
    for component in name.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => return Err("has `..` in its name"),
            long if long.len() > MAX_COMPONENT => {
                return Err("has a part longer than 255 bytes in its name");
            }
            _ => {}
        }
        depth += 1;
        if depth > MAX_DEPTH {
            return Err("lies more than 255 directories deep");
        }
        push(&mut normalised, component);
    }
    Ok(normalised)
}

/// Whether a directory's name is one of those that tools give to the archive's root: empty, `.`, `./`, `/`, `//`, ….
pub(super) fn is_root(name: &[u8]) -> bool {
    name.split(|&byte| byte == b'/')
        .all(|component| matches!(component, b"" | b"."))
}

/// Appends a normalised name to a directory's.
pub(super) fn push(directory: &mut Vec<u8>, name: &[u8]) {
    if !directory.is_empty() && !name.is_empty() {
        directory.push(b'/');
    }
    directory.extend_from_slice(name);
}

/// Drops the first `count` components of a normalised name; empty if it has no more.
pub(super) fn strip(name: &[u8], count: usize) -> &[u8] {
    let mut rest = name;
    for _ in 0..count {
        rest = match rest.iter().position(|&byte| byte == b'/') {
            Some(slash) => &rest[slash + 1..],
            None => return &[],
        };
    }
    rest
}

/// The first component of a normalised name.
pub(super) fn top(name: &[u8]) -> &[u8] {
    name.split(|&byte| byte == b'/').next().unwrap_or_default()
}

/// Checks a relative path as the name of a file in an archive. `None` if it is allowed, else the rule that it breaks, worded
/// to follow the path.
pub fn file_name_fault(path: &str) -> Option<String> {
    match normalise(path.as_bytes()) {
        Err(rule) => Some(rule.to_owned()),
        Ok(normalised) if normalised.is_empty() => Some("names no file".to_owned()),
        Ok(_) if path.ends_with('/') || path.ends_with("/.") => {
            Some("names a directory, not a file".to_owned())
        }
        Ok(_) => None,
    }
}

/// A name for messages: shortened, with control characters and invalid UTF-8 escaped.
pub(super) fn for_display(name: &[u8]) -> String {
    let mut text = String::new();
    // A character takes at most four bytes.
    let enough = &name[..name.len().min(4 * MAX_DISPLAYED + 4)];
    for chunk in enough.utf8_chunks() {
        chunk.valid().chars().for_each(|c| match c {
            '\'' | '"' => text.push(c),
            c => text.extend(c.escape_debug()),
        });
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    match text.char_indices().nth(MAX_DISPLAYED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        let cases: [(&[u8], &[u8]); 9] = [
            (b"a", b"a"),
            (b"./a", b"a"),
            (b"a/./b", b"a/b"),
            (b"a//b/", b"a/b"),
            (b"./", b""),
            (b".", b""),
            (b"..a/b..", b"..a/b.."),
            (b"a\\..\\b\n", b"a\\..\\b\n"),
            (b"\xff\xfe", b"\xff\xfe"),
        ];
        for (name, normalised) in cases {
            assert_eq!(
                normalise(name),
                Ok(normalised.to_vec()),
                "{}",
                name.escape_ascii()
            );
        }
    }

    #[test]
    fn a_bad_name_is_refused_with_the_rule_it_breaks() {
        let long = "x".repeat(256);
        let longest = "x/".repeat(2049);
        let deep = "x/".repeat(256);
        let cases = [
            ("", "empty"),
            ("/a", "absolute"),
            ("//a", "absolute"),
            ("..", "`..`"),
            ("a/..", "`..`"),
            ("a/../b", "`..`"),
            ("./../b", "`..`"),
            ("a\0b", "NUL"),
            (long.as_str(), "longer than 255"),
            (longest.as_str(), "longer than 4096"),
            (deep.as_str(), "255 directories deep"),
        ];
        for (name, rule) in cases {
            assert!(
                normalise(name.as_bytes()).unwrap_err().contains(rule),
                "{name:?}"
            );
            assert!(file_name_fault(name).unwrap().contains(rule), "{name:?}");
        }
        assert!(normalise("x/".repeat(255).as_bytes()).is_ok());
        assert!(normalise("x".repeat(255).as_bytes()).is_ok());
    }

    #[test]
    fn a_directory_name_is_no_file_name() {
        assert_eq!(file_name_fault("dir/file.txt"), None);
        assert_eq!(file_name_fault("./a b"), None);
        for name in [".", "./", "dir/", "dir/."] {
            assert!(file_name_fault(name).is_some(), "{name}");
        }
    }

    #[test]
    fn strip_drops_leading_components_and_empties_short_names() {
        assert_eq!(strip(b"a/b/c", 0), b"a/b/c");
        assert_eq!(strip(b"a/b/c", 2), b"c");
        assert_eq!(strip(b"a/b", 2), b"");
        assert_eq!(strip(b"a", usize::MAX), b"");
    }

    #[test]
    fn displayed_names_are_short_and_printable() {
        assert_eq!(for_display("ä'b".as_bytes()), "ä'b");
        assert_eq!(for_display(b"a\n\x1b[31m\xff"), "a\\n\\u{1b}[31m\\xff");
        assert_eq!(for_display("\u{202e}gpj".as_bytes()), "\\u{202e}gpj");
        assert_eq!(for_display(&[b'a'; 5000]), format!("{}…", "a".repeat(120)));
        assert_eq!(
            for_display("😀".repeat(300).as_bytes()),
            format!("{}…", "😀".repeat(120))
        );
    }
}
