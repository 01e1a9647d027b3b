//! Archives that are accepted, and what the packer makes of them.

use super::{
    LIMITS, OWNER, Raw, allowance, check, check_stripped, directory, entries, file, gzip, hardlink,
    long, pack, pax, symlink, tar, targz,
};
use oneoff_docker_runner::archive::{Error, Packer, check_targz, encode_base64, file_name_fault};

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
fn names_of_any_length_and_any_bytes_are_kept() {
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
    // size 0 in the header, 1024 in the extended header
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
fn a_shared_top_directory_is_reported() {
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
fn leading_components_are_stripped_from_names_and_hard_link_targets() {
    let archive = [
        directory("d/"),
        file("d/a", "x"),
        directory("d/e/"),
        hardlink("d/e/b", "d/a"),
        symlink("d/l", "d/a"),
    ];
    let mut packer = Packer::new(Vec::new(), OWNER);
    packer
        .targz("", &targz(&archive), 1, &mut allowance())
        .unwrap();
    let seen = entries(&packer.finish().unwrap());
    let names: Vec<_> = seen
        .iter()
        .map(|seen| (seen.0.as_str(), seen.2.as_str()))
        .collect();
    assert_eq!(names, [("a", ""), ("e/", ""), ("e/b", "a"), ("l", "d/a")]);
    let summary = check_stripped(&targz(&archive), 9).unwrap();
    assert_eq!(
        summary.entries, 5,
        "an archive of which nothing is left is an empty one"
    );
}

#[test]
fn implied_directories_belong_to_the_owner() {
    let mut packer = Packer::new(Vec::new(), OWNER);
    packer.file("usr/bin/tool", 0o755, b"").unwrap();
    packer.directory("app", 0o777).unwrap();
    packer.file("app/a/b.txt", 0o644, b"b").unwrap();
    packer
        .targz("app/c", &targz(&[file("d/e", "")]), 0, &mut allowance())
        .unwrap();
    let names: Vec<_> = entries(&packer.finish().unwrap())
        .into_iter()
        .map(|seen| seen.0)
        .collect();
    // but not `usr/`: it exists in the image, and its owner would change
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
        .targz("in", &targz(&[symlink("out", "/etc")]), 0, &mut allowance())
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
