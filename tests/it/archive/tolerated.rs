//! Archives that look odd and are valid: what the tars of this world write, and what their readers make of it. Built byte by
//! byte where the programs are not at hand.

use super::tree::{Item, Names, WRITERS, in_tar, on_disk, plant};
use super::{
    LIMITS, Raw, check, directory, entries, file, gzip, hardlink, pack, pax, symlink, tar, targz,
};
use oneoff_docker_runner::archive::{Error, Limits, check_targz, encode_base64};

const ROOMY: Limits = Limits {
    unpacked_bytes: 64 << 20,
    entries: 1000,
};

#[test]
fn every_tar_program_s_archive_comes_out_as_the_tree_that_went_in() {
    for names in [Names::Short, Names::Split, Names::Any] {
        let tree = plant(names);
        let expected = on_disk(tree.path());
        for writer in WRITERS.iter().filter(|writer| writer.names == names) {
            let archive = encode_base64(&gzip(&writer.pack(tree.path())));
            let packed =
                pack(&archive, ROOMY).unwrap_or_else(|error| panic!("{}: {error}", writer.label));
            let unpacked = in_tar(entries(&packed));
            let differs = |name: &&String| unpacked.get(*name) != expected.get(*name);
            let names = expected.keys().chain(unpacked.keys());
            let different: Vec<_> = names.filter(differs).collect();
            assert_eq!(different, [""; 0], "{}", writer.label);
        }
    }
}

/// Name → content, or `/` for a directory, or `-> target`.
fn unpacked(archive: &[Raw]) -> Vec<(String, String)> {
    let packed = pack(&targz(archive), LIMITS).unwrap();
    let tree = in_tar(entries(&packed));
    let shown = |item: &Item| match item {
        Item::Directory(_) => "/".to_owned(),
        Item::File(_, content) => content.escape_ascii().to_string(),
        Item::Symlink(target) => format!("-> {target}"),
    };
    tree.iter()
        .map(|(name, item)| (name.clone(), shown(item)))
        .collect()
}

fn with(mut raw: Raw, changes: &[(usize, &[u8])]) -> Raw {
    for (offset, bytes) in changes {
        raw.at(*offset, bytes);
    }
    raw
}

