//! Hostile and odd archives, built by hand where tools refuse to write them, against the checks of the archive room.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use oneoff_docker_runner::archive::{
    Collected, Error, Limits, Packer, Summary, UidGid, check_targz, check_targz_stripped,
    collect_directory, collect_file, decode_base64, encode_base64, file_name_fault,
};

const LIMITS: Limits = Limits {
    unpacked_bytes: 1 << 20,
    entries: 1000,
};
const OWNER: UidGid = UidGid {
    uid: 1234,
    gid: 3_000_000,
};

// ---- building -------------------------------------------------------------------------------------------------------

/// One raw entry: a header of which every field can be spoiled, and the bytes after it.
#[derive(Clone)]
struct Raw {
    header: [u8; 512],
    content: Vec<u8>,
}

impl Raw {
    fn new(kind: u8, name: &str, content: &[u8]) -> Self {
        let mut raw = Self {
            header: [0; 512],
            content: content.to_vec(),
        };
        raw.header[257..265].copy_from_slice(b"ustar  \0");
        raw.header[156] = kind;
        raw.at(0, name.as_bytes())
            .octal(100, 7, 0o644)
            .octal(108, 7, 1000)
            .octal(116, 7, 1000);
        raw.octal(124, 11, content.len() as u64)
            .octal(136, 11, 1_700_000_000);
        raw
    }
    fn at(&mut self, offset: usize, bytes: &[u8]) -> &mut Self {
        self.header[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }
    fn octal(&mut self, offset: usize, digits: usize, value: u64) -> &mut Self {
        self.at(offset, format!("{value:0digits$o}\0").as_bytes())
    }
    fn bytes(&self) -> Vec<u8> {
        let mut header = self.header;
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut bytes = header.to_vec();
        bytes.extend(&self.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

fn file(name: &str, content: &str) -> Raw {
    Raw::new(b'0', name, content.as_bytes())
}
fn directory(name: &str) -> Raw {
    let mut raw = Raw::new(b'5', name, b"");
    raw.octal(100, 7, 0o755);
    raw
}
fn link(kind: u8, name: &str, target: &str) -> Raw {
    let mut raw = Raw::new(kind, name, b"");
    raw.at(157, target.as_bytes());
    raw
}
fn symlink(name: &str, target: &str) -> Raw {
    link(b'2', name, target)
}
fn hardlink(name: &str, target: &str) -> Raw {
    link(b'1', name, target)
}

fn tar(entries: &[Raw]) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(Raw::bytes).collect();
    bytes.extend([0; 1024]);
    bytes
}
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
fn targz(entries: &[Raw]) -> String {
    encode_base64(&gzip(&tar(entries)))
}
fn check(entries: &[Raw]) -> Result<Summary, Error> {
    check_targz(&targz(entries), LIMITS)
}
fn pack(base64: &str, limits: Limits) -> Result<Vec<u8>, Error> {
    let mut packer = Packer::new(Vec::new(), OWNER);
    packer.targz("top", base64, 0, limits)?;
    packer.finish()
}

/// A PAX extended header with these records.
fn pax(kind: u8, records: &[(&str, &[u8])]) -> Raw {
    let mut content = Vec::new();
    for (key, value) in records {
        let rest = 3 + key.len() + value.len();
        let length = (rest + 1..)
            .find(|length| rest + length.to_string().len() == *length)
            .unwrap();
        content.extend(format!("{length} {key}=").bytes());
        content.extend(*value);
        content.push(b'\n');
    }
    Raw::new(kind, "PaxHeaders/x", &content)
}
fn long(kind: u8, text: &str) -> Raw {
    Raw::new(kind, "././@LongLink", &[text.as_bytes(), b"\0"].concat())
}

/// SplitMix64: the same attacks every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// What an independent reader finds in a tar: name, type, target, mode, content.
type Seen = (String, u8, String, u32, Vec<u8>);

fn entries(tar: &[u8]) -> Vec<Seen> {
    let mut archive = tar::Archive::new(tar);
    let read = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let target = entry
            .link_name_bytes()
            .map(|bytes| text(&bytes))
            .unwrap_or_default();
        let header = entry.header();
        (
            text(&entry.path_bytes()),
            header.entry_type().as_byte(),
            target,
            header.mode().unwrap(),
            content,
        )
    });
    read.collect()
}

// ---- what is let in -------------------------------------------------------------------------------------------------

#[test]
fn an_ordinary_archive_is_packed_below_a_name_with_a_new_owner() {
    let archive = [
        directory("./"),
        directory("./bin/"),
        file("./bin/run", "#!/bin/sh\n"),
        symlink("./bin/sh", "/bin/busybox"),
        hardlink("./bin/run2", "./bin/run"),
    ];
    let packed = pack(&targz(&archive), LIMITS).unwrap();
    let names: Vec<_> = entries(&packed)
        .into_iter()
        .map(|seen| (seen.0, seen.1 as char, seen.2))
        .collect();
    let expected = [
        ("top/bin/", '5', ""),
        ("top/bin/run", '0', ""),
        ("top/bin/sh", '2', "/bin/busybox"),
        ("top/bin/run2", '1', "top/bin/run"),
    ];
    assert_eq!(
        names,
        expected.map(|(name, kind, target)| (name.to_owned(), kind, target.to_owned()))
    );
    for entry in tar::Archive::new(&packed[..]).entries().unwrap() {
        let header = entry.unwrap().header().clone();
        assert_eq!(
            (header.uid().unwrap(), header.gid().unwrap()),
            (1234, 3_000_000)
        );
        assert_eq!(header.mtime().unwrap(), 1_700_000_000);
        assert_eq!(
            (header.username_bytes(), header.groupname_bytes()),
            (Some(&b""[..]), Some(&b""[..]))
        );
    }
}

#[test]
fn mode_bits_stay_but_setuid_and_setgid_go() {
    for (kind, mode, kept) in [
        (b'0', 0o6755, 0o755),
        (b'0', 0o7777, 0o1777),
        (b'5', 0o3770, 0o1770),
        (b'5', 0o40500, 0o500),
    ] {
        let mut raw = Raw::new(kind, "x", b"");
        raw.octal(100, 7, mode);
        assert_eq!(
            entries(&pack(&targz(&[raw]), LIMITS).unwrap())[0].3,
            kept,
            "{mode:o}"
        );
    }
    let mut packer = Packer::new(Vec::new(), OWNER);
    packer.file("x", 0o4755, b"").unwrap();
    assert_eq!(entries(&packer.finish().unwrap())[0].3, 0o755);
}

#[test]
fn names_of_any_length_and_bytes_come_through() {
    let name = format!("{}/{}", "d".repeat(200), "ü\n=x".repeat(30));
    let target = "t".repeat(300);
    let archives = [
        vec![
            long(b'L', &name),
            long(b'K', &target),
            symlink("short", "short"),
        ],
        vec![
            long(b'K', &target),
            long(b'L', &name),
            symlink("short", "short"),
        ],
        vec![
            pax(
                b'x',
                &[("path", name.as_bytes()), ("linkpath", target.as_bytes())],
            ),
            symlink("s", "s"),
        ],
    ];
    for archive in archives {
        let seen = entries(&pack(&targz(&archive), LIMITS).unwrap());
        let packed = format!("top/{name}").as_bytes().escape_ascii().to_string();
        assert_eq!(
            (&seen[1].0, seen[1].1, &seen[1].2),
            (&packed, b'2', &target)
        );
        assert_eq!(
            seen[0].0,
            format!("top/{}/", "d".repeat(200)),
            "its directory is made"
        );
    }
    let mut raw = file("x", "");
    raw.at(0, b"\xff\xfe\\");
    assert_eq!(
        entries(&pack(&targz(&[raw]), LIMITS).unwrap())[0].0,
        r"top/\xff\xfe\\"
    );
}

#[test]
fn posix_prefixes_and_old_headers_are_read() {
    let mut posix = file("name", "x");
    posix.at(257, b"ustar\x0000").at(345, b"some/prefix");
    let mut old = Raw::new(0, "dir/", b"");
    old.at(257, &[0; 8]);
    let seen = entries(&pack(&targz(&[posix, old]), LIMITS).unwrap());
    let names: Vec<_> = seen.iter().map(|seen| (seen.0.as_str(), seen.1)).collect();
    let implied = [("top/some/", b'5'), ("top/some/prefix/", b'5')];
    assert_eq!(names[..2], implied);
    assert_eq!(
        names[2..],
        [("top/some/prefix/name", b'0'), ("top/dir/", b'5')]
    );
}

#[test]
fn extended_attributes_and_user_names_are_dropped() {
    let capability: &[u8] = b"\x01\0\0\x02\0\x04\0\0\n\0\0\0";
    let extended = pax(
        b'x',
        &[
            ("SCHILY.xattr.security.capability", capability),
            ("uname", b"root"),
            ("uid", b"0"),
        ],
    );
    let global = pax(b'g', &[("comment", b"3eb24cf"), ("mtime", b"1")]);
    let packed = pack(&targz(&[global, extended, file("ping", "x")]), LIMITS).unwrap();
    assert!(
        !packed
            .windows(6)
            .any(|window| window == b"SCHILY" || window == b"3eb24c")
    );
    let mut archive = tar::Archive::new(&packed[..]);
    let entry = archive.entries().unwrap().next().unwrap().unwrap();
    assert_eq!(
        (
            entry.header().uid().unwrap(),
            entry.header().username().unwrap()
        ),
        (1234, Some(""))
    );
}

#[test]
fn a_size_in_an_extended_header_is_the_size() {
    let hidden = file("hidden", "inside");
    let inner = hidden.bytes();
    // the header says nothing follows, the extended header says 1024 bytes do
    let mut outer = Raw::new(b'0', "outer", &inner);
    outer.octal(124, 11, 0);
    let size = inner.len().to_string();
    let packed = pack(
        &targz(&[pax(b'x', &[("size", size.as_bytes())]), outer]),
        LIMITS,
    )
    .unwrap();
    let seen = entries(&packed);
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].0.as_str(), &seen[0].4), ("top/outer", &inner));
}

