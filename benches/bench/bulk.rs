//! Much output, and a large directory in and out: their rates, and the memory of the server meanwhile. Each starts a
//! server of its own, so that the peak of its memory is due to this work alone.

use super::Outcome;
use super::engine::{self, IMAGE, LABEL};
use super::figures::{Samples, Table, Target};
use super::floor;
use super::server::Server;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;

const ROUNDS: usize = 3;
const MEGABYTE: f64 = 1e6;
const MEBIBYTE: usize = 1 << 20;

const OUTPUT_BYTES: u64 = 100_000_000;
/// Commands that print that much: lines, and bytes that JSON escapes to six each.
const OUTPUTS: [(&str, &str); 2] = [
    (
        "lines",
        "yes 0123456789012345678901234567890123456789012345678901234567890123 | head -c 100000000",
    ),
    ("NUL bytes", "head -c 100000000 /dev/zero"),
];

/// 64 files of 1 MiB.
const FILES: usize = 64;

/// 100 MB of standard output through `POST /run`, and straight from the engine.
pub(crate) fn stdout(binary: &Path, table: &mut Table) -> Outcome<()> {
    for (what, command) in OUTPUTS {
        let (ours, bare, peak) = output(binary, &["sh", "-c", command])?;
        table.row([
            format!("100 MB of stdout ({what}), 10 MiB kept"),
            format!(
                "{:.0} MB/s (engine API {:.0})",
                ours.median(),
                bare.median()
            ),
            String::new(),
        ]);
        table.row([
            "the same: peak RSS".into(),
            format!("{peak:.1} MB"),
            format!("< 64 MB ({})", Target::Below(64.0).verdict(peak)),
        ]);
    }
    Ok(())
}

/// Rates from request to answer in MB/s, of the server and of the engine, and the server's peak in MB.
fn output(binary: &Path, command: &[&str]) -> Outcome<(Samples, Samples, f64)> {
    let server = Server::start(binary)?;
    let label = engine::unique();
    let filter = format!("{LABEL}={label}");
    let request = serde_json::to_vec(&json!({
        "image": IMAGE, "command": command, "pull_policy": "never", "network": "none",
        "labels": {LABEL: label},
    }))?;
    let client = engine::client()?;
    let (mut ours, mut bare) = (Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        engine::until_quiet(&client, &filter)?;
        let mut count = 0;
        let config = floor::container(&label, "none", command);
        let times = floor::run(&client, &config, &mut |piece| count += piece.len() as u64)?;
        expect("bytes of output", count, OUTPUT_BYTES)?;
        bare.push(OUTPUT_BYTES as f64 / MEGABYTE / times.answer.as_secs_f64());

        engine::until_quiet(&client, &filter)?;
        let (result, took) = server.run(&request)?;
        let kept = result["stdout"].as_str().unwrap_or_default().len() as u64;
        let omitted = result["stdout_omitted_bytes"].as_u64().unwrap_or(0);
        expect("bytes kept and omitted", kept + omitted, OUTPUT_BYTES)?;
        ours.push(OUTPUT_BYTES as f64 / MEGABYTE / took.as_secs_f64());
    }
    let peak = server.memory("VmHWM")? / MEGABYTE;
    server.stop()?;
    engine::nothing_left(&client, &filter)?;
    Ok((ours, bare, peak))
}

/// 64 MiB of incompressible files, sent with the request and returned with the answer.
pub(crate) fn directory(binary: &Path, table: &mut Table) -> Outcome<()> {
    let server = Server::start(binary)?;
    let idle = server.memory("VmRSS")?;
    let label = engine::unique();
    let client = engine::client()?;
    let request = {
        let request = json!({
            "image": IMAGE, "command": ["true"], "pull_policy": "never", "network": "none",
            "labels": {LABEL: label},
            "volumes": {"/data": {"type": "directory", "content": packed()?, "response": true}},
        });
        serde_json::to_vec(&request)?
    };
    let (mut whole, mut staging, mut collecting) =
        (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        engine::until_quiet(&client, &format!("{LABEL}={label}"))?;
        let (result, took) = server.run(&request)?;
        check(&result)?;
        let step = |name: &str| result["timings"][name].as_f64().unwrap_or(f64::NAN) / 1e3;
        whole.push(took.as_secs_f64());
        staging.push(step("stage_ms"));
        collecting.push(step("collect_ms"));
    }
    let peak = server.memory("VmHWM")?;
    server.stop()?;
    engine::nothing_left(&client, &format!("{LABEL}={label}"))?;
    let bytes = (FILES * MEBIBYTE) as f64;
    let rate =
        |seconds: &Samples, bytes: f64| format!("{:.0} MB/s", bytes / MEGABYTE / seconds.median());
    table.row([
        "64 MiB directory in and out: the whole request".into(),
        format!(
            "{:.2} s, {} (staging {}, collecting {})",
            whole.median(),
            rate(&whole, 2.0 * bytes),
            rate(&staging, bytes),
            rate(&collecting, bytes)
        ),
        String::new(),
    ]);
    table.row([
        "the same: peak RSS".into(),
        format!(
            "{:.0} MiB, {:.2} × its size ({:.0} MiB before)",
            peak / MEBIBYTE as f64,
            peak / bytes,
            idle / MEBIBYTE as f64
        ),
        format!("< 4 × ({})", Target::Below(4.0).verdict(peak / bytes)),
    ]);
    Ok(())
}

fn expect(what: &str, got: u64, wanted: u64) -> Outcome<()> {
    match got == wanted {
        true => Ok(()),
        false => Err(format!("{got} {what}, not {wanted}").into()),
    }
}

/// The directory as base64 tar.gz.
fn packed() -> Outcome<String> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for index in 0..FILES {
        let content = noise(index);
        let mut head = tar::Header::new_gnu();
        head.set_mode(0o644);
        head.set_size(content.len() as u64);
        tar.append_data(&mut head, format!("{index}.bin"), content.as_slice())?;
    }
    Ok(BASE64_STANDARD.encode(tar.into_inner()?.finish()?))
}

/// Checks that every file was returned unchanged.
fn check(result: &Value) -> Outcome<()> {
    let content = result["volumes"]["/data"]["content"].as_str();
    let targz = BASE64_STANDARD.decode(content.ok_or("no directory came back")?)?;
    let mut tar = tar::Archive::new(GzDecoder::new(targz.as_slice()));
    let mut files = 0;
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let Some(name) = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".bin"))
        else {
            continue;
        };
        let wanted = noise(name.parse()?);
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        if content != wanted {
            return Err(format!("{name}.bin came back changed").into());
        }
        files += 1;
    }
    expect("files", files, FILES as u64)
}

/// 1 MiB of incompressible bytes, determined by `seed` (xorshift64).
fn noise(seed: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed as u64 + 1);
    let mut bytes = Vec::with_capacity(MEBIBYTE);
    while bytes.len() < MEBIBYTE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}
