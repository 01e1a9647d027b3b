//! The memory that the server keeps after a load, when nothing runs any more.

use super::Outcome;
use super::engine::IMAGE;
use super::figures::{Table, Target};
use super::server::Server;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::json;
use std::path::Path;
use std::thread::{scope, sleep};
use std::time::Duration;

const CLIENTS: usize = 6;
const ROUNDS: usize = 10;
/// How long the server may take to give memory back.
const SETTLE: Duration = Duration::from_secs(12);
const MEGABYTE: f64 = 1e6;

/// Runs with much output, with stdin and with files that are read back, from several clients at once.
pub(crate) fn measure(binary: &Path, table: &mut Table) -> Outcome<()> {
    let server = Server::start(binary)?;
    let requests = requests()?;
    scope(|scope| {
        let client = || {
            for request in (0..ROUNDS).flat_map(|_| &requests) {
                server.run(request)?;
            }
            Ok(())
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let mut ended = clients.into_iter().map(|client| client.join());
        ended.try_for_each(|outcome: std::thread::Result<Outcome<()>>| {
            outcome.map_err(|_| "a client panicked")?
        })
    })?;
    let peak = server.memory("VmHWM")? / MEGABYTE;
    sleep(SETTLE);
    let after = server.memory("VmRSS")? / MEGABYTE;
    server.stop()?;
    table.row([
        format!("RSS {} s after a load", SETTLE.as_secs()),
        format!("{after:.1} MB (peak {peak:.1})"),
        format!("< 16 MB ({})", Target::Below(16.0).verdict(after)),
    ]);
    Ok(())
}

fn requests() -> Outcome<[Vec<u8>; 3]> {
    let run = |command: &[&str]| json!({"image": IMAGE, "command": command, "pull_policy": "never", "network": "none"});
    let printing = run(&["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"]);
    let mut reading = run(&["wc", "-c"]);
    reading["stdin"] = json!(BASE64_STANDARD.encode(vec![7u8; 1 << 20]));
    reading["stdin_encoding"] = json!("base64");
    let mut collecting = run(&["sh", "-c", "head -c 2000000 /dev/urandom > /out/f"]);
    collecting["volumes"] = json!({"/out": {"type": "directory", "response": true}});
    let bytes = |request| serde_json::to_vec(&request);
    Ok([bytes(printing)?, bytes(reading)?, bytes(collecting)?])
}
