//! Address of the engine, from `DOCKER_HOST` and related variables. Parsing only: opens and resolves nothing.
use std::fmt;
use std::path::PathBuf;

/// Address of an engine.
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
        /// Directory of the PEM files.
        cert_path: PathBuf,
        /// Whether the engine's certificate is verified.
        verify: bool,
    },
}

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

impl Host {
    /// Parses `DOCKER_HOST` (empty: `unix:///var/run/docker.sock`), `DOCKER_TLS_VERIFY`, `DOCKER_CERT_PATH`.
    ///
    /// As in Docker's SDKs, a certificate directory or a non-empty `DOCKER_TLS_VERIFY` enables TLS, and only the latter
    /// enables verification. Errors are texts that do not repeat the value.
    pub fn parse(
        docker_host: &str,
        tls_verify: Option<&str>,
        cert_path: Option<&str>,
    ) -> Result<Self, String> {
        let docker_host = docker_host.trim();
        if docker_host.is_empty() {
            return Ok(Self::Unix(PathBuf::from(DEFAULT_SOCKET)));
        }
        let Some((scheme, rest)) = docker_host.split_once("://") else {
            return Err(unsupported());
        };
        let verify = tls_verify.is_some_and(|value| !value.is_empty());
        let cert_path = cert_path.filter(|path| !path.is_empty());
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(PathBuf::from(rest))),
            "unix" => Err("unix:// needs an absolute path, as in unix:///var/run/docker.sock".into()),
            "tcp" | "http" if !verify && cert_path.is_none() => Ok(Self::Tcp {
                authority: authority(rest, PLAIN_PORT)?,
            }),
            "http" => Err("http:// contradicts DOCKER_TLS_VERIFY or DOCKER_CERT_PATH; use tcp://".into()),
            "tcp" | "https" => Ok(Self::Tls {
                authority: authority(rest, TLS_PORT)?,
                cert_path: cert_path.map(PathBuf::from).ok_or(
                    "TLS to the engine needs DOCKER_CERT_PATH, the directory of ca.pem, cert.pem and key.pem",
                )?,
                verify,
            }),
            _ => Err(unsupported()),
        }
    }
}

impl Host {
    /// Value of the HTTP `Host` field. The URL given to ureq is always `http://`, because TLS happens below it.
    pub(super) fn http_authority(&self) -> &str {
        match self {
            Self::Unix(_) => "docker",
            Self::Tcp { authority } | Self::Tls { authority, .. } => authority,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { authority } | Self::Tls { authority, .. } => write!(f, "tcp://{authority}"),
        }
    }
}

// Does not repeat the value, which may contain a password.
fn unsupported() -> String {
    "must be unix:///path, tcp://host:port, http://host:port or https://host:port".into()
}

/// Parses `host[:port]` and fills in the port. The host is a name, an IPv4 address or an IPv6 address in brackets.
fn authority(rest: &str, default_port: u16) -> Result<String, String> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        return Err("a user name or password in the address is not supported".into());
    }
    if rest.contains(['/', '?', '#']) {
        return Err("a path after host:port is not supported".into());
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse::<u16>().ok()),
        _ => (rest, Some(default_port)),
    };
    let port = port
        .filter(|port| *port != 0)
        .ok_or("the port is not a number from 1 to 65535")?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let valid = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host_name(host),
    };
    if valid {
        Ok(format!("{host}:{port}"))
    } else {
        Err("the host is not a name, an IPv4 address or an IPv6 address in brackets".into())
    }
}

fn is_host_name(host: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !host.is_empty() && host.bytes().all(allowed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn plain(authority: &str) -> Host {
        Host::Tcp {
            authority: authority.into(),
        }
    }

    fn tls(authority: &str, cert_path: &str, verify: bool) -> Host {
        Host::Tls {
            authority: authority.into(),
            cert_path: cert_path.into(),
            verify,
        }
    }

    #[test]
    fn addresses_are_parsed_as_docker_does() {
        let cases: &[(&str, Option<&str>, Option<&str>, Host)] = &[
            ("", None, None, Host::Unix("/var/run/docker.sock".into())),
            (
                " ",
                Some("1"),
                None,
                Host::Unix("/var/run/docker.sock".into()),
            ),
            (
                "unix:///run/d.sock",
                Some("1"),
                None,
                Host::Unix("/run/d.sock".into()),
            ),
            ("tcp://h", None, None, plain("h:2375")),
            ("tcp://h:1/", Some(""), Some(""), plain("h:1")),
            ("http://10.0.0.1:80", None, None, plain("10.0.0.1:80")),
            ("tcp://[::1]", None, None, plain("[::1]:2375")),
            ("tcp://[::1]:9", None, None, plain("[::1]:9")),
            ("tcp://h", Some("1"), Some("/c"), tls("h:2376", "/c", true)),
            ("tcp://h:9", None, Some("/c"), tls("h:9", "/c", false)),
            (
                "https://h",
                Some(""),
                Some("/c"),
                tls("h:2376", "/c", false),
            ),
        ];
        for (host, verify, cert_path, expected) in cases {
            assert_eq!(
                Host::parse(host, *verify, *cert_path).as_ref(),
                Ok(expected),
                "{host}"
            );
        }
    }

    #[test]
    fn unsupported_addresses_are_refused_without_repeating_them() {
        let cases = [
            "docker.sock",
            "/var/run/docker.sock",
            "unix://docker.sock",
            "ssh://h",
            "npipe:////./pipe/docker_engine",
            "fd://",
            "tcp://",
            "tcp://:2375",
            "tcp://h:0",
            "tcp://h:99999",
            "tcp://h:",
            "tcp://::1:2375",
            "tcp://h:1/path",
            "tcp://h y",
            "tcp://user:secret@h:1",
            "https://h",
        ];
        for host in cases {
            let reason = Host::parse(host, None, None).unwrap_err();
            assert!(!reason.contains("secret"), "{reason}");
        }
        assert!(Host::parse("tcp://h", Some("1"), None).is_err());
        assert!(Host::parse("http://h", Some("1"), Some("/c")).is_err());
    }
}