#[test]
fn gzip_members_and_padding_are_read_as_gzip_reads_them() {
    let bytes = tar(&[file("a", &"x".repeat(5000)), file("b", "y")]);
    let (first, second) = bytes.split_at(700);
    let members = [gzip(first), gzip(b""), gzip(second)].concat();
    for padding in [0, 1, 511, 200_000] {
        let padded = [members.as_slice(), &vec![0; padding]].concat();
        let summary = check_targz(&encode_base64(&padded), LIMITS).unwrap();
        assert_eq!((summary.entries, summary.unpacked_bytes), (2, 5001));
    }
}

#[test]
fn an_archive_may_end_without_its_end_mark_but_not_within_an_entry() {
    let whole = [file("a", "x").bytes(), file("b", "y").bytes()].concat();
    let check = |bytes: &[u8]| check_targz(&encode_base64(&gzip(bytes)), LIMITS);
    assert_eq!(check(&whole).unwrap().entries, 2);
    assert_eq!(
        check(&[whole.as_slice(), &[0; 512]].concat())
            .unwrap()
            .entries,
        2
    );
    for cut in [1, 100, 511, 513, 1023, 1024 + 200, 1024 + 512] {
        let error = check(&whole[..cut]).unwrap_err();
        assert!(
            matches!(&error, Error::Tar(why) if why.contains("cut short")),
            "{cut}: {error}"
        );
    }
}

