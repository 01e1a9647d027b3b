//! Directories and files read back out of a container.

use super::{LIMITS, Raw, Seen, directory, entries, file, hardlink, pack, pax, symlink, tar};
use flate2::read::GzDecoder;
use oneoff_docker_runner::archive::{
    Collected, Error, Summary, check_targz, collect_directory, collect_file, decode_base64,
};
use std::io::Read;

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
    let collected = collect_directory(&mut &engine[..], 1 << 20, &mut |_| true).unwrap();
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
fn a_collected_directory_lists_the_entries_left_out() {
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
    let collected = collect_directory(&mut &engine[..], 1 << 20, &mut |_| true).unwrap();
    assert_eq!(
        check_targz(&collected.content, LIMITS).unwrap().entries,
        7,
        "with the hard links to a symbolic link"
    );
    assert_eq!(collected.skipped[0], "`fifo` is a fifo");
    assert_eq!(collected.skipped[2], r"`null\n` is a character device");
    assert_eq!(collected.skipped.len(), 4);

    let mut many = vec![directory("base/")];
    many.extend((0..200).map(|n| Raw::new(b'6', &format!("base/{n}"), b"")));
    let collected = collect_directory(&mut &tar(&many)[..], 0, &mut |_| true).unwrap();
    assert_eq!(collected.skipped.len(), 51);
    assert_eq!(collected.skipped[50], "and 150 more");
}

#[test]
fn collecting_stops_at_once_beyond_its_limit() {
    let mut sparse = file("base/sparse", "");
    sparse.at(124, b"\x80\0\0\0\0\0\x01\0\0\0\0\0");
    // the stream ends here: reading the file's content would fail with another error
    let engine = [directory("base/").bytes(), sparse.bytes()].concat();
    assert!(matches!(
        collect_directory(&mut &engine[..], 1 << 30, &mut |_| true),
        Err(Error::TooLarge(_))
    ));
    let engine = tar(&[
        directory("base/"),
        file("base/x", "12345"),
        file("base/y", "12345"),
    ]);
    assert!(collect_directory(&mut &engine[..], 10, &mut |_| true).is_ok());
    assert!(matches!(
        collect_directory(&mut &engine[..], 9, &mut |_| true),
        Err(Error::TooLarge(_))
    ));
    assert!(matches!(
        collect_file(&mut &file("x", "12345").bytes()[..], 4),
        Err(Error::TooLarge(_))
    ));
}

#[test]
fn collecting_another_kind_of_entry_names_the_kind() {
    let kinds = [
        (file("x", "y"), "file"),
        (symlink("x", "/proc/1/root"), "symbolic link"),
        (Raw::new(b'6', "x", b""), "fifo"),
        (Raw::new(b'3', "x", b""), "character device"),
    ];
    for (raw, kind) in &kinds {
        let error = collect_directory(&mut &tar(std::slice::from_ref(raw))[..], 100, &mut |_| true)
            .unwrap_err();
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
fn a_truncated_engine_stream_is_an_error() {
    let engine = tar(&[directory("base/"), file("base/x", "12345")]);
    for cut in [0, 100, 600, 1030, 1100] {
        assert!(
            collect_directory(&mut &engine[..cut], 100, &mut |_| true).is_err(),
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
        collect_directory(&mut &outside[..], 100, &mut |_| true)
            .unwrap()
            .skipped,
        ["`other/x` lies outside the directory"]
    );
}
