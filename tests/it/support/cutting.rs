//! Between the server and the real engine: passes everything on, and keeps one answer to itself, or one request for a
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

/// What happens to that request.
struct Fate {
    words: &'static str,
    first: Box<dyn Fn() + Send + Sync>,
    loses_answer: bool,
    done: Arc<AtomicBool>,
}

impl Cutting {
    /// Its answer is never heard.
    pub fn new(words: &'static str) -> Self {
        Self::with(words, || {}, true)
    }

    /// It reaches the engine when `first` is done.
    pub fn holding(words: &'static str, first: impl Fn() + Send + Sync + 'static) -> Self {
        Self::with(words, first, false)
    }

    fn with(
        words: &'static str,
        first: impl Fn() + Send + Sync + 'static,
        loses_answer: bool,
    ) -> Self {
        let directory = Directory::new("cutting");
        let listener = UnixListener::bind(directory.path().join("engine.sock")).unwrap();
        let (done, stop) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let stopped = stop.clone();
        let fate = Arc::new(Fate {
            words,
            first: Box::new(first),
            loses_answer,
            done: done.clone(),
        });
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                relay(client, fate.clone());
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

    /// Whether the request came.
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

fn relay(client: UnixStream, fate: Arc<Fate>) {
    let engine = UnixStream::connect("/var/run/docker.sock").unwrap();
    let cut = Arc::new(AtomicBool::new(false));
    let is_cut = cut.clone();
    let (from, to) = (client.try_clone().unwrap(), engine.try_clone().unwrap());
    // A request's head arrives in one piece: our client writes it so.
    std::thread::spawn(move || {
        pass(from, to, |piece| {
            let is_the_one = String::from_utf8_lossy(piece).contains(fate.words);
            if is_the_one && !fate.done.swap(true, Ordering::SeqCst) {
                (fate.first)();
                cut.store(fate.loses_answer, Ordering::SeqCst);
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