#[test]
fn a_shared_top_is_told() {
    let cases: [(&[Raw], Option<&str>); 10] = [
        (&[directory("d/"), file("d/x", "")], Some("d")),
        (&[file("d/x", ""), file("d/e/y", "")], Some("d")),
        (&[directory("d/")], Some("d")),
        (&[directory("./"), file("./d/x", "")], None),
        (&[file("./d/x", "")], None),
        (&[file("d/x", ""), file("./d/y", "")], None),
        (&[file("d/x", ""), file("e/x", "")], None),
        (&[file("d", "")], None),
        (&[symlink("d", "e")], None),
        (&[], None),
    ];
    for (archive, top) in cases {
        let summary = check(archive).unwrap();
        assert_eq!(
            summary.shared_top.as_deref(),
            top,
            "{archive:?}",
            archive = archive.len()
        );
        assert_eq!(summary.entries, archive.len() as u64);
    }
}

#[test]
fn leading_parts_are_dropped_from_names_and_hard_link_targets() {
    let archive = [
        directory("d/"),
        file("d/a", "x"),
        directory("d/e/"),
        hardlink("d/e/b", "d/a"),
        symlink("d/l", "d/a"),
    ];
    let mut packer = Packer::new(Vec::new(), OWNER);
    packer.targz("", &targz(&archive), 1, LIMITS).unwrap();
    let seen = entries(&packer.finish().unwrap());
    let names: Vec<_> = seen
        .iter()
        .map(|seen| (seen.0.as_str(), seen.2.as_str()))
        .collect();
    assert_eq!(names, [("a", ""), ("e/", ""), ("e/b", "a"), ("l", "d/a")]);
    let summary = check_targz_stripped(&targz(&archive), 9, LIMITS).unwrap();
    assert_eq!(
        summary.entries, 5,
        "an archive of which nothing is left is an empty one"
    );
}

#[test]
fn the_owner_gets_the_directories_that_names_imply() {
    let mut packer = Packer::new(Vec::new(), OWNER);
    packer.file("usr/bin/tool", 0o755, b"").unwrap();
    packer.directory("app", 0o777).unwrap();
    packer.file("app/a/b.txt", 0o644, b"b").unwrap();
    packer
        .targz("app/c", &targz(&[file("d/e", "")]), 0, LIMITS)
        .unwrap();
    let names: Vec<_> = entries(&packer.finish().unwrap())
        .into_iter()
        .map(|seen| seen.0)
        .collect();
    // never those of the image: `usr/` would change hands
    assert_eq!(
        names,
        [
            "usr/bin/tool",
            "app/",
            "app/a/",
            "app/a/b.txt",
            "app/c/d/",
            "app/c/d/e"
        ]
    );
}

#[test]
fn a_packer_takes_each_name_once_and_only_good_ones() {
    let mut packer = Packer::new(Vec::new(), OWNER);
    packer.directory(".", 0o755).unwrap();
    packer
        .targz("in", &targz(&[symlink("out", "/etc")]), 0, LIMITS)
        .unwrap();
    for (name, rule) in [
        ("in/out/passwd", "symbolic link"),
        ("in", "directory"),
        ("../x", "`..`"),
        ("/x", "absolute"),
        ("", "empty"),
    ] {
        let error = packer.file(name, 0o644, b"").unwrap_err();
        assert!(
            matches!(&error, Error::Entry { rule: told, .. } if told.contains(rule)),
            "{name}: {error}"
        );
    }
    assert_eq!(
        file_name_fault("a/../b").as_deref(),
        Some("has `..` in its name")
    );
    assert_eq!(entries(&packer.finish().unwrap())[0].0, "./");
}

// ---- what is refused ------------------------------------------------------------------------------------------------

