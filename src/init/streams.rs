//! The init's own use of the container's streams: reads the description, and nothing after it, from standard input; writes marks to
//! standard output and error. All other bytes on them are the command's.

use super::protocol::{Description, LENGTH_DIGITS, Mark, description_length};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Why there is no description if its writer is gone.
pub(super) const NO_DESCRIPTION: &str = "standard input ended before the description";
/// How often it is seen whether the engine has read what was written.
const READ_PAUSE: Duration = Duration::from_micros(50);

/// Reads the description. Unbuffered, since what follows is the command's. Blocks until it is there. Errors: the stream ended
/// before, or has something else.
pub(super) fn read_description() -> Result<Description, String> {
    let mut digits = [0; LENGTH_DIGITS];
    read_exact(&mut digits)?;
    let length = description_length(&digits).ok_or("this is no description")?;
    let mut json = vec![0; length];
    read_exact(&mut json)?;
    Description::parse(&json)
}

fn read_exact(mut into: &mut [u8]) -> Result<(), String> {
    let stdin = std::io::stdin();
    while !into.is_empty() {
        match rustix::io::read(stdin.as_fd(), &mut *into) {
            Ok(0) => return Err(NO_DESCRIPTION.into()),
            Ok(count) => into = &mut into[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(format!("standard input: {error}")),
        }
    }
    Ok(())
}

/// Gives up this process's hold of standard input: only then a writer learns that the command has closed it.
pub(super) fn release_stdin() {
    if let Ok(nothing) = File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(nothing);
    }
}

/// Writes a mark to standard output. Without effect if nobody reads that any more.
pub(super) fn write_to_stdout(mark: &Mark, nonce: &str, deadline: Instant) {
    write(std::io::stdout().as_fd(), &mark.encode(nonce), deadline);
}

/// Blocks until what was written to standard output is read, at most for `patience`. From then on the command cannot read it, which
/// may open the same pipe.
pub(super) fn await_read_stdout(patience: Duration) {
    let deadline = Instant::now() + patience;
    // Nothing says when a pipe is empty. What is no pipe is not waited for.
    while Instant::now() < deadline && ioctl_fionread(std::io::stdout()).is_ok_and(|left| left > 0)
    {
        std::thread::sleep(READ_PAUSE);
    }
}

/// Writes a mark to both streams, once each has room for it; gives up at the deadline.
pub(super) fn write_to_both(mark: &Mark, nonce: &str, deadline: Instant) {
    write_to_stdout(mark, nonce, deadline);
    write(std::io::stderr().as_fd(), &mark.encode(nonce), deadline);
}

/// A mark is short enough for a pipe to take it in one piece, so that it is written whole or not at all.
fn write(stream: BorrowedFd<'_>, mark: &[u8], deadline: Instant) {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut polled = [PollFd::new(&stream, PollFlags::OUT)];
        match poll(&mut polled, Some(&timespec(left))) {
            Ok(0) => return,
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        match rustix::io::write(stream, mark) {
            // The command may have made the pipe non-blocking.
            Err(Errno::INTR | Errno::AGAIN) if !left.is_zero() => {}
            _ => return,
        }
    }
}

/// A time for `poll`.
pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
