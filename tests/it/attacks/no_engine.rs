//! Engines behind a door that does not open: certificates that do not hold, and a socket without permission.

use super::table::{BUDGET, Stand};
use crate::support::{Authority, Directory, Server};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is wrong with the certificate of a [`Port`].
pub enum Certificate {
    OfAStranger,
    Expired,
}

/// A server that may not connect to its engine's socket.
pub fn forbidden() -> Stand {
    let directory = Directory::new("forbidden");
    let path = directory.path().join("engine.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    let host = format!("unix://{}", path.display());
    let mut stand = Stand::of(Server::of_its_own_user_with(&[
        BUDGET,
        ("DOCKER_HOST", &host),
    ]));
    stand.beside = Box::new((listener, directory));
    stand.health = 503;
    stand
}

/// A server whose engine shows this certificate.
pub fn tls(certificate: Certificate) -> Stand {
    let directory = Directory::new("certificates");
    let authority = Authority::new("oneoff test CA");
    authority.write_client(directory.path(), &authority);
    let (certificate, key) = match certificate {
        Certificate::OfAStranger => Authority::new("somebody else's CA").server(&["127.0.0.1"]),
        Certificate::Expired => authority.expired_server(&["127.0.0.1"]),
    };
    let port = Port::open(&certificate, &key);
    let settings = [
        BUDGET,
        ("DOCKER_HOST", port.host.as_str()),
        ("DOCKER_TLS_VERIFY", "1"),
        ("DOCKER_CERT_PATH", directory.path().to_str().unwrap()),
    ];
    let mut stand = Stand::of(Server::with(&settings));
    stand.beside = Box::new((port, directory));
    stand.health = 503;
    stand
}

/// A port that takes part in TLS handshakes until it is dropped.
struct Port {
    host: String,
    is_closed: Arc<AtomicBool>,
}

impl Port {
    fn open(certificate: &str, key: &str) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = format!("tcp://{}", listener.local_addr().unwrap());
        let is_closed = Arc::<AtomicBool>::default();
        let closed = is_closed.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                if closed.load(Ordering::SeqCst) {
                    return;
                }
                let mut session = rustls::ServerConnection::new(config.clone()).unwrap();
                let _ = session.complete_io(&mut stream);
            }
        });
        Self { host, is_closed }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.host.trim_start_matches("tcp://"));
    }
}
