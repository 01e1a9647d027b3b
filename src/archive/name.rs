//! Names inside archives: which are allowed, their one spelling, and how they are shown to people. Names are bytes,
//! as they are on Linux.

/// Longest name, in bytes (`PATH_MAX`).
const MAX_NAME: usize = 4096;
/// Longest part of a name between two slashes, in bytes (`NAME_MAX`).
const MAX_COMPONENT: usize = 255;
/// Most parts of a name.
const MAX_DEPTH: usize = 255;
/// Most characters of a name in a message.
const MAX_SHOWN: usize = 120;

/// A name's one spelling: no `.` parts, no empty parts, no slash at either end. The archive's own root is the empty
/// name. Otherwise the rule that the name breaks.
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
    let mut spelled = Vec::with_capacity(name.len());
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
        push(&mut spelled, component);
    }
    Ok(spelled)
}

/// Appends a spelled name to a directory's.
pub(super) fn push(directory: &mut Vec<u8>, name: &[u8]) {
    if !directory.is_empty() && !name.is_empty() {
        directory.push(b'/');
    }
    directory.extend_from_slice(name);
}

/// Drops the first `count` parts of a spelled name; the empty name when there are no more.
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

/// The first part of a spelled name.
pub(super) fn top(name: &[u8]) -> &[u8] {
    name.split(|&byte| byte == b'/').next().unwrap_or_default()
}

/// Why a relative path is not allowed as the name of a file in an archive, worded to follow it; `None` when it is.
pub fn file_name_fault(path: &str) -> Option<String> {
    match normalise(path.as_bytes()) {
        Err(rule) => Some(rule.to_owned()),
        Ok(spelled) if spelled.is_empty() => Some("names no file".to_owned()),
        Ok(_) if path.ends_with('/') || path.ends_with("/.") => {
            Some("names a directory, not a file".to_owned())
        }
        Ok(_) => None,
    }
}

/// A name for messages: shortened, and escaped so that no control character reaches a log or a terminal.
pub(super) fn shown(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        chunk.valid().chars().for_each(|c| match c {
            '\'' | '"' => text.push(c),
            c => text.extend(c.escape_debug()),
        });
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
        if text.len() > MAX_NAME {
            break;
        }
    }
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
