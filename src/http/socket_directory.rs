//! The private directory of the inner server's socket. Its name contains the process that made it, so that a later server can
//! remove it if that process was killed.

use crate::process_identity::ProcessIdentity;
use crate::random_id;
use std::fs::{DirBuilder, read_dir, remove_dir, remove_file, symlink_metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The longest path a Unix socket address can hold.
const MAX_SOCKET_PATH: usize = 107;
const PREFIX: &str = "oneoff-inner-";
/// Length of the random part of the name.
const RANDOM_DIGITS: usize = 6;
const SOCKET_DIGITS: usize = 8;
const OWNER_ONLY: u32 = 0o700;

/// Makes a new directory that only this user can enter, after removing those of processes that have ended. Errors: it cannot
/// be made in any of the parents.
pub(super) fn create() -> io::Result<PathBuf> {
    let this_process = ProcessIdentity::current();
    let name = format!(
        "{PREFIX}{}-{}",
        this_process.tag(),
        random_digits(RANDOM_DIGITS)
    );
    let parents = parents();
    parents
        .iter()
        .for_each(|parent| remove_leftovers(parent, &this_process));
    let mut failure = io::Error::other("no path is short enough");
    for parent in parents {
        let directory = parent.join(&name);
        let slash = 1;
        if directory.as_os_str().len() + slash + SOCKET_DIGITS > MAX_SOCKET_PATH {
            continue;
        }
        match DirBuilder::new().mode(OWNER_ONLY).create(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) => failure = error,
        }
    }
    Err(io::Error::new(
        failure.kind(),
        format!(
            "no private directory for the inner socket in $TMPDIR, /tmp or /dev/shm: {failure}"
        ),
    ))
}

/// A new name for a socket in the directory.
pub(super) fn socket_name() -> String {
    random_digits(SOCKET_DIGITS)
}

/// Where the directory may be. An image from scratch has no `/tmp`, but every container has `/dev/shm`.
fn parents() -> [PathBuf; 3] {
    [std::env::temp_dir(), "/tmp".into(), "/dev/shm".into()]
}

fn remove_leftovers(parent: &Path, this_process: &ProcessIdentity) {
    let Ok(entries) = read_dir(parent) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let tag = name.to_str().and_then(tag_of);
        if tag.is_some_and(|tag| this_process.has_outlived(tag))
            && let Err(error) = remove(&entry.path())
        {
            log::debug!("{} is left: {error}", entry.path().display());
        }
    }
}

fn tag_of(name: &str) -> Option<&str> {
    let (tag, random) = name.strip_prefix(PREFIX)?.rsplit_once('-')?;
    is_digits(random, RANDOM_DIGITS).then_some(tag)
}

/// Removes a directory like those of [`create`]. Errors: it has another owner, mode or content.
fn remove(directory: &Path) -> io::Result<()> {
    let found = symlink_metadata(directory)?;
    let is_own = found.uid() == rustix::process::geteuid().as_raw();
    if !found.is_dir() || !is_own || found.mode() & 0o7777 != OWNER_ONLY {
        return Err(io::Error::other("not as we make it"));
    }
    for entry in read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_named = name
            .to_str()
            .is_some_and(|name| is_digits(name, SOCKET_DIGITS));
        if is_named && entry.file_type()?.is_socket() {
            remove_file(entry.path())?;
        }
    }
    remove_dir(directory)
}

fn random_digits(count: usize) -> String {
    random_id::unique()[..count].to_owned()
}

fn is_digits(text: &str, count: usize) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == count && text.bytes().all(is_digit)
}
