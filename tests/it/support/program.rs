//! The server's program as users have it: static, so that it can be PID 1 in the containers of runs.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What `cargo test` has built.
const PROGRAM: &str = env!("CARGO_BIN_EXE_oneoff-docker-runner");

/// What cargo sets for tests, and what would make it build dependencies anew whose build scripts look at it.
const SET_BY_CARGO: [&str; 6] = [
    "CARGO_BIN_",
    "CARGO_CRATE_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "LD_LIBRARY_PATH",
    "OUT_DIR",
];

/// Path of the program. The first call links it anew if it is not static: only its last step differs, so that cargo compiles nothing
/// else.
pub fn program() -> &'static str {
    static LINKED: OnceLock<()> = OnceLock::new();
    LINKED.get_or_init(|| {
        if needs_loader() {
            link();
            assert!(!needs_loader(), "the program is not static");
        }
    });
    PROGRAM
}

/// Whether the program names a loader, as one does that is not static.
fn needs_loader() -> bool {
    const PT_INTERP: u32 = 3;
    let file = std::fs::read(PROGRAM).unwrap();
    let number = |at: usize, bytes: usize| {
        file[at..at + bytes]
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    let (offset, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|index| {
        let header = usize::try_from(offset + index * size).unwrap();
        number(header, 4) == u64::from(PT_INTERP)
    })
}

fn link() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if SET_BY_CARGO.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    let linked = command
        .args(["rustc", "--quiet", "--bin", "oneoff-docker-runner", "--"])
        .args(["-C", "target-feature=+crt-static", "-C", "strip=debuginfo"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit())
        .status();
    assert!(linked.is_ok_and(|status| status.success()), "cargo rustc");
}