#[test]
fn what_merely_looks_odd_is_read_as_tars_read_it() {
    let sized = |raw: Raw, size: &[u8]| with(raw, &[(124, size)]);
    let kind = |kind: u8, name: &str, content: &str| Raw::new(kind, name, content.as_bytes());
    let f = || file("f", "hello");
    type Case<'a> = (&'a str, Vec<Raw>, &'a [(&'a str, &'a str)]);
    let cases: Vec<Case> = vec![
        (
            "a root named /",
            vec![directory("/"), f()],
            &[("f", "hello")],
        ),
        (
            "a root named //.",
            vec![directory("//."), f()],
            &[("f", "hello")],
        ),
        (
            "a root without a name",
            vec![directory(""), f()],
            &[("f", "hello")],
        ),
        (
            "a pre-POSIX root",
            vec![kind(0, "/", ""), f()],
            &[("f", "hello")],
        ),
        (
            "the same file by a link",
            vec![f(), hardlink("f", "./f")],
            &[("f", "hello")],
        ),
        (
            "a file twice",
            vec![file("f", "old"), file("./f", "hello")],
            &[("f", "hello")],
        ),
        (
            "a link instead of a file",
            vec![file("f", "old"), f(), file("g", "g"), hardlink("f", "g")],
            &[("f", "g"), ("g", "g")],
        ),
        (
            "a chain of links, the first one's name used again",
            vec![
                file("a", "1"),
                hardlink("b", "a"),
                hardlink("c", "b"),
                hardlink("a", "c"),
            ],
            &[("a", "1"), ("b", "1"), ("c", "1")],
        ),
        (
            "a symbolic link twice",
            vec![symlink("l", "a"), symlink("l", "b"), hardlink("l", "l")],
            &[("l", "-> b")],
        ),
        (
            "a hard link to a symbolic link",
            vec![
                directory("d"),
                symlink("l", "/x"),
                hardlink("d/m", "./l"),
                hardlink("n", "d/m"),
            ],
            &[("d", "/"), ("d/m", "-> /x"), ("l", "-> /x"), ("n", "-> /x")],
        ),
        (
            "sizes without a meaning",
            vec![
                sized(directory("d/"), b"00000010000\0"),
                sized(symlink("l", "f"), b"00000000001\0"),
                f(),
                sized(hardlink("h", "f"), b"00000000005\0"),
                sized(kind(0, "e/", ""), b"00000010000\0"),
                sized(hardlink("i", "f"), b"00000000005\0"),
            ],
            &[
                ("d", "/"),
                ("e", "/"),
                ("f", "hello"),
                ("h", "hello"),
                ("i", "hello"),
                ("l", "-> f"),
            ],
        ),
        (
            "unreadable sizes without a meaning",
            vec![
                sized(directory("d/"), b"banana"),
                f(),
                sized(hardlink("h", "f"), &[0xff; 12]),
            ],
            &[("d", "/"), ("f", "hello"), ("h", "hello")],
        ),
        (
            "hard links with content",
            vec![
                f(),
                kind(b'1', "h", "hello").to("f"),
                kind(b'1', "i", "more").to("not/sent"),
            ],
            &[("f", "hello"), ("h", "hello"), ("i", "more")],
        ),
        (
            "informational entries",
            vec![
                sized(kind(b'V', "label", ""), &[0; 12]),
                sized(kind(b'V', "label", ""), b"00000001000\0"),
                kind(b'M', "rest of another volume's file", "rest"),
                kind(b'N', "old long names", "Rename a to b\n"),
                kind(b'A', "acl", "1000:user::rwx"),
                kind(b'I', "inode", ""),
                kind(b'E', "attribute", "header"),
                kind(b'0', "/dev/null", "attribute"),
                pax(
                    b'x',
                    &[("GNU.volume.offset", b"512"), ("GNU.volume.filename", b"f")],
                ),
                kind(b'0', "./GNUFileParts.1/f.2", "rest"),
                pax(b'g', &[("GNU.volume.label", b"label"), ("", b"no key")]),
                f(),
                pax(b'X', &[("path", b"g")]),
                kind(b'7', "contiguous", "g"),
                kind(b'D', "d/", "Yf\0Ng\0\0"),
            ],
            &[("d", "/"), ("f", "hello"), ("g", "g")],
        ),
        (
            "blank and odd numbers",
            vec![
                with(
                    f(),
                    &[
                        (100, b"        "),
                        (108, b"banana! "),
                        (116, &[0xff; 8]),
                        (136, b"-1\0"),
                    ],
                ),
                with(
                    file("g", "g"),
                    &[(100, &[0; 8]), (124, b"          1 "), (136, &[0x80; 12])],
                ),
                with(
                    file("h", "h"),
                    &[(124, b"\x80\0\0\0\0\0\0\0\0\0\0\x01"), (108, &[0xff; 8])],
                ),
                with(
                    file("i", ""),
                    &[(124, &[b' '; 12]), (329, b"zzzzzzz"), (337, b"yyyyyyy")],
                ),
            ],
            &[("f", "hello"), ("g", "g"), ("h", "h"), ("i", "")],
        ),
        (
            "odd extended headers",
            vec![
                pax(
                    b'x',
                    &[
                        ("mtime", b"1e-05"),
                        ("uid", b"-2"),
                        ("gid", b"nobody"),
                        ("atime", b"banana"),
                        ("comment", b"=\n="),
                        ("VENDOR.key", &[0xff; 9]),
                        ("size", b" 5 "),
                    ],
                ),
                f(),
                pax(b'x', &[("path", b"same")]),
                Raw::new(b'L', "././@LongLink", b"same\0"),
                f(),
            ],
            &[("f", "hello"), ("same", "hello")],
        ),
    ];
    for (what, archive, expected) in cases {
        let summary = check(&archive).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(summary.entries >= 1, "{what}");
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, shown)| ((*name).to_owned(), (*shown).to_owned()))
            .collect();
        assert_eq!(unpacked(&archive), expected, "{what}");
    }
}

#[test]
fn modes_that_are_not_given_are_those_of_new_files() {
    let blank = |raw: Raw| with(raw, &[(100, b"        ")]);
    let archive = [
        blank(file("f", "")),
        blank(directory("d")),
        with(file("z", ""), &[(100, b"0000000\0")]),
    ];
    let packed = entries(&pack(&targz(&archive), LIMITS).unwrap());
    let modes: Vec<_> = packed.iter().map(|seen| seen.3).collect();
    assert_eq!(modes, [0o644, 0o755, 0]);
}

