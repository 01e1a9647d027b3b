//! The pinned clients, installed on first use by `tests/mcp/install.sh`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Their directory. The first call installs what is missing, which can take minutes.
pub fn installed() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let home = temporary.parent().unwrap().join("mcp-clients");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp/install.sh");
        let status = Command::new("sh")
            .arg(script)
            .env("MCP_CLIENTS_DIR", &home)
            .status()
            .unwrap();
        assert!(status.success(), "{script} failed");
        home
    })
}
