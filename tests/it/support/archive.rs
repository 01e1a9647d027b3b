//! Archives made and read with the system's tar and base64, as a caller would, independent of the code under test.

use std::io::Write;
use std::process::{Command, Stdio};

/// An entry of an unpacked archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without a slash at the end.
    pub name: String,
    /// Permission bits.
    pub mode: u32,
    /// The content of a file; `None` for anything else.
    pub content: Option<Vec<u8>>,
}

/// A base64 tar.gz as `tar czf - -C dir . | base64` prints it, line breaks included.
pub fn tar_gz(files: &[(&str, &[u8])], top: &str) -> String {
    let dir = TempDir::new();
    for (name, content) in files {
        let path = dir.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let script = format!("tar czf - -C '{}' {top} | base64", dir.0.display());
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Unpacks a base64 tar.gz with GNU tar. Returns its entries, sorted by name.
pub fn untar(content: &str) -> Vec<Entry> {
    let dir = TempDir::new();
    let script = format!("base64 -d | tar xzpf - -C '{}'", dir.0.display());
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(content.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success(), "GNU tar takes the archive");
    let mut entries = Vec::new();
    list(&dir.0, &dir.0, &mut entries);
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

fn list(root: &std::path::Path, dir: &std::path::Path, entries: &mut Vec<Entry>) {
    use std::os::unix::fs::PermissionsExt;
    for item in std::fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let content = meta.is_file().then(|| std::fs::read(&path).unwrap());
        entries.push(Entry {
            name,
            mode: meta.permissions().mode() & 0o7777,
            content,
        });
        if meta.is_dir() {
            list(root, &path, entries);
        }
    }
}

struct TempDir(std::path::PathBuf);

impl TempDir {
    fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("oneoff-it-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
