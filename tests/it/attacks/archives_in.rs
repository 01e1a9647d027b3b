//! Archives that come in: each is sent to `/run` and to `/volume`, and both must treat it alike.

use super::table::{Outcome, Row, Stand, Table, name, outcome, row};
use super::tarball::{Tarball, gzip};
use crate::run::shell;
use crate::support::Server;
use oneoff_docker_runner::archive::encode_base64;
use serde_json::{Value, json};
use tar::EntryType;

const SECTION: &str = "archives in";
/// The answer to what is refused.
const REFUSED: &str = "422 invalid_request volumes /d content";
/// What the servers of this section allow an archive to unpack to.
const UNPACKED: (&str, &str) = ("RUNNER_MAX_UNPACKED_BYTES", "64m");

pub fn tables() -> Vec<Table> {
    let rows = [names(), links_and_types(), formats(), bombs()];
    let rows = rows.into_iter().flatten().collect();
    vec![Table::new(SECTION, || Stand::with(&[UNPACKED]), rows)]
}

fn names() -> Vec<Row> {
    let deep = "d/".repeat(300) + "x";
    let wide = "w".repeat(300);
    vec![
        refused("`..` in a name", "`..`", Tarball::new().file("../x", "")),
        refused(
            "`..` in a name",
            "`..`",
            Tarball::new().file("a/../../x", ""),
        ),
        refused(
            "absolute name",
            "absolute",
            Tarball::new().file("/etc/passwd", ""),
        ),
        refused(
            "`.`-prefixed name",
            "`..`",
            Tarball::new().file("./../x", ""),
        ),
        taken(
            "`.`-prefixed name",
            "200 success | ./x",
            Tarball::new().file("./x", "").file("././y", "").base64(),
        ),
        refused(
            "NUL in a name",
            "NUL",
            Tarball::new().gnu_name("a\0b").file("x", ""),
        ),
        refused(
            "NUL in a name",
            "NUL",
            Tarball::new().pax("path", "a\0b").file("x", ""),
        ),
        refused(
            "over-long name",
            "255",
            Tarball::new().gnu_name(&wide).file("x", ""),
        ),
        refused(
            "over-long name",
            "255",
            Tarball::new().pax("path", &wide).file("x", ""),
        ),
        refused(
            "over-long name",
            "4096",
            Tarball::new().gnu_name(&"long/".repeat(1000)).file("x", ""),
        ),
        refused(
            "depth bomb",
            "255 directories",
            Tarball::new().gnu_name(&deep).file("x", ""),
        ),
        refused(
            "PAX long name",
            "`..`",
            Tarball::new().pax("path", "../x").file("x", ""),
        ),
        taken(
            "PAX long name",
            "200 success | ./nnnnnn",
            Tarball::new()
                .pax("path", &"n".repeat(200))
                .file("x", "")
                .base64(),
        ),
        refused(
            "GNU long name",
            "`..`",
            Tarball::new().gnu_name("../x").file("x", ""),
        ),
        taken(
            "GNU long name",
            "200 success | ./nnnnnn",
            Tarball::new()
                .gnu_name(&"n".repeat(200))
                .file("x", "")
                .base64(),
        ),
    ]
}

fn links_and_types() -> Vec<Row> {
    let through = Tarball::new().symlink("l", "/etc").file("l/x", "");
    // A second symbolic link, which means nothing outside of the run's container.
    let shadow = Tarball::new()
        .symlink("l", "/etc/shadow")
        .hardlink("h", "l");
    let through_it = Tarball::new()
        .symlink("l", "/etc")
        .hardlink("h", "l")
        .file("h/x", "");
    let becomes_link = Tarball::new().file("l/x", "").symlink("l", "/etc");
    let becomes_file = Tarball::new().symlink("l", "/etc/cron.d/x").file("l", "x");
    let device = |kind| Tarball::new().entry(kind, ("dev", ""), b"");
    vec![
        refused("symlink, then written through", "symbolic link", through),
        refused(
            "hardlink to outside",
            "absolute",
            Tarball::new().hardlink("h", "/etc/shadow"),
        ),
        refused(
            "hardlink to outside",
            "`..`",
            Tarball::new().hardlink("h", "../x"),
        ),
        taken(
            "hardlink to a symlink",
            "200 success | 777 ./h",
            shadow.base64(),
        ),
        refused("hardlink to a symlink", "symbolic link", through_it),
        taken(
            "plain duplicate",
            "200 success | 644 ./x",
            Tarball::new().file("x", "old").file("x", "new").base64(),
        ),
        refused("device entry", "device", device(EntryType::Char)),
        refused("device entry", "device", device(EntryType::Block)),
        refused("FIFO entry", "FIFO", device(EntryType::Fifo)),
        refused("duplicate that changes a name's type", "`l`", becomes_link),
        refused("duplicate that changes a name's type", "`l`", becomes_file),
        refused(
            "sparse map that lies about sizes",
            "",
            Tarball::new().gnu_sparse("s", (1 << 40, 10), b"piece"),
        ),
        refused(
            "sparse map that lies about sizes",
            "",
            Tarball::new().gnu_sparse("s", (0, 1 << 40), b"piece"),
        ),
        taken(
            "honest sparse file",
            "200 success | 644 ./s",
            Tarball::new()
                .gnu_sparse("s", (4096, 4101), b"piece")
                .base64(),
        ),
        taken(
            "setuid bits",
            "200 success | 755 ./su",
            Tarball::new().file_with_mode("su", 0o6755, "").base64(),
        ),
        refused(
            "PAX size smuggling",
            "",
            Tarball::new().pax("size", "-1").file("x", ""),
        ),
        refused(
            "PAX size smuggling",
            "",
            Tarball::new()
                .pax("size", "18446744073709551615")
                .file("x", "content"),
        ),
        // A reader that goes by the header finds the second file hidden in the first one.
        refused(
            "PAX size smuggling",
            "",
            Tarball::new().pax("size", "0").file("x", "content"),
        ),
    ]
}

