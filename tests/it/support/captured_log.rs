//! The log lines of this process: those of the library and its dependencies, when a test calls them directly.

use std::sync::{Mutex, MutexGuard, Once, PoisonError};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Records the lines of every level and every thread until it is dropped; nothing is logged otherwise.
pub struct CapturedLog {
    _turn: MutexGuard<'static, ()>,
}

impl CapturedLog {
    /// Blocks while another test captures.
    pub fn start() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        static INSTALL: Once = Once::new();
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        INSTALL.call_once(|| log::set_logger(&Recorder).unwrap());
        LINES.lock().unwrap().clear();
        log::set_max_level(log::LevelFilter::Trace);
        Self { _turn: turn }
    }

    /// The lines so far, each as `target message`.
    pub fn lines(&self) -> Vec<String> {
        LINES.lock().unwrap().clone()
    }
}

impl Drop for CapturedLog {
    fn drop(&mut self) {
        log::set_max_level(log::LevelFilter::Off);
    }
}

struct Recorder;

impl log::Log for Recorder {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}", record.target(), record.args());
        LINES.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}