#[test]
fn whatever_follows_the_end_mark_is_ignored_as_tars_do() {
    let sound = tar(&[file("f", "hello")]);
    let end = |more: &[u8]| {
        let bytes = [sound.as_slice(), more].concat();
        check_targz(&encode_base64(&gzip(&bytes)), LIMITS)
    };
    for more in [
        &b"stale"[..],
        &[7; 3000],
        &[0; 100],
        &[[0; 512], [9; 512]].concat(),
        &tar(&[file("g", "")]),
        &[vec![0; 512], tar(&[file("g", "")])].concat(),
    ] {
        assert_eq!(end(more).unwrap().entries, 1);
    }
    let refused = end(&vec![7; 17 << 20]).unwrap_err().to_string();
    assert!(refused.contains("more than 16 MiB of"), "{refused}");
}

#[test]
fn a_block_of_zeros_is_the_end_unless_an_entry_follows_or_it_may_be_content() {
    let f = file("f", "x").bytes();
    let check = |bytes: &[u8]| check_targz(&encode_base64(&gzip(bytes)), LIMITS);
    for more in [&[7; 512][..], b"x", b""] {
        let summary = check(&[f.as_slice(), &[0; 512], more].concat()).unwrap();
        assert_eq!(summary.entries, 1);
    }
    // GNU tar, bsdtar and Python end at one block; busybox goes on; Go refuses.
    let one_block = [f.as_slice(), &[0; 512], &file("g", "").bytes()].concat();
    // Whether the link has content is guessed here.
    let link = Raw::new(b'1', "h", &[0; 2048]).to("f").bytes();
    let guessed = [f.as_slice(), &link, &[7; 512]].concat();
    for bytes in [one_block, guessed] {
        let error = check(&bytes).unwrap_err().to_string();
        assert!(error.contains("not clear where it ends"), "{error}");
    }
}

#[test]
fn what_follows_the_gzip_is_ignored_if_the_tar_in_it_is_complete() {
    let complete = gzip(&tar(&[file("f", "hello")]));
    let without_end = gzip(&file("f", "hello").bytes());
    let zeros = [0; 300_000];
    let cases: [(&[&[u8]], bool); 8] = [
        (&[&complete, &zeros], true),
        (&[&without_end, &zeros], true),
        (&[&complete, b"garbage"], true),
        (&[&complete, b"\n"], true),
        (&[&complete, &zeros, b"x"], true),
        (&[&without_end, b"garbage"], false),
        (&[&without_end, &gzip(&[0; 512]), b"garbage"], false),
        (&[&without_end, &gzip(&[0; 1024]), b"garbage"], true),
    ];
    for (number, (parts, is_taken)) in cases.into_iter().enumerate() {
        match check_targz(&encode_base64(&parts.concat()), LIMITS) {
            Ok(summary) => assert!(is_taken && summary.entries == 1, "case {number}"),
            Err(Error::AfterGzip) => assert!(!is_taken, "case {number}"),
            Err(error) => panic!("case {number}: {error}"),
        }
    }
}

#[test]
fn apple_double_companions_are_no_second_top_directory() {
    let double = |name: &str| Raw::new(b'0', name, b"\0\x05\x16\x07\0\x02\0\0Mac OS X");
    let d = || directory("d/");
    let cases = [
        (
            vec![double("._d"), d(), double("d/._f"), file("d/f", "")],
            Some("d"),
        ),
        (vec![d(), double("._d"), file("d/f", "")], Some("d")),
        (vec![double("._d"), double("._d"), d()], Some("d")),
        (vec![file("._d", "the user's own"), d()], None),
        (vec![double("._e"), d()], None),
        (vec![double("._d"), double("._e"), d()], None),
        (vec![double("._d"), d(), directory("e/")], None),
        (vec![file("._d", ""), d(), file("d/f", "")], Some("d")),
        (vec![d(), file("._d", "\0\x05\x16")], Some("d")),
        (vec![d(), file("._d", "\0\x05\x15")], None),
        (vec![file("._e", ""), d()], None),
        (vec![symlink("._d", "d"), d()], None),
        (vec![double("._d"), file("d", "")], None),
        (vec![double("._d")], None),
        (vec![double("._"), d()], None),
        (vec![double("./._d"), directory("./d/")], None),
    ];
    for (number, (archive, top)) in cases.into_iter().enumerate() {
        let summary = check(&archive).unwrap();
        assert_eq!(summary.shared_top.as_deref(), top, "case {number}");
    }
}

