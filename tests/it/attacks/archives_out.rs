//! Archives that go out: what runs leave at the paths that are read back.

use super::table::{Outcome, Row, Stand, Table, outcome, row};
use crate::run::shell;
use flate2::read::GzDecoder;
use serde_json::{Value, json};

pub fn tables() -> Vec<Table> {
    let limit = ("RUNNER_MAX_COLLECT_BYTES", "8m");
    vec![Table::new(
        "archives out",
        move || Stand::with(&[limit]),
        rows(),
    )]
}

fn rows() -> Vec<Row> {
    let (link, proc) = ("output is a symlink", "output leads to /proc");
    let (gone, changed) = (
        "path that the run deleted",
        "path that the run replaced by another type",
    );
    let (late, sparse) = ("read only after the exit", "sparse 1 TB file");
    let terabyte = "dd if=/dev/zero bs=1 count=1 seek=1099511627776 of=";
    let over = "over the limit is reported and never cut";
    let urandom = "dd if=/dev/urandom bs=1M count=9 of=";
    let many = "cd /d; for n in $(seq 20000); do : >$n; done";
    vec![
        file(link, "ln -s /etc/passwd /out/f", "200 | symbolic link"),
        directory(link, "ln -s /etc /d/l", "200 | ./l"),
        file(proc, "ln -s /proc/1/environ /out/f", "200 | symbolic link"),
        file(
            proc,
            "ln -s /proc/self/root/etc/passwd /out/f",
            "200 | symbolic link",
        ),
        directory(proc, "ln -s /proc/1/root /d/l", "200 | ./l"),
        at(
            "/proc/1/environ",
            proc,
            "true",
            "422 invalid_request volumes /proc/1/environ",
        ),
        // Fewer, since the engine needs minutes for a million on some disks.
        directory("a million files", many, "200 | 20000 files"),
        file(sparse, &format!("{terabyte}/out/f"), "200 | more than"),
        directory(sparse, &format!("{terabyte}/d/f"), "200 | more than"),
        file(gone, "rm -f /out/f", "200 | null"),
        file(link, "ln -s f /out/f", "200 | too many links"),
        file(changed, "mkdir /out/f", "200 | directory"),
        file(changed, "mkfifo /out/f", "200 | fifo"),
        directory(
            changed,
            "rm -rf /d; ln -s /etc /d; mkfifo /d/p",
            "200 | p` is a fifo",
        ),
        file(
            late,
            "(sleep 1; echo late >/out/f)& echo early >/out/f",
            "200 | early",
        ),
        file(over, &format!("{urandom}/out/f"), "200 | more than"),
        directory(over, &format!("{urandom}/d/f"), "200 | more than"),
    ]
}

fn file(case: &'static str, script: &str, expected: &'static str) -> Row {
    at("/out/f", case, script, expected)
}

fn at(path: &'static str, case: &'static str, script: &str, expected: &'static str) -> Row {
    left(
        case,
        expected,
        (script, path, json!({"type": "file", "response": true})),
    )
}

fn directory(case: &'static str, script: &str, expected: &'static str) -> Row {
    left(
        case,
        expected,
        (script, "/d", json!({"type": "directory", "response": true})),
    )
}

/// A run of the script, with this volume at this path. The outcome has what came back.
fn left(
    case: &'static str,
    expected: &'static str,
    (script, path, volume): (&str, &'static str, Value),
) -> Row {
    let request = shell(script, json!({"volumes": {path: volume}}));
    row(case, expected, move |server| {
        let answer = server.post("/run", &request);
        let result = answer.json();
        match answer.status {
            200 => format!("200 | {}", what_came(&result, path)),
            _ => outcome(&answer),
        }
    })
}

fn what_came(result: &Value, path: &str) -> Outcome {
    let volume = &result["volumes"][path];
    let content = volume["content"].as_str();
    let words = match (volume["type"].as_str(), content) {
        (Some("file"), Some(content)) => {
            let bytes = oneoff_docker_runner::archive::decode_base64(content).unwrap();
            String::from_utf8(bytes).unwrap()
        }
        (Some("directory"), Some(content)) => listed(content),
        _ => volume.to_string(),
    };
    format!("{words} {}", result["warnings"])
}

/// The number of files in a directory that came back, and the names of some entries.
fn listed(content: &str) -> String {
    let bytes = oneoff_docker_runner::archive::decode_base64(content).unwrap();
    let mut archive = tar::Archive::new(GzDecoder::new(&bytes[..]));
    let (mut files, mut names) = (0, Vec::new());
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        files += u32::from(entry.header().entry_type().is_file());
        names.push(entry.path().unwrap().display().to_string());
    }
    names.truncate(20);
    format!("{files} files: {}", names.join(" "))
}
