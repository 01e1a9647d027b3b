//! Parses the records of a PAX extended header (POSIX.1-2017, pax, "Extended Header"): `length key=value\n`. Splits them by
//! length, because values may contain newlines. Drops all keys that are not listed here (extended attributes, ACLs, user
//! names, comments), and owners and times that are no numbers.

use super::sparse::{self, Map};

/// The fields of an entry that its extended header replaces.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Overrides {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) mtime: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    /// The entry is a sparse file in one of GNU tar's PAX formats.
    pub(super) sparse: Option<SparseRecords>,
    /// The entry is the rest of a file that began in an earlier volume of a multi-volume archive.
    pub(super) is_continuation: bool,
}

/// The `GNU.sparse.…` records of an entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SparseRecords {
    /// The name of the file; the header's own is made up.
    pub(super) name: Option<Vec<u8>>,
    major: Option<u64>,
    minor: Option<u64>,
    size: Option<u64>,
    /// Number of parts, as stated.
    parts: Option<u64>,
    /// The map of formats 0.0 and 0.1.
    map: Map,
}

/// Where the map of a sparse file is.
#[derive(Debug)]
pub(super) enum MapPlace {
    /// In the extended header.
    Here(Map),
    /// In front of the content. The value has the file's size only.
    InContent(Map),
}

impl Overrides {
    /// Whether any of them changes the entry's name, target or content.
    pub(super) fn rename_or_resize(&self) -> bool {
        self.path.is_some()
            || self.linkpath.is_some()
            || self.size.is_some()
            || self.sparse.is_some()
    }
}

impl SparseRecords {
    /// The map, or where it is. Error: the rule that the records break.
    pub(super) fn map_place(self) -> Result<MapPlace, &'static str> {
        match (self.major.unwrap_or(0), self.minor) {
            (1, None | Some(0)) => Ok(MapPlace::InContent(Map::of_size(self.size))),
            (0, None | Some(0 | 1)) => match self.parts {
                Some(parts) if parts != self.map.len() => {
                    Err("is a sparse file whose map has not as many parts as it says")
                }
                _ => Ok(MapPlace::Here(self.map.with_size(self.size))),
            },
            _ => Err("is a sparse file of an unknown version"),
        }
    }

    /// `None` if the value is malformed, or not the one that must come next.
    fn apply(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"name" => self.name = (!value.is_empty()).then(|| value.to_vec()),
            b"major" => self.major = Some(number(value)?),
            b"minor" => self.minor = Some(number(value)?),
            b"size" | b"realsize" => self.size = Some(number(value)?),
            b"numblocks" => self.parts = Some(number(value)?),
            b"offset" if !self.map.expects_length() => self.map.push(number(value)?).ok()?,
            b"numbytes" if self.map.expects_length() => self.map.push(number(value)?).ok()?,
            b"offset" | b"numbytes" => return None,
            b"map" if value.is_empty() => {}
            b"map" => {
                for field in value.split(|&byte| byte == b',') {
                    self.map.push(number(field)?).ok()?;
                }
            }
            _ => {}
        }
        Some(())
    }
}

/// Parses all records; `None` if one is malformed. A later record replaces an earlier one; an empty value removes it.
pub(super) fn parse(mut records: &[u8]) -> Option<Overrides> {
    let mut overrides = Overrides::default();
    // Some writers count the padding as part of the records.
    while records.iter().any(|&byte| byte != 0) {
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
    let length = usize::try_from(sparse::decimal(&records[..space])?).ok()?;
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
        b"size" if value.is_empty() => overrides.size = None,
        b"size" => overrides.size = Some(number(value)?),
        b"uid" => overrides.uid = number(value),
        b"gid" => overrides.gid = number(value),
        b"mtime" => overrides.mtime = seconds(value),
        b"GNU.volume.offset" => overrides.is_continuation = true,
        _ => {
            if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                let sparse = overrides.sparse.get_or_insert_default();
                sparse.apply(key, value)?;
            }
        }
    }
    Some(())
}

/// Parses digits, with spaces around them.
fn number(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    match digits.is_empty() {
        true => None,
        false => sparse::decimal(digits),
    }
}

/// Parses a time in any notation of floating-point numbers, rounded down to seconds; a time before 1970 is 0.
fn seconds(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii();
    let whole = value.split(|&byte| byte == b'.').next()?;
    number(whole)
        .filter(|_| !value.contains(&b'e'))
        .or_else(|| {
            let time: f64 = str::from_utf8(value).ok()?.parse().ok()?;
            // The cast rounds down and keeps to the limits of the type.
            time.is_finite().then_some(time as u64)
        })
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
        assert!(parse(b"22 GNU.sparse.major=1\n").unwrap().sparse.is_some());
    }

    #[test]
    fn odd_owners_and_times_are_no_fault() {
        let cases: [(&[u8], Option<u64>, Option<u64>); 9] = [
            (b"15 mtime=1e-05\n", None, Some(0)),
            (b"16 mtime=1.5e+3\n", None, Some(1500)),
            (b"15 mtime=-1.75\n", None, Some(0)),
            (b"17 mtime=Infinity\n", None, None),
            (b"13 mtime=nan\n", None, None),
            (b"15 mtime=banana\n", None, None),
            (b"10 uid=-2\n", None, None),
            (b"33 uid=123456789012345678901234\n", None, None),
            (b"10 uid= 7\n", Some(7), None),
        ];
        for (records, uid, mtime) in cases {
            let text = records.escape_ascii().to_string();
            let space = records.iter().position(|&byte| byte == b' ').unwrap();
            let records = [records.len().to_string().as_bytes(), &records[space..]].concat();
            let read = parse(&records).unwrap();
            assert_eq!((read.uid, read.mtime), (uid, mtime), "{text}");
        }
        assert_eq!(
            parse(b"10 path=a\n\0\0\0").unwrap().path.unwrap(),
            b"a",
            "padding that is counted"
        );
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
