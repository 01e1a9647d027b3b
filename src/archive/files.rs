//! Reads the files of an engine tar of a directory one by one.

use super::entry::EntryKind;
use super::error::Error;
use super::name::for_display;
use super::reader::{BUFFER, TarReader};
use std::io::{BufReader, Read};

/// Most bytes allocated in advance for a file, whatever its header says.
const MAX_RESERVE: u64 = 1 << 20;

/// Receives the path of a file, and its content or why it is not read.
pub type FileSink<'a> = dyn FnMut(&str, Result<Vec<u8>, Error>) + 'a;

/// Passes the path and the content of each file to `each`, in the order of the archive; what is not a file is skipped. Instead of a
/// content of more than `limit_bytes` bytes, it passes [`Error::TooLarge`]. Errors: it is not an archive, or it is cut short;
/// every file passed before was complete.
pub fn read_files(
    engine_tar: &mut dyn Read,
    limit_bytes: u64,
    each: &mut FileSink<'_>,
) -> Result<(), Error> {
    let stream = BufReader::with_capacity(BUFFER, engine_tar);
    let mut source = TarReader::new(stream, u64::MAX / 2);
    while let Some(entry) = source.next_entry()? {
        if entry.kind != EntryKind::File {
            continue;
        }
        let path = for_display(&entry.name);
        if entry.size > limit_bytes {
            let detail = format!("the file has more than {limit_bytes} bytes");
            each(&path, Err(Error::TooLarge(detail)));
            continue;
        }
        let reserve = usize::try_from(entry.size.min(MAX_RESERVE)).unwrap_or(0);
        let mut content = Vec::with_capacity(reserve);
        source.copy_content(&mut content)?;
        each(&path, Ok(content));
    }
    Ok(())
}