fn formats() -> Vec<Row> {
    let sound = || Tarball::new().file("x", "content");
    let gz = sound().gz();
    let base64 = encode_base64(&gz);
    let broken: String = base64
        .as_bytes()
        .chunks(20)
        .fold(String::new(), |lines, line| {
            lines + std::str::from_utf8(line).unwrap() + "\r\n"
        });
    // Its base64 has characters that differ between the alphabets.
    let odd = (0..64).map(|n| Tarball::new().file("x", &"\u{7f}?>~".repeat(n)).base64());
    let odd = odd
        .into_iter()
        .find(|text| text.contains('+') && text.contains('/'))
        .unwrap();
    let url_safe = odd.replace('+', "-").replace('/', "_").replace('=', "");
    let halves = [gzip(&sound().tar()[..700]), gzip(&sound().tar()[700..])].concat();
    let bytes = |case, words, bytes: &[u8]| refused_text(case, words, encode_base64(bytes));
    vec![
        taken(
            "concatenated gzip members",
            "200 success | ./x",
            encode_base64(&halves),
        ),
        taken(
            "concatenated gzip members",
            "200 success | ./x",
            encode_base64(&[&gz[..], b"garbage"].concat()),
        ),
        bytes(
            "truncation",
            "follows",
            &[&gzip(&sound().tar()[..1024]), &b"garbage"[..]].concat(),
        ),
        bytes("truncation", "cut short", &gz[..gz.len() - 9]),
        bytes("truncation", "cut short", &gz[..20]),
        bytes("truncation", "", &gzip(&sound().tar()[..600])),
        bytes("xz posing as gzip", "xz", b"\xfd7zXZ\0\0\x04"),
        bytes("zstd posing as gzip", "zstd", b"\x28\xb5\x2f\xfd\x04"),
        bytes("plain tar posing as gzip", "a plain tar", &sound().tar()),
        refused_text("not base64", "base64", "not base64!".into()),
        refused_text(
            "not base64",
            "base64",
            "data:application/gzip;base64,H4sI".into(),
        ),
        taken("base64 with line breaks", "200 success | ./x", broken),
        taken(
            "base64 in the URL-safe alphabet",
            "200 success | ./x",
            url_safe,
        ),
    ]
}

fn bombs() -> Vec<Row> {
    let zeros = vec![0; 80 << 20];
    let bomb = |bytes: &[u8]| encode_base64(&gzip(bytes));
    let many = Tarball::new().directory("same/").repeated(1_000_001);
    let content = String::from_utf8(zeros.clone()).unwrap();
    vec![
        refused_text("gzip bomb", "zeros", bomb(&zeros)),
        refused_text("gzip bomb", "", bomb(&gzip(&zeros))),
        row(
            "entry-count bomb",
            "422 invalid_request volumes /d content | entries",
            {
                let request = listing(&encode_base64(&many));
                move |server: &Server| outcome(&server.post("/run", &request))
            },
        ),
        refused("size bomb", "67108864", Tarball::new().file("x", &content)),
        refused(
            "size bomb",
            "67108864",
            Tarball::new().lying_file("x", 1 << 40, b"x"),
        ),
    ]
}

fn refused(case: &'static str, words: &'static str, archive: Tarball) -> Row {
    refused_text(case, words, archive.base64())
}

fn refused_text(case: &'static str, words: &'static str, content: String) -> Row {
    row(case, REFUSED, move |server| {
        let answer = outcome(&server.post("/run", &listing(&content)));
        assert!(answer.contains(words), "{words}: {answer}");
        let detail = |outcome: &Outcome| outcome.split_once(": ").map(|(_, text)| text.to_owned());
        let volume = volume(server, &content);
        assert!(
            volume.starts_with("422 invalid_request content | "),
            "{volume}"
        );
        assert_eq!(detail(&volume), detail(&answer));
        answer
    })
}

fn taken(case: &'static str, expected: &'static str, content: String) -> Row {
    row(case, expected, move |server| {
        assert!(volume(server, &content).starts_with("200 success"));
        outcome(&server.post("/run", &listing(&content)))
    })
}

/// A run that prints modes and names of what the archive unpacks to.
fn listing(content: &str) -> Value {
    let volumes = json!({"/d": {"type": "directory", "content": content}});
    shell(
        "cd /d; find . ! -type d -exec stat -c '%a %n' {} +",
        json!({"volumes": volumes}),
    )
}

/// Makes a volume of the archive, and removes it.
fn volume(server: &Server, content: &str) -> Outcome {
    let name = name(server, "volume");
    let answer = server.post(
        "/volume",
        &json!({"name": name, "content": content, "strip_components": 0}),
    );
    let removed = server.request("DELETE", &format!("/volume/{name}"), "");
    assert_eq!(removed.status, if answer.status == 200 { 204 } else { 404 });
    outcome(&answer)
}
