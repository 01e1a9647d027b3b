//! Archives as programs write them, in requests to the server: what the container finds, and what a volume holds.

use super::archive::tree::{Names, WRITERS, plant};
use super::run::shell;
use super::support::{Directory, IMAGE, Server, docker, untar};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Lists the working directory: types, modes, targets and digests. The same in every shell.
const LISTING: &str = r#"find . ! -name . -exec sh -c 'for f; do
    if [ -L "$f" ]; then printf "%s -> %s\n" "$f" "$(readlink "$f")"
    elif [ -d "$f" ]; then printf "%s/ %s\n" "$f" "$(stat -c %a "$f")"
    else printf "%s %s %s\n" "$f" "$(stat -c %a "$f")" "$(sha256sum < "$f")"; fi
done' sh {} + | LC_ALL=C sort"#;

fn targz(tar: &[u8]) -> String {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(tar).unwrap();
    BASE64_STANDARD.encode(gzip.finish().unwrap())
}

fn output_of(directory: &Path, script: &str) -> Vec<u8> {
    let mut command = Command::new("sh");
    command.args(["-e", "-c", script]).current_dir(directory);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    output.stdout
}

fn listing_of(directory: &Path) -> String {
    String::from_utf8(output_of(directory, LISTING)).unwrap()
}

/// What a container finds in a directory that was sent as this archive.
fn listing_in_run(server: &Server, content: &str) -> String {
    let volumes = json!({"/d": {"type": "directory", "content": content}});
    let result = server.run(shell(
        &format!("cd /d && {LISTING}"),
        json!({"volumes": volumes}),
    ));
    assert_eq!(result["status"], "success", "{result}");
    result["stdout"].as_str().unwrap().to_owned()
}

fn names_and_contents(content: &Value) -> Vec<(String, Option<Vec<u8>>)> {
    let entries = untar(content.as_str().unwrap()).into_iter();
    entries.map(|entry| (entry.name, entry.content)).collect()
}

/// The content of a volume that is filled with this archive. The volume is removed again.
fn through_a_volume(server: &Server, content: &str) -> Value {
    let name = format!("archives-from-tools-{}", std::process::id());
    let path = format!("/volume/{name}");
    let answer = server.post("/volume", &json!({"name": name, "content": content}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let read = server.get(&path).json();
    assert_eq!(server.request("DELETE", &path, "").status, 204);
    read["content"].clone()
}

#[test]
fn archives_that_other_tools_were_reported_for_are_unpacked() {
    let server = Server::start();
    let hello = || Some(b"hello\n".to_vec());
    let mut big = vec![0; 1 << 20];
    big.extend(b"hello");
    type Expected = Vec<(&'static str, Option<Vec<u8>>)>;
    let cases: [(&str, Expected); 7] = [
        ("macos-appledouble-top", vec![("a.txt", hello())]),
        ("macos-sparse-1.0", vec![("big.bin", Some(big))]),
        ("same-file-listed-twice", vec![("foo", hello())]),
        ("directory-with-a-size", vec![("d", None), ("d/f", hello())]),
        ("gnu-volume-label", vec![("a.txt", hello())]),
        ("python-tiny-mtime", vec![("a.txt", hello())]),
        ("python-arcname-slash", vec![("a.txt", hello())]),
    ];
    for (case, expected) in cases {
        let root = env!("CARGO_MANIFEST_DIR");
        let archive = std::fs::read(format!("{root}/tests/corpus/archives/{case}.tar.gz")).unwrap();
        let content = BASE64_STANDARD.encode(archive);
        let found = if case == "macos-appledouble-top" {
            let mut found = names_and_contents(&through_a_volume(&server, &content));
            // An ordinary file; only the companion of the directory that is stripped goes with it.
            assert_eq!(found.remove(0).0, "._a.txt");
            found
        } else {
            let volume = json!({"type": "directory", "content": content, "response": true});
            let result = server.run(shell("true", json!({"volumes": {"/d": volume}})));
            names_and_contents(&result["volumes"]["/d"]["content"])
        };
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(name, content)| (name.to_owned(), content))
            .collect();
        assert!(found == expected, "{case}");
    }
    server.stop();
}

#[test]
fn a_container_finds_the_tree_that_a_program_packed() {
    let server = Server::start();
    let tree = plant(Names::Any);
    let expected = listing_of(tree.path());
    let labels = [
        "GNU tar, oldgnu sparse",
        "GNU tar, sparse 1.0",
        "GNU tar, twice",
        "bsdtar, pax",
        "busybox",
        "Python, PAX, root `/`",
        "node-tar",
        "tar-stream",
    ];
    for label in labels {
        let writer = WRITERS.iter().find(|writer| writer.label == label);
        let tar = writer.unwrap().pack(tree.path());
        assert_eq!(listing_in_run(&server, &targz(&tar)), expected, "{label}");
    }
    server.stop();
}

#[test]
fn a_tar_from_go_fills_a_volume_with_the_tree() {
    let server = Server::start();
    let tree = plant(Names::Any);
    // `docker cp` writes with Go's archive/tar.
    let container = docker(&["create", IMAGE, "true"]);
    let packed = Directory::new("go-tar");
    let script = format!(
        "mkdir tree && cp -a '{}/.' tree && docker cp tree {container}:/ && docker cp {container}:/tree - >t.tar",
        tree.path().display()
    );
    output_of(packed.path(), &script);
    docker(&["rm", &container]);
    let tar = std::fs::read(packed.file("t.tar")).unwrap();
    let content = through_a_volume(&server, &targz(&tar));
    let found = listing_in_run(&server, content.as_str().unwrap());
    assert_eq!(found, listing_of(tree.path()));
    server.stop();
}

#[test]
fn names_that_an_archive_repeats_come_out_as_tar_unpacks_them() {
    let server = Server::start();
    let directory = Directory::new("repeated");
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir(at("made")).unwrap();
    std::fs::create_dir(at("unpacked")).unwrap();
    let append = "echo old >f; ln f g; ln -s f l; ln l m; ln -s gone d; echo s >s;
        tar cf ../a.tar f f g l m l d s s; rm f g d; echo new >f; ln f g; ln -s other d;
        tar rf ../a.tar g f d; tar rf ../a.tar s m";
    output_of(&at("made"), append);
    output_of(&at("unpacked"), "tar xf ../a.tar");
    let expected = listing_of(&at("unpacked"));
    assert!(expected.contains("./m -> f\n") && expected.contains("./d -> other\n"));
    let content = targz(&std::fs::read(at("a.tar")).unwrap());
    assert_eq!(listing_in_run(&server, &content), expected);
    server.stop();
}
