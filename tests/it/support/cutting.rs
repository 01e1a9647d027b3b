//! Between the server and the real engine: passes everything on, and keeps one answer to itself, or a request for a
//! while.

use super::Directory;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A socket of the engine's on which something happens to the first request with certain words.
pub struct Cutting {
    directory: Directory,
    done: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

/// What happens to a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is passed on, and so is its answer.
    Passed,
    /// It is passed on, after what it had to wait for.
    Held,
    /// It is passed on, and its answer is never heard.
    Unanswered,
}

/// Judges requests by their heads; a request waits as long as this does.
type Judge = dyn Fn(&str) -> Fate + Send + Sync;

impl Cutting {
    /// Its answer is never heard.
    pub fn new(words: &'static str) -> Self {
        Self::judging(move |head| match head.contains(words) {
            true => Fate::Unanswered,
            false => Fate::Passed,
        })
    }

    /// The first such request reaches the engine when `first` is done.
    pub fn holding(words: &'static str, first: impl Fn() + Send + Sync + 'static) -> Self {
        let held = AtomicBool::new(false);
        Self::judging(move |head| {
            if !head.contains(words) || held.swap(true, Ordering::SeqCst) {
                return Fate::Passed;
            }
            first();
            Fate::Held
        })
    }

    /// Only the first answer that is to be kept back is.
    pub fn judging(judge: impl Fn(&str) -> Fate + Send + Sync + 'static) -> Self {
        let judge: Arc<Judge> = Arc::new(judge);
        let directory = Directory::new("cutting");
        let listener = UnixListener::bind(directory.path().join("engine.sock")).unwrap();
        let (done, stop) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (flag, stopped) = (done.clone(), stop.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                relay(client, judge.clone(), &flag);
            }
        });
        Self {
            directory,
            done,
            stop,
        }
    }

    pub fn docker_host(&self) -> String {
        let path = self.directory.path().join("engine.sock");
        format!("unix://{}", path.display())
    }

    /// Whether such a request came.
    pub fn has_cut(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }
}

impl Drop for Cutting {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(self.directory.path().join("engine.sock"));
    }
}

fn relay(client: UnixStream, judge: Arc<Judge>, done: &Arc<AtomicBool>) {
    let engine = UnixStream::connect("/var/run/docker.sock").unwrap();
    let cut = Arc::new(AtomicBool::new(false));
    let (is_cut, done) = (cut.clone(), done.clone());
    let (from, to) = (client.try_clone().unwrap(), engine.try_clone().unwrap());
    // A request's head arrives in one piece: our client writes it so.
    std::thread::spawn(move || {
        pass(from, to, |piece| {
            let fate = judge(&String::from_utf8_lossy(piece));
            if fate != Fate::Passed && !done.swap(true, Ordering::SeqCst) {
                cut.store(fate == Fate::Unanswered, Ordering::SeqCst);
            }
            true
        });
    });
    std::thread::spawn(move || pass(engine, client, |_| !is_cut.load(Ordering::SeqCst)));
}

/// Copies until one of the ends, or `wanted`, has had enough.
fn pass(mut from: UnixStream, mut to: UnixStream, wanted: impl Fn(&[u8]) -> bool) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !wanted(&buffer[..count]) {
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = (to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read));
}
