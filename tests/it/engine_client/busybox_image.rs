//! A test image made from the machine's static busybox, without a registry.
use oneoff_docker_runner::docker::{Client, Error};

pub const REPOSITORY: &str = "oneoff-test";
pub const TAG: &str = "engine-client";
pub const IMAGE: &str = "oneoff-test:engine-client";

const APPLETS: [&str; 12] = [
    "sh",
    "cat",
    "echo",
    "sleep",
    "true",
    "id",
    "wc",
    "head",
    "yes",
    "ls",
    "sha256sum",
    "dd",
];

/// Imports the image unless the engine has it.
pub fn ensure(client: &Client) {
    match client.image_inspect(IMAGE) {
        Ok(_) => return,
        Err(Error::Status { status: 404, .. }) => {}
        Err(error) => panic!(
            "these tests need a Docker engine at DOCKER_HOST or /var/run/docker.sock: {error}"
        ),
    }
    let archive = archive();
    let changes = ["CMD [\"/bin/sh\"]", "ENV PATH=/bin"];
    let id = client
        .image_import(REPOSITORY, TAG, &changes, &mut &archive[..])
        .expect("importing the test image");
    assert!(id.starts_with("sha256:"), "{id}");
}

fn archive() -> Vec<u8> {
    // Installed, or unpacked by `tests/support/images.sh`.
    let unpacked = concat!(env!("CARGO_MANIFEST_DIR"), "/target/busybox-static");
    let places = ["", "/usr", unpacked, &format!("{unpacked}/usr")];
    let mut candidates = places.iter().map(|place| format!("{place}/bin/busybox"));
    let is_static = |program: &Vec<u8>| {
        let head = &program[..program.len().min(4096)];
        !head.windows(8).any(|bytes| bytes == b"ld-linux")
    };
    let busybox = candidates
        .find_map(|path| std::fs::read(path).ok().filter(is_static))
        .expect("a static busybox: `make images` gets one");
    let mut tar = tar::Builder::new(Vec::new());
    for directory in ["bin/", "tmp/", "data/"] {
        let mut header = header(tar::EntryType::Directory, 0o1777);
        tar.append_data(&mut header, directory, std::io::empty())
            .unwrap();
    }
    let mut file = header(tar::EntryType::Regular, 0o755);
    file.set_size(busybox.len() as u64);
    tar.append_data(&mut file, "bin/busybox", &busybox[..])
        .unwrap();
    for applet in APPLETS {
        let mut link = header(tar::EntryType::Symlink, 0o777);
        tar.append_link(&mut link, format!("bin/{applet}"), "busybox")
            .unwrap();
    }
    tar.into_inner().unwrap()
}

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    header
}
