//! A directory with awkward names, modes, links and holes, and every program that packs it.

use super::Seen;
use crate::support::Directory;
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// The names that an archive format can express.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Names {
    /// Up to 99 bytes.
    Short,
    /// Up to 255 bytes, which can be split at a slash.
    Split,
    /// Any.
    Any,
}

/// One way to pack a directory.
pub(crate) struct Writer {
    pub(crate) label: &'static str,
    pub(crate) names: Names,
    /// A script that writes a tar of the working directory to its output.
    script: &'static str,
}

const fn writer(label: &'static str, names: Names, script: &'static str) -> Writer {
    Writer {
        label,
        names,
        script,
    }
}

pub(crate) const WRITERS: [Writer; 27] = [
    writer("GNU tar, v7", Names::Short, "tar --format=v7 -cf - ."),
    writer("GNU tar, oldgnu", Names::Any, "tar --format=oldgnu -cf - ."),
    writer("GNU tar, gnu", Names::Any, "tar --format=gnu -cf - ."),
    writer("GNU tar, ustar", Names::Split, "tar --format=ustar -cf - ."),
    writer("GNU tar, posix", Names::Any, "tar --format=posix -cf - ."),
    writer("GNU tar, label", Names::Any, "tar --label=backup -cf - ."),
    writer(
        "GNU tar, posix label",
        Names::Any,
        "tar --format=posix --label=backup -cf - .",
    ),
    writer(
        "GNU tar, incremental",
        Names::Any,
        "state=$(mktemp); tar -g \"$state\" -cf - .; rm \"$state\"",
    ),
    writer("GNU tar, twice", Names::Any, "tar -cf - . ."),
    writer(
        "GNU tar, oldgnu sparse",
        Names::Any,
        "tar --format=oldgnu --sparse --hole-detection=raw -cf - .",
    ),
    writer(
        "GNU tar, gnu sparse",
        Names::Any,
        "tar --format=gnu --sparse --hole-detection=raw -cf - .",
    ),
    writer(
        "GNU tar, sparse 0.0",
        Names::Any,
        "tar --format=posix --sparse-version=0.0 --hole-detection=raw -cf - .",
    ),
    writer(
        "GNU tar, sparse 0.1",
        Names::Any,
        "tar --format=posix --sparse-version=0.1 --hole-detection=raw -cf - .",
    ),
    writer(
        "GNU tar, sparse 1.0",
        Names::Any,
        "tar --format=posix --sparse-version=1.0 --hole-detection=raw -cf - .",
    ),
    writer(
        "bsdtar, ustar",
        Names::Split,
        "bsdtar --format=ustar -cf - .",
    ),
    writer("bsdtar, pax", Names::Any, "bsdtar --format=pax -cf - ."),
    writer(
        "bsdtar, restricted pax",
        Names::Any,
        "bsdtar --format=rpax -cf - .",
    ),
    writer(
        "bsdtar, gnutar",
        Names::Any,
        "bsdtar --format=gnutar -cf - .",
    ),
    writer("busybox", Names::Any, "busybox tar -cf - ."),
    writer(
        "cpio, ustar",
        Names::Split,
        "find . -print0 | cpio -0 -o -H ustar --quiet",
    ),
    writer(
        "cpio, tar",
        Names::Short,
        "find . -print0 | cpio -0 -o -H tar --quiet",
    ),
    writer("MirBSD pax", Names::Split, "pax -w -x ustar ."),
    writer("Python, ustar", Names::Split, PYTHON_USTAR),
    writer("Python, GNU", Names::Any, PYTHON_GNU),
    writer("Python, PAX, root `/`", Names::Any, PYTHON_PAX),
    writer(
        "node-tar",
        Names::Any,
        "NODE_PATH=/usr/share/nodejs node -e 'require(\"tar\").c({portable: false}, [\".\"]).pipe(process.stdout)'",
    ),
    writer("tar-stream", Names::Any, TAR_STREAM),
];

/// `TarFile.add`, as in most scripts; its root is `.` or nothing.
const PYTHON_USTAR: &str = "python3 -c 'import sys, tarfile; t = tarfile.open(fileobj=sys.stdout.buffer, mode=\"w|\", format=tarfile.USTAR_FORMAT); t.add(\".\", arcname=\".\"); t.close()'";
const PYTHON_GNU: &str = "python3 -c 'import sys, tarfile; t = tarfile.open(fileobj=sys.stdout.buffer, mode=\"w|\", format=tarfile.GNU_FORMAT); t.add(\".\", arcname=\".\"); t.close()'";
const PYTHON_PAX: &str = "python3 -c 'import sys, tarfile; t = tarfile.open(fileobj=sys.stdout.buffer, mode=\"w|\", format=tarfile.PAX_FORMAT); t.add(\".\", arcname=\"/\"); t.close()'";

