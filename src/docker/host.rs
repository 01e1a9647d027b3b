//! Where the engine is, from `DOCKER_HOST` and its relatives.
use std::path::PathBuf;

/// Address of an engine, with what is needed to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// `unix:///path`
    Unix(PathBuf),
    /// `tcp://host:port` (also `http://`)
    Tcp {
        /// `host:port`
        authority: String,
    },
    /// `tcp://host:port` with TLS from the directory's `ca.pem`, `cert.pem`, `key.pem` (also `https://`)
    Tls {
        /// `host:port`
        authority: String,
        /// Directory of the PEM files
        cert_path: PathBuf,
        /// Whether the engine's certificate is verified
        verify: bool,
    },
}

impl Host {
    /// Parses `DOCKER_HOST` (empty: `unix:///var/run/docker.sock`), `DOCKER_TLS_VERIFY`, `DOCKER_CERT_PATH`.
    pub fn parse(
        docker_host: &str,
        tls_verify: Option<&str>,
        cert_path: Option<&str>,
    ) -> Result<Self, String> {
        let _ = (docker_host, tls_verify, cert_path);
        unimplemented!()
    }
}