#[test]
fn hostile_entries_are_refused_by_name_and_rule() {
    let deep = "d/".repeat(256) + "x";
    let wide = "w".repeat(256);
    let longest = "long/".repeat(1000);
    let mut contiguous_directory = directory("d/");
    contiguous_directory.octal(124, 11, 512);
    contiguous_directory.content = vec![b'x'; 512];
    let mut garbled_size = file("x", "");
    garbled_size.at(124, b"12 34 zz");
    let mut garbled_mode = file("x", "");
    garbled_mode.at(100, b"rw-r--r");
    let cases: Vec<(&str, &str, Vec<Raw>)> = vec![
        ("../x", "`..`", vec![file("../x", "")]),
        ("a/../../x", "`..`", vec![file("a/../../x", "")]),
        ("..", "`..`", vec![directory("..")]),
        ("/etc/passwd", "absolute", vec![file("/etc/passwd", "")]),
        ("/", "absolute", vec![directory("/")]),
        ("", "empty", vec![file("", "")]),
        (
            "../long",
            "`..`",
            vec![long(b'L', "../long"), file("x", "")],
        ),
        (
            "../pax",
            "`..`",
            vec![pax(b'x', &[("path", b"../pax")]), file("x", "")],
        ),
        (
            r"a\0b",
            "NUL",
            vec![pax(b'x', &[("path", b"a\0b")]), file("x", "")],
        ),
        (r"a\0b", "NUL", vec![long(b'L', "a\0b"), file("x", "")]),
        (
            "d/d/",
            "255 directories",
            vec![long(b'L', &deep), file("x", "")],
        ),
        (
            "www",
            "longer than 255",
            vec![long(b'L', &wide), file("x", "")],
        ),
        (
            "long/long",
            "longer than 4096",
            vec![long(b'L', &longest), file("x", "")],
        ),
        (
            "l/x",
            "through a symbolic link",
            vec![symlink("l", "/etc"), file("l/x", "")],
        ),
        (
            "./l//x/y",
            "through a symbolic link",
            vec![symlink("l", "/etc"), file("./l//x/y", "")],
        ),
        (
            "d/l/x",
            "through a symbolic link",
            vec![directory("d"), symlink("d/l", "."), directory("d/l/x")],
        ),
        (
            "l/h",
            "through a symbolic link",
            vec![file("f", ""), symlink("l", "/etc"), hardlink("l/h", "f")],
        ),
        (
            "l",
            "appears twice",
            vec![symlink("l", "/etc/cron.d/x"), file("l", "x")],
        ),
        (
            "l/",
            "appears twice",
            vec![symlink("l", "/etc"), directory("l/")],
        ),
        (
            "l",
            "is a directory earlier",
            vec![directory("l/"), symlink("l", "/etc")],
        ),
        (
            "l",
            "is a directory earlier",
            vec![file("l/x", ""), symlink("l", "/etc")],
        ),
        (
            "./f",
            "appears twice",
            vec![file("f", "a"), file("./f", "b")],
        ),
        ("f/x", "uses a file", vec![file("f", ""), file("f/x", "")]),
        (
            "h/x",
            "uses a file",
            vec![file("f", ""), hardlink("h", "f"), file("h/x", "")],
        ),
        (
            "h",
            "target has an absolute name",
            vec![hardlink("h", "/etc/shadow")],
        ),
        (
            "h",
            "target has `..`",
            vec![file("f", ""), hardlink("h", "d/../f")],
        ),
        ("h", "target has an empty name", vec![hardlink("h", "")]),
        (
            "h",
            "not an earlier file",
            vec![hardlink("h", "f"), file("f", "")],
        ),
        ("h", "not an earlier file", vec![hardlink("h", "h")]),
        (
            "h",
            "not an earlier file",
            vec![symlink("l", "/etc"), hardlink("h", "l/shadow")],
        ),
        (
            "h",
            "target is a symbolic link",
            vec![symlink("l", "/etc/shadow"), hardlink("h", "./l")],
        ),
        (
            "h",
            "target is a directory",
            vec![directory("d"), hardlink("h", "d")],
        ),
        ("h", "target is a directory", vec![hardlink("h", ".")]),
        ("s", "without a target", vec![symlink("s", "")]),
        (
            "s",
            "NUL byte in its target",
            vec![long(b'K', "a\0b"), symlink("s", "")],
        ),
        (
            "s",
            "longer than 4096",
            vec![long(b'K', &longest), symlink("s", "")],
        ),
        ("dev", "character device", vec![Raw::new(b'3', "dev", b"")]),
        ("dev", "block device", vec![Raw::new(b'4', "dev", b"")]),
        ("fifo", "FIFO", vec![Raw::new(b'6', "fifo", b"")]),
        ("c", "contiguous", vec![Raw::new(b'7', "c", b"")]),
        ("s", "sparse", vec![Raw::new(b'S', "s", b"")]),
        (
            "s",
            "sparse",
            vec![
                pax(
                    b'x',
                    &[("GNU.sparse.major", b"1"), ("GNU.sparse.name", b"../s")],
                ),
                file("s", "1\n0\n"),
            ],
        ),
        ("v", "unknown type", vec![Raw::new(b'V', "v", b"")]),
        ("m", "unknown type", vec![Raw::new(b'M', "m", b"")]),
        ("d", "unknown type", vec![Raw::new(b'D', "d", b"")]),
        ("s", "unknown type", vec![Raw::new(b'X', "s", b"")]),
        ("q", "unknown type", vec![Raw::new(0xff, "q", b"")]),
        ("d/", "yet has content", vec![contiguous_directory]),
        ("f/", "yet has content", vec![file("f/", "x")]),
        (
            "h",
            "yet has content",
            vec![file("f", ""), Raw::new(b'1', "h", b"x")],
        ),
        ("x", "unreadable size", vec![garbled_size]),
        ("x", "unreadable mode", vec![garbled_mode]),
    ];
    for (entry, expected, archive) in cases {
        let error = check(&archive).unwrap_err();
        match &error {
            Error::Entry { name, rule } => {
                assert!(rule.contains(expected), "`{entry}`: {error}");
                assert!(
                    name.starts_with(entry) && name.chars().count() <= 121,
                    "`{entry}`: {error}"
                );
            }
            other => panic!("`{entry}` should break a rule ({expected}): {other:?}"),
        }
        let packing = pack(&targz(&archive), LIMITS).unwrap_err();
        assert_eq!(packing.to_string(), error.to_string());
    }
}