/// A walk as programs that use tar-stream (tar-fs, dockerode) have it.
const TAR_STREAM: &str = r#"NODE_PATH=/usr/share/nodejs node -e '
const fs = require("fs"), path = require("path"), pack = require("tar-stream").pack();
const walk = (dir) => {
  for (const name of fs.readdirSync(dir)) {
    const file = path.join(dir, name), stat = fs.lstatSync(file);
    const header = {name: file, mode: stat.mode & 0o7777, mtime: stat.mtime, uid: stat.uid, gid: stat.gid};
    if (stat.isDirectory()) {
      pack.entry({...header, name: file + "/", type: "directory", size: stat.size});
      walk(file);
    } else if (stat.isSymbolicLink()) {
      pack.entry({...header, type: "symlink", linkname: fs.readlinkSync(file)});
    } else {
      pack.entry(header, fs.readFileSync(file));
    }
  }
};
walk(".");
pack.finalize();
pack.pipe(process.stdout);
'"#;

impl Writer {
    /// The tar that it makes of a directory. Panics with the program's words if it cannot.
    pub(crate) fn pack(&self, directory: &Path) -> Vec<u8> {
        let script = format!("set -e -o pipefail; {}", self.script);
        let output = Command::new("bash")
            .args(["-c", &script])
            .current_dir(directory)
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            self.label,
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }
}

/// Makes the tree with all the names that a format can express.
pub(crate) fn plant(names: Names) -> Directory {
    let root = Directory::new("tree");
    let at = |name: &str| {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    let write = |name: &str, mode: u32, content: &[u8]| {
        std::fs::write(at(name), content).unwrap();
        std::fs::set_permissions(at(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    write("empty", 0o644, b"");
    write(
        "sp ace/\u{fc} \u{2013} \u{65e5}\u{672c}.txt",
        0o644,
        "ü".as_bytes(),
    );
    write("new\nline", 0o600, b"new line");
    write("-dash", 0o644, b"dash");
    write("star*'\"$(x)", 0o644, b"star");
    write("back\\slash", 0o644, b"backslash");
    write("run.sh", 0o755, b"#!/bin/sh\n");
    write("sticky/deep/er/f", 0o440, b"deeper");
    write("blocks", 0o644, &[b'b'; 1024]);
    write("large", 0o644, &vec![b'l'; 70_001]);
    let mut holes = vec![0; (1 << 20) + 5];
    holes[300_000..300_600].fill(b'h');
    holes[1 << 20..].copy_from_slice(b"hello");
    write("holes", 0o644, &holes);
    write("nothing but a hole", 0o644, &vec![0; 200_000]);
    std::fs::create_dir_all(at("empty directory")).unwrap();
    std::fs::set_permissions(at("sticky"), PermissionsExt::from_mode(0o1770)).unwrap();
    symlink("sp ace/\u{fc} \u{2013} \u{65e5}\u{672c}.txt", at("link")).unwrap();
    symlink("/nowhere at all", at("dangling")).unwrap();
    symlink("empty directory", at("link to directory")).unwrap();
    std::fs::hard_link(at("run.sh"), at("sticky/same")).unwrap();
    std::fs::hard_link(at("dangling"), at("sticky/dangling too")).unwrap();
    if names >= Names::Split {
        let name = format!("{}/{}/{}", "p".repeat(80), "o".repeat(60), "n".repeat(90));
        write(&name, 0o644, b"split");
        write(
            &format!("{}/{}", "q".repeat(99), "m".repeat(99)),
            0o644,
            b"99",
        );
        write(&format!("{}/x", "r".repeat(97)), 0o644, b"100");
    }
    if names == Names::Any {
        write(
            &format!("{}f", "directory of thirty bytes..../".repeat(20)),
            0o644,
            b"deep",
        );
        write(&"c".repeat(255), 0o644, b"component");
        write(
            &format!("{}/{}", "\u{e9}".repeat(100), "\u{fc}".repeat(100)),
            0o644,
            b"long",
        );
        symlink("t".repeat(300), at("long target")).unwrap();
        std::fs::hard_link(at(&"c".repeat(255)), at(&"h".repeat(200))).unwrap();
    }
    root
}

/// An item of a tree: its type, mode and content or target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Directory(u32),
    File(u32, Vec<u8>),
    Symlink(String),
}

pub(crate) type Tree = BTreeMap<String, Item>;

fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// What is in a directory.
pub(crate) fn on_disk(root: &Path) -> Tree {
    use std::os::unix::ffi::OsStrExt;
    let mut tree = Tree::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for item in std::fs::read_dir(directory).unwrap() {
            let path = item.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let mode = meta.permissions().mode() & 0o1777;
            let name = path.strip_prefix(root).unwrap();
            let item = if meta.is_dir() {
                directories.push(path.clone());
                Item::Directory(mode)
            } else if meta.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                Item::Symlink(escaped(target.as_os_str().as_bytes()))
            } else {
                Item::File(mode, std::fs::read(&path).unwrap())
            };
            tree.insert(escaped(name.as_os_str().as_bytes()), item);
        }
    }
    tree
}

/// What a tar with entries `top/…` unpacks to.
pub(crate) fn in_tar(entries: Vec<Seen>) -> Tree {
    let mut tree = Tree::new();
    let below_top = |name: &str| name.strip_prefix("top/").unwrap().to_owned();
    for (name, kind, target, mode, content) in entries {
        let name = below_top(name.trim_end_matches('/'));
        let item = match kind {
            b'0' => Item::File(mode, content),
            b'1' => tree[&below_top(&target)].clone(),
            b'2' => Item::Symlink(target),
            b'5' => Item::Directory(mode),
            other => panic!("{name} has type {other}"),
        };
        tree.insert(name, item);
    }
    tree
}
