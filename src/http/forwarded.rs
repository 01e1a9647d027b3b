//! The path below which a proxy in front of the server publishes it (`X-Forwarded-Prefix`).

/// Longest prefix, in bytes.
const LONGEST: usize = 1024;

/// The prefix in a field, without a slash at the end; several proxies give one each, the outermost first. Empty unless all of
/// them are plain paths: a name of another host must not get into a link.
pub(super) fn path_prefix(field: &str) -> String {
    let prefixes = field.split(',').map(str::trim);
    let prefixes: Vec<&str> = prefixes
        .map(|prefix| prefix.strip_suffix('/').unwrap_or(prefix))
        .filter(|prefix| !prefix.is_empty())
        .collect();
    let is_fine = field.len() <= LONGEST && prefixes.iter().all(|prefix| is_plain_path(prefix));
    match is_fine {
        true => prefixes.concat(),
        false => String::new(),
    }
}

fn is_plain_path(path: &str) -> bool {
    path.strip_prefix('/')
        .is_some_and(|segments| segments.split('/').all(is_plain_segment))
}

fn is_plain_segment(segment: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@+".contains(&byte);
    !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::path_prefix;

    #[test]
    fn only_plain_paths_are_prefixes() {
        for (field, prefix) in [
            ("/runner", "/runner"),
            ("/runner/", "/runner"),
            ("/a/b-c_d.e~f", "/a/b-c_d.e~f"),
            ("/outer, /inner/", "/outer/inner"),
            ("/", ""),
            ("", ""),
            ("/, /a", "/a"),
            ("runner", ""),
            ("//evil.com", ""),
            ("/a//b", ""),
            ("/a, //evil.com", ""),
            ("/a/..", ""),
            ("/./a", ""),
            ("http://evil.com/a", ""),
            ("/\\evil.com", ""),
            ("/a?b", ""),
            ("/a#b", ""),
            ("/a%2f", ""),
            ("/a b", ""),
            ("/é", ""),
        ] {
            assert_eq!(path_prefix(field), prefix, "{field}");
        }
        assert_eq!(path_prefix(&"/a".repeat(600)), "");
    }
}
