//! The thread of a run that was accepted: it is waited for while there is none.

use crate::cancel::Cancel;
use std::thread::Builder;
use std::time::Duration;

/// How long to wait after a thread could not be created.
const NO_THREAD_PAUSE: Duration = Duration::from_millis(100);

/// Does work on a thread of its own. Blocks until there is one. False: `stop` fired first, and the work was dropped.
pub(crate) fn start(work: impl FnOnce() + Send + 'static, stop: &Cancel) -> bool {
    let (hand_over, taken) = crossbeam_channel::bounded(1);
    let _ = hand_over.send(work);
    let mut is_waiting = false;
    loop {
        let taken = taken.clone();
        let run = move || {
            if let Ok(work) = taken.recv() {
                work();
            }
        };
        let Err(error) = Builder::new().name("run".into()).spawn(run) else {
            return true;
        };
        if !std::mem::replace(&mut is_waiting, true) {
            log::warn!("no thread for a run yet: {error}");
        }
        if stop.wait(NO_THREAD_PAUSE) {
            return false;
        }
    }
}
