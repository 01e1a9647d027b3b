//! Archives that are refused, each with the error that names its fault.

use super::{
    LIMITS, Raw, check, check_stripped, directory, file, gzip, hardlink, long, pack, pax, symlink,
    tar, targz,
};
use oneoff_docker_runner::archive::{Error, check_targz, encode_base64};

#[test]
fn hostile_entries_are_refused_by_name_and_rule() {
    let deep = "d/".repeat(256) + "x";
    let wide = "w".repeat(256);
    let longest = "long/".repeat(1000);
    let mut garbled_size = file("x", "");
    garbled_size.at(124, b"12x34 zz");
    let mut negative_size = file("x", "");
    negative_size.at(124, &[0xff; 12]);
    let cases: Vec<(&str, &str, Vec<Raw>)> = vec![
        ("../x", "`..`", vec![file("../x", "")]),
        ("a/../../x", "`..`", vec![file("a/../../x", "")]),
        ("..", "`..`", vec![directory("..")]),
        ("/etc/passwd", "absolute", vec![file("/etc/passwd", "")]),
        ("/x/", "absolute", vec![directory("/x/")]),
        (".", "root, yet no directory", vec![file(".", "")]),
        ("./", "root, yet no directory", vec![symlink("./", "x")]),
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
            "would replace a symbolic link",
            vec![symlink("l", "/etc/cron.d/x"), file("l", "x")],
        ),
        (
            "l/",
            "would replace a symbolic link",
            vec![symlink("l", "/etc"), directory("l/")],
        ),
        (
            "l",
            "would replace a directory",
            vec![directory("l/"), symlink("l", "/etc")],
        ),
        (
            "l",
            "would replace a directory",
            vec![file("l/x", ""), symlink("l", "/etc")],
        ),
        (
            "f",
            "would replace a file",
            vec![file("f", "a"), symlink("f", "/etc/passwd")],
        ),
        (
            "f/",
            "would replace a file",
            vec![file("f", "a"), directory("f/")],
        ),
        (
            "h",
            "would replace a file",
            vec![
                file("f", ""),
                symlink("l", "f"),
                hardlink("h", "f"),
                hardlink("h", "l"),
            ],
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
            "h/x",
            "through a symbolic link",
            vec![symlink("l", "/etc"), hardlink("h", "./l"), file("h/x", "")],
        ),
        (
            "h",
            "target has `..`",
            vec![Raw::new(b'1', "h", b"its content").to("../x")],
        ),
        (
            "h",
            "target is a directory",
            vec![directory("d"), hardlink("h", "d")],
        ),
        (
            "h",
            "target is the archive's root",
            vec![hardlink("h", ".")],
        ),
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
        ("q", "unknown type", vec![Raw::new(0xff, "q", b"")]),
        ("f/", "yet has content", vec![file("f/", "x")]),
        ("x", "unreadable size", vec![garbled_size]),
        ("x", "unreadable size", vec![negative_size]),
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
        (
            vec![file("a/x", ""), file("b/x", "")],
            "gets the name of an earlier entry",
        ),
        (
            vec![symlink("a/l", "/etc"), file("b/l/x", "")],
            "through a symbolic link",
        ),
        (
            vec![file("f", ""), hardlink("a/h", "f")],
            "target is not unpacked: strip_components drops its whole name",
        ),
        (
            vec![file("a/f", ""), hardlink("b/h", "c/g")],
            "not an earlier file",
        ),
    ];
    for (archive, expected) in cases {
        let error = check_stripped(&targz(&archive), 1).unwrap_err();
        assert!(
            matches!(&error, Error::Entry { rule, .. } if rule.contains(expected)),
            "{error}"
        );
    }
}

#[test]
fn another_format_is_refused_by_its_name() {
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
fn a_malformed_tar_is_refused() {
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
            "not clear where it ends",
            [sound.as_slice(), &[0; 512], &sound].concat(),
        ),
        ("does not come", alone(long(b'L', "name"))),
        ("does not come", alone(pax(b'x', &[("path", b"name")]))),
        (
            "broken header, after `d/`",
            tar(&[Raw::new(b'5', "d/", &[b'x'; 512]), file("d/x", "")]),
        ),
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
fn archive_bombs_stop_at_the_limits() {
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
        ("16 MiB of zeros", zeros((16 << 20) + 1024)),
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