#[test]
fn stripping_is_checked_with_the_names_that_remain() {
    let cases = [
        (vec![file("a/x", ""), file("b/x", "")], "appears twice"),
        (
            vec![symlink("a/l", "/etc"), file("b/l/x", "")],
            "through a symbolic link",
        ),
        (
            vec![file("f", ""), hardlink("a/h", "f")],
            "target is a directory",
        ),
        (
            vec![file("a/f", ""), hardlink("b/h", "c/g")],
            "not an earlier file",
        ),
    ];
    for (archive, expected) in cases {
        let error = check_targz_stripped(&targz(&archive), 1, LIMITS).unwrap_err();
        assert!(
            matches!(&error, Error::Entry { rule, .. } if rule.contains(expected)),
            "{error}"
        );
    }
}

#[test]
fn what_is_not_a_targz_is_called_by_its_name() {
    let sound = gzip(&tar(&[file("x", "content")]));
    let mut wrong_checksum = sound.clone();
    let trailer = wrong_checksum.len() - 8;
    wrong_checksum[trailer] ^= 1;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("xz", b"\xfd7zXZ\0\0\x04".to_vec()),
        ("zstd", b"\x28\xb5\x2f\xfd\x04".to_vec()),
        ("bzip2", b"BZh91AY&SY".to_vec()),
        ("zip", b"PK\x03\x04\x14".to_vec()),
        ("a plain tar", tar(&[file("x", "")])),
        ("base64 of base64", encode_base64(&sound).into_bytes()),
        ("does not begin as gzip", b"hello".to_vec()),
        ("is empty", Vec::new()),
        ("cut short", sound[..sound.len() - 1].to_vec()),
        ("cut short", sound[..sound.len() - 9].to_vec()),
        ("cut short", sound[..20].to_vec()),
        ("cut short", sound[..2].to_vec()),
        ("damaged", wrong_checksum),
        ("follows it", [sound.as_slice(), b"garbage"].concat()),
        (
            "follows it",
            [sound.as_slice(), &[0; 300_000], b"x"].concat(),
        ),
        ("cut short", [sound.as_slice(), &sound[..15]].concat()),
    ];
    for (expected, bytes) in cases {
        let error = check_targz(&encode_base64(&bytes), LIMITS).unwrap_err();
        assert!(
            matches!(&error, Error::Gzip(why) if why.contains(expected)),
            "{expected}: {error:?}"
        );
    }
    for text in [
        "not base64!",
        "data:application/gzip;base64,H4sI",
        "H4sIA",
        "{}",
    ] {
        assert!(
            matches!(check_targz(text, LIMITS), Err(Error::Base64(_))),
            "{text}"
        );
    }
    let spoiled = encode_base64(&sound).replacen('=', "", 9) + "=A";
    assert!(matches!(
        check_targz(&spoiled, LIMITS),
        Err(Error::Base64(_))
    ));
}

#[test]
fn what_is_not_a_sound_tar_is_refused() {
    let sound = file("x", "").bytes();
    let mut spoiled = sound.clone();
    spoiled[3] ^= 1;
    let alone = |raw: Raw| tar(&[raw]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        (
            "does not begin as a tar",
            b"just text, compressed".repeat(100),
        ),
        ("does not begin as a tar", gzip(&[7; 4096]).repeat(40)),
        ("nothing in it", Vec::new()),
        (
            "broken header, after `x`",
            [sound.as_slice(), &spoiled].concat(),
        ),
        (
            "follows its end mark",
            [tar(&[file("x", "")]), tar(&[file("y", "")])].concat(),
        ),
        (
            "follows its end mark",
            [sound.as_slice(), &[0; 512], &sound].concat(),
        ),
        ("does not come", alone(long(b'L', "name"))),
        ("does not come", alone(pax(b'x', &[("path", b"name")]))),
        (
            "twice",
            tar(&[long(b'L', "a"), long(b'L', "b"), file("x", "")]),
        ),
        (
            "twice",
            tar(&[long(b'K', "a"), long(b'K', "b"), file("x", "")]),
        ),
        (
            "twice",
            tar(&[pax(b'x', &[]), pax(b'x', &[("path", b"b")]), file("x", "")]),
        ),
        (
            "twice",
            tar(&[long(b'L', "a"), pax(b'x', &[("path", b"b")]), file("x", "")]),
        ),
        (
            "malformed",
            tar(&[Raw::new(b'x', "p", b"99 path=b\n"), file("x", "")]),
        ),
        (
            "malformed",
            tar(&[pax(b'x', &[("size", b"-1")]), file("x", "")]),
        ),
        (
            "malformed",
            tar(&[
                pax(b'x', &[("size", b"99999999999999999999")]),
                file("x", ""),
            ]),
        ),
        (
            "global header",
            tar(&[pax(b'g', &[("path", b"b")]), file("x", "")]),
        ),
        (
            "global header",
            tar(&[pax(b'g', &[("size", b"0")]), file("x", "")]),
        ),
    ];
    for (expected, bytes) in cases {
        let error = check_targz(&encode_base64(&gzip(&bytes)), LIMITS).unwrap_err();
        assert!(
            matches!(&error, Error::Tar(why) if why.contains(expected)),
            "{expected}: {error:?}"
        );
    }
}