/// A sparse file of type `S`, with its parts in the header and in blocks after it.
fn sparse(size: u64, parts: &[(u64, u64)], content: &[u8]) -> Raw {
    let field = |number: u64| format!("{number:011o}\0").into_bytes();
    let fields = |part: &(u64, u64)| [field(part.0), field(part.1)].concat();
    let mut raw = Raw::new(b'S', "s", content);
    for (number, part) in parts.iter().take(4).enumerate() {
        raw.at(386 + 24 * number, &fields(part));
    }
    let mut blocks = Vec::new();
    let mut rest = parts.get(4..).unwrap_or_default().chunks(21).peekable();
    raw.at(482, &[u8::from(rest.peek().is_some())]);
    while let Some(chunk) = rest.next() {
        let mut block: Vec<u8> = chunk.iter().flat_map(fields).collect();
        block.resize(512, 0);
        block[504] = u8::from(rest.peek().is_some());
        blocks.extend(block);
    }
    raw.at(483, &field(size));
    raw.content.splice(..0, blocks);
    raw
}

/// A sparse file in one of the PAX formats.
fn sparse_pax(records: &[(&str, &str)], content: &[u8]) -> Vec<Raw> {
    let records: Vec<_> = records
        .iter()
        .map(|(key, value)| (format!("GNU.sparse.{key}"), value.as_bytes()))
        .collect();
    let records: Vec<_> = records
        .iter()
        .map(|(key, value)| (key.as_str(), *value))
        .collect();
    vec![
        pax(b'x', &records),
        Raw::new(b'0', "GNUSparseFile.0/s", content),
    ]
}

fn with_map(map: &str, content: &str) -> Vec<u8> {
    let mut bytes = map.as_bytes().to_vec();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend(content.bytes());
    bytes
}

const V1: [(&str, &str); 4] = [
    ("major", "1"),
    ("minor", "0"),
    ("name", "s"),
    ("realsize", "9"),
];

