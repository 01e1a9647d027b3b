//! Whether what was sent into a helper's volume is there. Podman takes an archive for a place where nothing is mounted, and a
//! faulty engine may put it elsewhere: content that did not arrive must not go unnoticed.

use crate::archive::FileStamp;
use crate::docker::container::PathStat;
use crate::docker::{self, Client};
use crate::runner::clock::Moment;
use crate::runner::staging::upload::Uploaded;

/// Whether files on a volume have the size and the time that they were sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamps {
    /// They do: the volume is a plain one.
    Kept,
    /// The volume's storage may round times or have none.
    Unknown,
}

/// Times from here on, of the year 2038, do not fit into the inodes of every file system.
const LATEST_TIME: u64 = 1 << 31;

/// Asks the engine for the last entry that was sent, which speaks for the others: all went in one archive.
pub(crate) fn has_arrived(
    client: &Client,
    helper: &str,
    uploaded: &Uploaded,
    stamps: Stamps,
) -> Result<bool, docker::Error> {
    let Some(last) = &uploaded.last else {
        return Ok(true);
    };
    // A path in a call is UTF-8.
    let Ok(name) = std::str::from_utf8(&last.name) else {
        return Ok(true);
    };
    let Some(found) = client.archive_stat(helper, &uploaded.names.path_of(name))? else {
        return Ok(false);
    };
    Ok(match (last.file, stamps) {
        (Some(sent), Stamps::Kept) => is_this_version(&found, sent, uploaded.started),
        _ => true,
    })
}

/// Whether a file is the one that was sent, or has been changed since: a run that uses the volume may do that.
fn is_this_version(found: &PathStat, sent: FileStamp, started: Moment) -> bool {
    let Some(mtime) = Moment::parse(&found.mtime).map(Moment::seconds) else {
        return true;
    };
    let is_equal = mtime == sent.mtime && u64::try_from(found.size) == Ok(sent.size);
    is_equal || sent.mtime >= LATEST_TIME || mtime >= started.seconds()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_before_the_upload_that_differs_is_not_the_one_that_was_sent() {
        let started = Moment(1_000_000_500);
        for (mtime, size, sent_mtime, is_there) in [
            ("1970-01-01T00:01:40Z", 5, 100, true),
            ("1970-01-01T01:01:40+01:00", 5, 100, true),
            ("1970-01-01T00:01:40Z", 6, 100, false),
            ("1970-01-01T00:01:41Z", 5, 100, false),
            ("1970-01-01T00:01:40Z", 5, 1_000_000, false),
            ("1970-01-12T13:46:39Z", 9, 100, false),
            ("1970-01-12T13:46:40Z", 9, 100, true),
            ("1970-01-01T00:01:40Z", 6, 1 << 31, true),
            ("", 6, 100, true),
        ] {
            let found = PathStat {
                name: "f".into(),
                size,
                mode: 0o644,
                mtime: mtime.into(),
                link_target: String::new(),
            };
            let sent = FileStamp {
                size: 5,
                mtime: sent_mtime,
            };
            let found = is_this_version(&found, sent, started);
            assert_eq!(found, is_there, "{mtime} {size} {sent_mtime}");
        }
    }
}
