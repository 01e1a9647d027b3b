//! Parses the records of a PAX extended header (POSIX.1-2017, pax, "Extended Header"): `length key=value\n`. Splits them by
//! length, because values may contain newlines. Drops all keys that are not listed here (extended attributes, ACLs, user
//! names).

/// The fields of an entry that its extended header replaces.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Overrides {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) mtime: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    /// The entry is a sparse file in one of GNU tar's PAX dialects.
    pub(super) sparse: bool,
}

impl Overrides {
    /// Whether any of them changes the entry's name, target or content.
    pub(super) fn rename_or_resize(&self) -> bool {
        self.path.is_some() || self.linkpath.is_some() || self.size.is_some() || self.sparse
    }
}

/// Parses all records; `None` if one is malformed. A later record replaces an earlier one; an empty value removes it.
pub(super) fn parse(mut records: &[u8]) -> Option<Overrides> {
    let mut overrides = Overrides::default();
    while !records.is_empty() {
        let record = first_record(records)?;
        apply(&mut overrides, record.key, record.value)?;
        records = record.rest;
    }
    Some(overrides)
}

/// One record, and the bytes after it.
struct Record<'r> {
    key: &'r [u8],
    value: &'r [u8],
    rest: &'r [u8],
}

fn first_record(records: &[u8]) -> Option<Record<'_>> {
    let space = records.iter().position(|&byte| byte == b' ')?;
    let length = usize::try_from(number(&records[..space])?).ok()?;
    let body = records.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|&byte| byte == b'=')?;
    Some(Record {
        key: &body[..equals],
        value: &body[equals + 1..],
        rest: &records[length..],
    })
}

fn apply(overrides: &mut Overrides, key: &[u8], value: &[u8]) -> Option<()> {
    let bytes = (!value.is_empty()).then(|| value.to_vec());
    match key {
        b"path" => overrides.path = bytes,
        b"linkpath" => overrides.linkpath = bytes,
        b"size" => overrides.size = optional(value, number)?,
        b"uid" => overrides.uid = optional(value, number)?,
        b"gid" => overrides.gid = optional(value, number)?,
        b"mtime" => overrides.mtime = optional(value, seconds)?,
        _ => overrides.sparse |= key.starts_with(b"GNU.sparse."),
    }
    Some(())
}

/// `Some(None)` for an empty value, `None` for a malformed one.
fn optional(value: &[u8], read: fn(&[u8]) -> Option<u64>) -> Option<Option<u64>> {
    if value.is_empty() {
        Some(None)
    } else {
        read(value).map(Some)
    }
}

/// Parses digits; no sign and no space.
fn number(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

/// Parses a time, rounded down to seconds; a time before 1970 is 0.
fn seconds(value: &[u8]) -> Option<u64> {
    let whole = value.split(|&byte| byte == b'.').next()?;
    match whole.strip_prefix(b"-") {
        Some(before) => number(before).map(|_| 0),
        None => number(whole),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn records_override_what_the_header_says() {
        let read = parse(b"12 path=a/b\n14 size=12345\n22 mtime=1700000000.5\n").unwrap();
        assert_eq!(read.path.unwrap(), b"a/b");
        assert_eq!((read.size, read.mtime), (Some(12345), Some(1_700_000_000)));
    }

    #[test]
    fn values_may_contain_newlines_and_equals_signs_and_may_be_removed() {
        assert_eq!(parse(b"13 path=a\n=b\n").unwrap().path.unwrap(), b"a\n=b");
        assert_eq!(
            parse(b"10 path=a\n8 path=\n").unwrap_or_default().path,
            None
        );
        assert_eq!(
            parse(b"10 path=a\n10 path=b\n").unwrap().path.unwrap(),
            b"b"
        );
    }

    #[test]
    fn unknown_keys_are_dropped_but_sparse_files_are_detected() {
        assert_eq!(
            parse(b"30 SCHILY.xattr.user.x=\x00\x01\n\xff12\n"),
            Some(Overrides::default())
        );
        assert!(parse(b"22 GNU.sparse.major=1\n").unwrap().sparse);
    }

    #[test]
    fn malformed_records_are_refused() {
        let cases: [&[u8]; 10] = [
            b"x",
            b"10",
            b"10 path=a",
            b"8 path=a\n",
            b"11 path=a\n",
            b"+10 path=a\n",
            b"8 patha\n",
            b"0 \n",
            b"99999999999999999999 path=a\n",
            b"11 size=-1\n",
        ];
        for case in cases {
            assert_eq!(parse(case), None, "{}", case.escape_ascii());
        }
    }
}