#[test]
fn sparse_files_of_every_form_are_expanded() {
    let many: Vec<_> = (0..60).map(|n| (2 * n, 1)).collect();
    let star = {
        let mut raw = Raw::new(b'S', "s", b"abc");
        raw.at(257, b"ustar\x0000").at(508, b"tar\0");
        raw.at(356, b"00000000002\x0000000000003\0")
            .at(452, b"00000000011\0");
        raw
    };
    let expanded = r"\x00\x00abc\x00\x00\x00\x00";
    let cases: Vec<(Vec<Raw>, String)> = vec![
        (
            vec![sparse(9, &[(2, 3), (9, 0)], b"abc")],
            expanded.to_owned(),
        ),
        (vec![star], expanded.to_owned()),
        (vec![sparse(120, &many, &[b'x'; 60])], r"x\x00".repeat(60)),
        (vec![sparse(4, &[], b"")], r"\x00".repeat(4)),
        (
            sparse_pax(
                &[
                    ("size", "9"),
                    ("numblocks", "2"),
                    ("offset", "2"),
                    ("numbytes", "2"),
                    ("offset", "4"),
                    ("numbytes", "1"),
                    ("name", "s"),
                ],
                b"abc",
            ),
            expanded.to_owned(),
        ),
        (
            sparse_pax(
                &[
                    ("name", "s"),
                    ("size", "9"),
                    ("numblocks", "1"),
                    ("map", "2,3"),
                ],
                b"abc",
            ),
            expanded.to_owned(),
        ),
        (
            sparse_pax(
                &[
                    ("name", "s"),
                    ("size", "9"),
                    ("numblocks", "0"),
                    ("map", ""),
                ],
                b"",
            ),
            r"\x00".repeat(9),
        ),
        (
            sparse_pax(&V1, &with_map("2\n2\n3\n9\n0\n", "abc")),
            expanded.to_owned(),
        ),
        (sparse_pax(&V1, &with_map("0\n", "")), r"\x00".repeat(9)),
    ];
    for (number, (mut archive, expected)) in cases.into_iter().enumerate() {
        archive.push(file("t", "after"));
        if number == 2 {
            // blocks of the map are not part of the size
            archive[0].octal(124, 11, 60);
        }
        let expected = [
            ("s".to_owned(), expected),
            ("t".to_owned(), "after".to_owned()),
        ];
        assert_eq!(unpacked(&archive), expected, "case {number}");
    }
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    let huge = u64::MAX.to_string();
    let cases: Vec<(&str, Vec<Raw>)> = vec![
        ("out of order", vec![sparse(9, &[(4, 2), (2, 1)], b"abc")]),
        ("overlap", vec![sparse(9, &[(2, 2), (3, 1)], b"abc")]),
        ("beyond its size", vec![sparse(4, &[(2, 3)], b"abc")]),
        ("does not fit", vec![sparse(9, &[(2, 3)], b"abcd")]),
        ("does not fit", vec![sparse(9, &[(2, 3)], b"ab")]),
        (
            "malformed map",
            vec![with(sparse(9, &[(2, 3)], b"abc"), &[(386, b"banana")])],
        ),
        (
            "unreadable size",
            vec![with(sparse(9, &[(2, 3)], b"abc"), &[(483, &[0xff; 12])])],
        ),
        (
            "unknown form",
            vec![with(sparse(9, &[(2, 3)], b"abc"), &[(257, b"ustar\x0000")])],
        ),
        (
            "not as many parts",
            sparse_pax(&[("size", "9"), ("numblocks", "2"), ("map", "2,3")], b"abc"),
        ),
        (
            "does not fit",
            sparse_pax(&[("size", "9"), ("map", "2")], b""),
        ),
        (
            "malformed map",
            sparse_pax(&[("size", "9"), ("map", &format!("{huge},1"))], b"a"),
        ),
        (
            "unknown version",
            sparse_pax(&[("major", "2"), ("minor", "0"), ("size", "9")], b""),
        ),
        ("malformed map", sparse_pax(&V1, &with_map("banana\n", ""))),
        (
            "malformed map",
            sparse_pax(&V1, &with_map(&"1".repeat(512), "")),
        ),
        (
            "more than 65536",
            sparse_pax(&V1, &with_map(&format!("{huge}\n"), "")),
        ),
        ("longer than its content", sparse_pax(&V1, b"2\n2\n3\n9\n")),
        (
            "longer than its content",
            sparse_pax(&V1, &with_map(&format!("200\n{}", "0\n".repeat(254)), "")),
        ),
        (
            "has `..`",
            sparse_pax(&[("name", "../s"), ("size", "0"), ("map", "")], b""),
        ),
    ];
    for (number, (expected, archive)) in cases.into_iter().enumerate() {
        let error = check(&archive).unwrap_err();
        assert!(
            matches!(&error, Error::Entry { rule, .. } if rule.contains(expected)),
            "case {number}: {error}"
        );
    }
    let repeated = sparse_pax(&[("offset", "1"), ("offset", "2")], b"");
    assert!(
        check(&repeated)
            .unwrap_err()
            .to_string()
            .contains("malformed extended header")
    );
}

#[test]
fn a_sparse_file_counts_with_its_holes_before_they_are_written() {
    let of_size = |size: u64| {
        let size = size.to_string();
        sparse_pax(&[("name", "s"), ("size", &size), ("map", "0,1")], b"x")
    };
    assert_eq!(
        check(&of_size(LIMITS.unpacked_bytes))
            .unwrap()
            .unpacked_bytes,
        1 << 20
    );
    for size in [LIMITS.unpacked_bytes + 1, 1 << 40, u64::MAX] {
        let error = check(&of_size(size)).unwrap_err();
        assert!(matches!(error, Error::TooLarge(_)), "{size}: {error}");
    }
    // The map of an endless file: blocks without a single part, each of which says that another one follows.
    let mut endless = sparse(9, &[], b"");
    endless.at(482, &[1]);
    let mut block = vec![0; 512];
    block[504] = 1;
    endless.content = block.repeat((17 << 20) / 512);
    endless.octal(124, 11, 0);
    let error = check(&[endless]).unwrap_err();
    assert!(matches!(error, Error::TooLarge(_)), "{error}");
}
