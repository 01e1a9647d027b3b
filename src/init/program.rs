//! Finds the program of a command as container runtimes do, with their words where that fails: Go's `exec.LookPath`.
//!
//! [exec.LookPath](https://pkg.go.dev/os/exec#LookPath)

use super::protocol::EXEC_FAULT;
use rustix::fs::{Access, access};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The file to execute for `name`. `search` is the command's `PATH`. Errors: the reason in words.
pub(super) fn find(name: &str, search: &str) -> Result<PathBuf, String> {
    let fault = |reason: &str| format!("exec: {name:?}: {reason}");
    if name.contains('/') {
        let path = PathBuf::from(name);
        return check(&path).map(|()| path).map_err(|reason| fault(&reason));
    }
    let mut directories = search.split(':').map(|directory| match directory {
        "" => Path::new("."),
        directory => Path::new(directory),
    });
    directories
        .find_map(|directory| {
            let path = directory.join(name);
            check(&path).is_ok().then_some(path)
        })
        .filter(|_| !name.is_empty())
        .ok_or_else(|| fault("executable file not found in $PATH"))
}

/// Errors: why the file cannot be executed.
fn check(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Err("permission denied: it is a directory".into()),
        Ok(_) => match access(path, Access::EXEC_OK) {
            Ok(()) => Ok(()),
            Err(_) => Err("permission denied".into()),
        },
        Err(error) => Err(match error.kind() {
            ErrorKind::NotFound => format!("stat {shown}: no such file or directory"),
            ErrorKind::PermissionDenied => format!("stat {shown}: permission denied"),
            ErrorKind::NotADirectory => format!("stat {shown}: not a directory"),
            _ => format!("stat {shown}: {error}"),
        }),
    }
}

/// Why a program that was found could not be executed, in the kernel's words.
pub(super) fn exec_fault(name: &str, error: &std::io::Error) -> String {
    let reason = match error.kind() {
        // The file is there, so that it is its interpreter that is missing.
        ErrorKind::NotFound => "no such file or directory".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            "exec format error".into()
        }
        _ => error.to_string(),
    };
    format!("{EXEC_FAULT}{name}: {reason}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_program_is_found_and_refused_as_container_runtimes_do() {
        let dir = std::env::temp_dir().join(format!("program-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("bin/dir")).unwrap();
        for (name, mode) in [("tool", 0o755), ("plain", 0o644)] {
            let path = dir.join("bin").join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
        let bin = dir.join("bin").display().to_string();
        let search = format!("/nowhere:{bin}");
        let found = find("tool", &search);
        assert_eq!(found, Ok(dir.join("bin/tool")));
        assert_eq!(find(&format!("{bin}/tool"), ""), Ok(dir.join("bin/tool")));
        for (name, words) in [
            ("nope", "exec: \"nope\": executable file not found in $PATH"),
            ("plain", "executable file not found in $PATH"),
            ("dir", "executable file not found in $PATH"),
            ("", "executable file not found in $PATH"),
            (&format!("{bin}/plain"), "permission denied"),
            (
                &format!("{bin}/dir"),
                "permission denied: it is a directory",
            ),
            ("/nowhere/x", "stat /nowhere/x: no such file or directory"),
            (&format!("{bin}/tool/x"), "not a directory"),
        ] {
            let reason = find(name, &search).unwrap_err();
            assert!(reason.contains(words), "{name}: {reason}");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
