//! The idle server: its size, its start, its memory.

use super::Outcome;
use super::figures::{Samples, Table, Target};
use super::server::Server;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

const STARTS: usize = 10;
const MEGABYTE: f64 = 1e6;

pub(crate) fn measure(binary: &Path, table: &mut Table) -> Outcome<()> {
    // `/health` asks the engine; an unknown path does not.
    let health = first_answer(binary, "/health", 200)?;
    let missing = first_answer(binary, "/missing", 404)?;
    table.row([
        "start to first answer (`/health`, which asks the engine)".into(),
        format!(
            "{:.0} ms (a 404: {:.0} ms)",
            health.median(),
            missing.median()
        ),
        format!("< 50 ms ({})", Target::Below(50.0).verdict(health.median())),
    ]);
    let (fresh, asked) = idle(binary)?;
    table.row([
        "idle RSS".into(),
        format!("{fresh:.1} MB (after a hundred requests for `/health`: {asked:.1})"),
        format!(
            "< 12 MB ({})",
            Target::Below(12.0).verdict(fresh.max(asked))
        ),
    ]);
    let size = std::fs::metadata(binary)?.len() as f64 / MEGABYTE;
    table.row([
        "static binary".into(),
        format!("{size:.2} MB"),
        format!("< 6.5 MB ({})", Target::Below(6.5).verdict(size)),
    ]);
    Ok(())
}

/// From the start of the process to its first answer. It prints its address, so that nothing is polled.
fn first_answer(binary: &Path, path: &str, status: u16) -> Outcome<Samples> {
    let mut samples = Samples::default();
    for _ in 0..STARTS {
        let server = Server::start(binary)?;
        let answer = server.get(path)?;
        samples.push_millis(server.spawned.elapsed());
        if answer.status != status {
            return Err(format!("GET {path} answered {}, not {status}", answer.status).into());
        }
        server.stop()?;
    }
    Ok(samples)
}

/// Memory in MB, after the start and after requests.
fn idle(binary: &Path) -> Outcome<(f64, f64)> {
    let server = Server::start(binary)?;
    let settle = Duration::from_millis(500);
    sleep(settle);
    let fresh = server.memory("VmRSS")? / MEGABYTE;
    for _ in 0..100 {
        server.get("/health")?;
    }
    sleep(settle);
    let asked = server.memory("VmRSS")? / MEGABYTE;
    server.stop()?;
    Ok((fresh, asked))
}