#[test]
fn bombs_stop_at_the_limits() {
    let claim = |size: &[u8]| {
        let mut raw = file("big", "");
        raw.at(124, size);
        targz(&[raw])
    };
    let zeros =
        |count: usize| encode_base64(&gzip(&[file("x", "").bytes(), vec![0; count]].concat()));
    let many = |count: usize| {
        targz(
            &(0..count)
                .map(|n| file(&n.to_string(), ""))
                .collect::<Vec<_>>(),
        )
    };
    let nested = |count: usize| {
        targz(
            &(0..count)
                .map(|n| file(&format!("{n}{}", "/d".repeat(19)), ""))
                .collect::<Vec<_>>(),
        )
    };
    let described = pax(b'x', &[("comment", &[b'x'; 1_000_000])]);
    let described = targz(
        &(0..18)
            .flat_map(|n| [described.clone(), file(&n.to_string(), "")])
            .collect::<Vec<_>>(),
    );
    let cases = [
        (
            "bytes",
            targz(&[file("x", &"x".repeat(1 << 20)), file("y", "y")]),
        ),
        ("bytes", claim(b"77777777777\0")),
        (
            "bytes",
            claim(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"),
        ),
        (
            "bytes",
            targz(&[
                pax(b'x', &[("size", b"18446744073709551615")]),
                file("x", ""),
            ]),
        ),
        (
            "bytes",
            encode_base64(&gzip(
                &[
                    file("x", "x").bytes(),
                    Raw::new(b'0', "y", &[0; 64 << 20]).bytes(),
                ]
                .concat(),
            )),
        ),
        ("entries", many(1001)),
        ("entries", targz(&vec![directory("same/"); 1001])),
        ("entries", nested(51)),
        ("zeros", zeros((16 << 20) + 1024)),
        (
            "names",
            targz(&[
                Raw::new(b'L', "././@LongLink", &[b'x'; (1 << 20) + 1]),
                file("x", ""),
            ]),
        ),
        (
            "names",
            targz(&[Raw::new(b'x', "p", &[b'x'; (1 << 20) + 1]), file("x", "")]),
        ),
        ("names", described),
    ];
    for (expected, archive) in cases {
        let error = check_targz(&archive, LIMITS).unwrap_err();
        assert!(
            matches!(&error, Error::TooLarge(why) if why.contains(expected)),
            "{expected}: {error:?}"
        );
    }
    for allowed in [
        targz(&[file("x", &"x".repeat(1 << 20))]),
        many(1000),
        nested(50),
        zeros(1 << 20),
    ] {
        check_targz(&allowed, LIMITS).unwrap();
    }
}

// ---- what goes out --------------------------------------------------------------------------------------------------

#[test]
fn a_collected_directory_can_be_sent_in_again() {
    let name = format!("base/{}", "n\n\u{fc}".repeat(60));
    let mut odd = file("base/odd", "odd");
    odd.at(5, b"\xff\n").octal(100, 7, 0o4755);
    let engine = tar(&[
        directory("base/"),
        directory("base/bin/"),
        file("base/bin/run", "#!/bin/sh\n"),
        hardlink("base/bin/also", "base/bin/run"),
        symlink("base/link", "../../etc/passwd"),
        pax(
            b'x',
            &[("path", name.as_bytes()), ("mtime", b"1700000001.25")],
        ),
        file("base/short", "long"),
        odd,
        file("base/empty", ""),
    ]);
    let collected = collect_directory(&mut &engine[..], 1 << 20).unwrap();
    assert_eq!((collected.entries, collected.unpacked_bytes), (8, 17));
    assert_eq!(collected.skipped, [""; 0]);
    let summary = check_targz(&collected.content, LIMITS).unwrap();
    assert_eq!(
        summary,
        Summary {
            entries: 8,
            unpacked_bytes: 17,
            shared_top: None
        }
    );

    let mut unpacked = Vec::new();
    let bytes = decode_base64(&collected.content).unwrap();
    GzDecoder::new(&bytes[..])
        .read_to_end(&mut unpacked)
        .unwrap();
    let out = entries(&unpacked);
    let names: Vec<_> = out
        .iter()
        .map(|seen| (seen.0.as_str(), seen.1 as char, seen.2.as_str()))
        .collect();
    let long_name = format!("./{}", &name[5..])
        .as_bytes()
        .escape_ascii()
        .to_string();
    assert_eq!(
        names[..3],
        [("./", '5', ""), ("./bin/", '5', ""), ("./bin/run", '0', "")]
    );
    assert_eq!(
        names[3..5],
        [
            ("./bin/also", '1', "./bin/run"),
            ("./link", '2', "../../etc/passwd")
        ]
    );
    assert_eq!(
        names[5..],
        [
            (long_name.as_str(), '0', ""),
            (r"./\xff\nd", '0', ""),
            ("./empty", '0', "")
        ]
    );
    assert_eq!(out[5].4, b"long");

    let again = entries(&pack(&collected.content, LIMITS).unwrap());
    let same = |seen: &Seen| {
        (
            seen.0.replacen("./", "top/", 1),
            seen.1,
            seen.3 & 0o1777,
            seen.4.clone(),
        )
    };
    let back: Vec<_> = again
        .iter()
        .map(|seen| (seen.0.clone(), seen.1, seen.3, seen.4.clone()))
        .collect();
    assert_eq!(back, out[1..].iter().map(same).collect::<Vec<_>>());
}

#[test]
fn a_collected_directory_says_what_is_missing_from_it() {
    let engine = tar(&[
        directory("base/"),
        Raw::new(b'6', "base/fifo", b""),
        hardlink("base/fifo2", "base/fifo"),
        Raw::new(b'3', "base/null\n", b""),
        symlink("base/link", "x"),
        hardlink("base/link2", "base/link"),
        hardlink("base/link3", "base/link2"),
        hardlink("base/out", "other/file"),
        file("base/kept", "kept"),
        hardlink("base/kept2", "base/kept"),
        hardlink("base/kept3", "base/kept2"),
    ]);
    let collected = collect_directory(&mut &engine[..], 1 << 20).unwrap();
    assert_eq!(check_targz(&collected.content, LIMITS).unwrap().entries, 5);
    assert_eq!(collected.skipped[0], "`base/fifo` is a fifo");
    assert_eq!(collected.skipped[2], r"`base/null\n` is a character device");
    assert_eq!(collected.skipped.len(), 6);

    let mut many = vec![directory("base/")];
    many.extend((0..200).map(|n| Raw::new(b'6', &format!("base/{n}"), b"")));
    let collected = collect_directory(&mut &tar(&many)[..], 0).unwrap();
    assert_eq!(collected.skipped.len(), 51);
    assert_eq!(collected.skipped[50], "and 150 more");
}

#[test]
fn collecting_stops_at_once_beyond_its_limit() {
    let mut sparse = file("base/sparse", "");
    sparse.at(124, b"\x80\0\0\0\0\0\x01\0\0\0\0\0");
    // the stream has no content of it: reading any would be an error of another kind
    let engine = [directory("base/").bytes(), sparse.bytes()].concat();
    assert!(matches!(
        collect_directory(&mut &engine[..], 1 << 30),
        Err(Error::TooLarge(_))
    ));
    let engine = tar(&[
        directory("base/"),
        file("base/x", "12345"),
        file("base/y", "12345"),
    ]);
    assert!(collect_directory(&mut &engine[..], 10).is_ok());
    assert!(matches!(
        collect_directory(&mut &engine[..], 9),
        Err(Error::TooLarge(_))
    ));
    assert!(matches!(
        collect_file(&mut &file("x", "12345").bytes()[..], 4),
        Err(Error::TooLarge(_))
    ));
}

#[test]
fn collecting_something_else_says_what_it_is() {
    let kinds = [
        (file("x", "y"), "file"),
        (symlink("x", "/proc/1/root"), "symbolic link"),
        (Raw::new(b'6', "x", b""), "fifo"),
        (Raw::new(b'3', "x", b""), "character device"),
    ];
    for (raw, kind) in &kinds {
        let error = collect_directory(&mut &tar(std::slice::from_ref(raw))[..], 100).unwrap_err();
        assert!(
            matches!(&error, Error::Entry { rule, .. } if rule.contains(kind)),
            "{error}"
        );
    }
    for (raw, kind) in kinds
        .iter()
        .skip(1)
        .chain(&[(directory("x/"), "directory")])
    {
        let collected = collect_file(&mut &tar(std::slice::from_ref(raw))[..], 100).unwrap();
        assert_eq!(collected, Collected::Other(kind));
    }
    let collected = collect_file(&mut &tar(&[file("x", "content")])[..], 7).unwrap();
    assert_eq!(collected, Collected::File(b"content".to_vec()));
}

#[test]
fn a_cut_engine_stream_is_an_error_not_a_short_answer() {
    let engine = tar(&[directory("base/"), file("base/x", "12345")]);
    for cut in [0, 100, 600, 1030, 1100] {
        assert!(
            collect_directory(&mut &engine[..cut], 100).is_err(),
            "{cut}"
        );
    }
    assert!(collect_file(&mut &tar(&[file("x", "12345")])[..515], 100).is_err());
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
    }
    assert!(matches!(collect_file(&mut Broken, 100), Err(Error::Io(_))));
    let outside = tar(&[directory("base/"), file("other/x", "")]);
    assert_eq!(
        collect_directory(&mut &outside[..], 100).unwrap().skipped,
        ["`other/x` lies outside the directory"]
    );
}

