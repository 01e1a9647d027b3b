//! A proxy between a server and the real engine that withholds one answer, delays one request, or fails requests.

use super::{Directory, engine_socket};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// An engine socket on which the first request that the judge picks is delayed or stays unanswered.
pub struct FaultProxy {
    directory: Directory,
    done: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<UnixStream>>>,
}

/// What happens to a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The request and its answer are passed on.
    Pass,
    /// The request was delayed by the judge, and is passed on with its answer.
    Delayed,
    /// The request is passed on, and its answer is not.
    Unanswered,
    /// As [`Fate::Unanswered`], for every such request and not only for the first.
    NeverAnswered,
    /// An archive for the root of a container is put into its `/etc` instead. Befalls every such request.
    Misplaced,
    /// The request is passed on; its answer is a container's output, of which nothing of stderr arrives. Befalls every such request.
    WithoutStderr,
    /// The request is not passed on; the answer is a 500. Unlike the other faults, it befalls every request that it is chosen for.
    Fails,
    /// As [`Fate::Fails`], with these bytes as the answer, then the end of the connection.
    Answered(&'static [u8]),
}

/// Decides the fate of a request by its head. The request waits while this runs.
type Judge = dyn Fn(&str) -> Fate + Send + Sync;

impl FaultProxy {
    /// The first request whose head contains `words` stays unanswered.
    pub fn new(words: &'static str) -> Self {
        Self::judging(move |head| match head.contains(words) {
            true => Fate::Unanswered,
            false => Fate::Pass,
        })
    }

    /// The first request whose head contains `words` reaches the engine after `first` has returned.
    pub fn holding(words: &'static str, first: impl Fn() + Send + Sync + 'static) -> Self {
        let held = AtomicBool::new(false);
        Self::judging(move |head| {
            if !head.contains(words) || held.swap(true, Ordering::SeqCst) {
                return Fate::Pass;
            }
            first();
            Fate::Delayed
        })
    }

    /// Decides with `judge`; of requests that are [`Fate::Unanswered`], only the first is.
    pub fn judging(judge: impl Fn(&str) -> Fate + Send + Sync + 'static) -> Self {
        Self::judging_at(&engine_socket(), judge)
    }

    /// As [`FaultProxy::judging`], for the engine at this socket.
    pub fn judging_at(engine: &Path, judge: impl Fn(&str) -> Fate + Send + Sync + 'static) -> Self {
        let engine = engine.to_owned();
        let judge: Arc<Judge> = Arc::new(judge);
        let directory = Directory::new("cutting");
        let listener = UnixListener::bind(directory.path().join("engine.sock")).unwrap();
        let (done, stop) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (flag, stopped) = (done.clone(), stop.clone());
        let connections = Arc::<Mutex<Vec<UnixStream>>>::default();
        let accepted = connections.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let engine = UnixStream::connect(&engine).unwrap();
                let mut accepted = accepted.lock().unwrap();
                accepted.extend([&client, &engine].map(|end| end.try_clone().unwrap()));
                drop(accepted);
                relay([client, engine], judge.clone(), &flag);
            }
        });
        Self {
            directory,
            done,
            stop,
            connections,
        }
    }

    /// Breaks every connection that is open, as a network does. New ones are passed on.
    pub fn break_connections(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    pub fn docker_host(&self) -> String {
        let path = self.directory.path().join("engine.sock");
        format!("unix://{}", path.display())
    }

    /// Whether a request was delayed or left unanswered.
    pub fn has_cut(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(self.directory.path().join("engine.sock"));
    }
}

const FAILURE: &[u8] = b"HTTP/1.1 500 X\r\nContent-Type: application/json\r\nContent-Length: 26\r\nConnection: close\r\n\r\n\
    {\"message\":\"disk on fire\"}";

fn relay([client, engine]: [UnixStream; 2], judge: Arc<Judge>, done: &Arc<AtomicBool>) {
    let (cut, without_stderr) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let (is_cut, loses_stderr, done) = (cut.clone(), without_stderr.clone(), done.clone());
    let (from, to) = (client.try_clone().unwrap(), engine.try_clone().unwrap());
    let answers = client.try_clone().unwrap();
    // Relies on the client's way of writing: the head of a request in one piece.
    std::thread::spawn(move || {
        pass(from, to, |piece| {
            let text = String::from_utf8_lossy(piece);
            let methods = ["GET ", "HEAD ", "POST ", "PUT ", "DELETE "];
            let is_head = methods.iter().any(|method| text.starts_with(method));
            let fate = match is_head {
                true => judge(&text),
                // A part of a body, which may contain any words.
                false => Fate::Pass,
            };
            let instead = match fate {
                Fate::Fails => Some(FAILURE),
                Fate::Answered(bytes) => Some(bytes),
                _ => None,
            };
            if let Some(bytes) = instead {
                let _ = (&answers).write_all(bytes);
                return None;
            }
            if fate == Fate::Misplaced {
                done.store(true, Ordering::SeqCst);
                return Some(misplaced(piece));
            }
            if fate == Fate::WithoutStderr {
                without_stderr.store(true, Ordering::SeqCst);
                return Some(piece.to_vec());
            }
            let is_first = fate != Fate::Pass && !done.swap(true, Ordering::SeqCst);
            if fate == Fate::NeverAnswered || is_first {
                cut.store(fate != Fate::Delayed, Ordering::SeqCst);
            }
            Some(piece.to_vec())
        });
    });
    std::thread::spawn(move || {
        let output = RefCell::new(Output::default());
        pass(engine, client, |piece| {
            let piece = match loses_stderr.load(Ordering::SeqCst) {
                true => output.borrow_mut().without_stderr(piece),
                false => piece.to_vec(),
            };
            (!is_cut.load(Ordering::SeqCst)).then_some(piece)
        })
    });
}

/// An answer with a container's output, in frames.
#[derive(Default)]
struct Output {
    has_begun: bool,
    /// The beginning of the next frame.
    held: Vec<u8>,
}

impl Output {
    fn without_stderr(&mut self, piece: &[u8]) -> Vec<u8> {
        const HEAD_END: &[u8] = b"\r\n\r\n";
        const STDERR: u8 = 2;
        self.held.extend(piece);
        let mut passed = Vec::new();
        if !self.has_begun {
            let end = self.held.windows(4).position(|bytes| bytes == HEAD_END);
            let Some(end) = end else { return passed };
            passed.extend(self.held.drain(..end + 4));
            self.has_begun = true;
        }
        while let Some(length) = self.held.get(4..8) {
            let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
            if self.held.len() < 8 + length {
                break;
            }
            let frame: Vec<u8> = self.held.drain(..8 + length).collect();
            if frame[0] != STDERR {
                passed.extend(frame);
            }
        }
        passed
    }
}

/// The request with another path of extraction.
fn misplaced(piece: &[u8]) -> Vec<u8> {
    let end = piece.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (line, rest) = piece.split_at(end);
    let line = String::from_utf8_lossy(line).replace("?path=%2F ", "?path=%2Fetc ");
    [line.as_bytes(), rest].concat()
}

/// Copies what `passed` makes of each piece, until one side closes or it returns `None`.
fn pass(mut from: UnixStream, mut to: UnixStream, passed: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let Some(piece) = passed(&buffer[..count]) else {
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        };
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = (to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read));
}