// ---- mutations ------------------------------------------------------------------------------------------------------

/// Archives that use every feature, to be spoiled.
fn seeds() -> Vec<Vec<u8>> {
    let name = format!("{}/name", "n".repeat(120));
    vec![
        tar(&[
            directory("./"),
            directory("./d/"),
            file("./d/f", "text"),
            hardlink("./d/h", "./d/f"),
            symlink("./l", "d/f"),
        ]),
        tar(&[
            file("a/b/c", "c"),
            symlink("a/l", "/etc"),
            directory("a/b"),
            file("e", &"e".repeat(600)),
            hardlink("g", "e"),
        ]),
        tar(&[
            long(b'L', &name),
            file("x", "x"),
            long(b'K', &name),
            symlink("y", "z"),
            long(b'K', &name),
            hardlink("z", "x"),
        ]),
        tar(&[
            pax(b'g', &[("comment", b"c")]),
            pax(b'x', &[("path", b"p/q"), ("size", b"4")]),
            file("x", "four"),
            file("p/r", "r"),
        ]),
    ]
}

fn mutate(random: &mut Random, tar: &mut Vec<u8>) {
    const INTERESTING: [&[u8]; 14] = [
        b"..",
        b"/",
        b"./",
        b"\0",
        b"l/x",
        b"d/f",
        b"a/l",
        b"\xff",
        b"7777777777",
        b"\x80\0\0\0",
        b"0",
        b"1",
        b"2",
        b"5",
    ];
    const FIELDS: [usize; 12] = [0, 1, 2, 100, 124, 134, 156, 156, 157, 159, 257, 345];
    for _ in 0..=random.below(3) {
        let blocks = tar.len() / 512;
        if blocks == 0 {
            return;
        }
        let block = random.below(blocks) * 512;
        match random.below(8) {
            0..=3 => {
                let offset = block + FIELDS[random.below(FIELDS.len())];
                let bytes = INTERESTING[random.below(INTERESTING.len())];
                tar[offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            4 => tar[block + random.below(512)] = random.next() as u8,
            5 => {
                let copy = tar[block..block + 512].to_vec();
                let place = random.below(blocks + 1) * 512;
                tar.splice(place..place, copy);
            }
            6 => drop(tar.drain(block..block + 512)),
            _ if random.below(4) == 0 => tar.truncate(random.below(tar.len())),
            _ => {}
        }
    }
    if random.below(8) > 0 {
        mend(tar);
    }
}

/// Makes every block's checksum right that could be a header, so that the fuzz gets past that check.
fn mend(tar: &mut [u8]) {
    for block in tar
        .chunks_exact_mut(512)
        .filter(|block| block[257..262] == *b"ustar")
    {
        let mut raw = Raw {
            header: [0; 512],
            content: Vec::new(),
        };
        raw.header.copy_from_slice(block);
        block.copy_from_slice(&raw.bytes());
    }
}

/// What must hold for every tar that leaves a packer, as an independent reader sees it.
fn assert_safe(packed: &[u8], limits: Limits) {
    let mut kinds = std::collections::HashMap::new();
    let mut bytes = 0;
    for (name, kind, target, mode, content) in entries(packed) {
        let name = name.strip_suffix('/').unwrap_or(&name).to_owned();
        let parts: Vec<_> = name.split('/').collect();
        assert!(parts[0] == "top" && parts.len() > 1, "outside: {name}");
        assert!(
            !parts.iter().any(|part| ["", ".", ".."].contains(part)),
            "{name}"
        );
        assert_eq!(mode & 0o6000, 0, "{name}");
        for end in 2..parts.len() {
            assert_eq!(
                kinds.get(&parts[..end].join("/")),
                Some(&b'5'),
                "above {name}"
            );
        }
        match kind {
            b'0' | b'2' => {}
            b'1' => assert!(
                matches!(kinds.get(&target), Some(b'0' | b'1')),
                "{name} -> {target}"
            ),
            b'5' => assert!(matches!(kinds.get(&name), None | Some(b'5')), "{name}"),
            other => panic!("{name} has type {other}"),
        }
        assert!(
            kinds
                .insert(name.clone(), kind)
                .is_none_or(|before| before == b'5'),
            "twice: {name}"
        );
        bytes += content.len() as u64;
    }
    assert!(bytes <= limits.unpacked_bytes && kinds.len() as u64 <= limits.entries);
    for entry in tar::Archive::new(packed).entries().unwrap() {
        let header = entry.unwrap().header().clone();
        assert_eq!(
            (header.uid().unwrap(), header.gid().unwrap()),
            (OWNER.uid, OWNER.gid)
        );
    }
}

#[test]
fn mutated_archives_never_panic_and_never_get_past_the_rules() {
    let limits = Limits {
        unpacked_bytes: 1200,
        entries: 12,
    };
    let (mut accepted, mut refused) = (0, 0);
    for (number, seed) in seeds().into_iter().enumerate() {
        assert_safe(&pack(&encode_base64(&gzip(&seed)), limits).unwrap(), limits);
        let mut random = Random(number as u64);
        for _ in 0..1500 {
            let mut bytes = seed.clone();
            mutate(&mut random, &mut bytes);
            let mut bytes = gzip(&bytes);
            if random.below(20) == 0 {
                let place = random.below(bytes.len());
                bytes[place] ^= 1 << random.below(8);
            }
            let mut text = encode_base64(&bytes);
            if random.below(20) == 0 {
                text.insert(
                    random.below(text.len()),
                    ['=', '-', '\n', 'A', 'ä'][random.below(5)],
                );
            }
            let checked = check_targz(&text, limits);
            match (&checked, pack(&text, limits)) {
                (Ok(summary), Ok(packed)) => {
                    assert!(
                        summary.entries <= limits.entries
                            && summary.unpacked_bytes <= limits.unpacked_bytes
                    );
                    assert_safe(&packed, limits);
                    accepted += 1;
                }
                (Err(check), Err(pack)) => {
                    assert_eq!(check.to_string(), pack.to_string());
                    assert!(!check.to_string().contains(char::is_control), "{check}");
                    refused += 1;
                }
                (check, pack) => panic!("check and pack disagree: {check:?}, {:?}", pack.map(drop)),
            }
        }
    }
    assert!(
        accepted > 600 && refused > 600,
        "{accepted} accepted, {refused} refused: no test of both"
    );
}

#[test]
fn mutated_engine_tars_never_panic_and_never_exceed_the_limit() {
    let mut collected = 0;
    for (number, archive) in seeds().into_iter().enumerate() {
        let mut random = Random(1000 + number as u64);
        for _ in 0..700 {
            let mut bytes = [directory("./").bytes(), archive.clone()].concat();
            mutate(&mut random, &mut bytes);
            let _ = collect_file(&mut &bytes[..], 1200);
            let Ok(directory) = collect_directory(&mut &bytes[..], 1200) else {
                continue;
            };
            assert!(directory.unpacked_bytes <= 1200);
            collected += 1;
            let mut unpacked = Vec::new();
            let gzip = decode_base64(&directory.content).unwrap();
            GzDecoder::new(&gzip[..])
                .read_to_end(&mut unpacked)
                .unwrap();
            assert_eq!(entries(&unpacked).len() as u64, directory.entries);
        }
    }
    assert!(collected > 300, "{collected}");
}
