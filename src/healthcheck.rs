//! The `healthcheck` subcommand, for the `HEALTHCHECK` of an image that has neither a shell nor curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Requests `/health` of the local server. Blocks for 4 seconds at most. Errors: the server cannot be reached, or does not
/// answer 200.
pub fn check(host: &str, port: u16) -> Result<(), String> {
    let host = local_host(host);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(4)))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let answer = agent
        .get(format!("http://{host}:{port}/health"))
        .call()
        .map_err(|error| error.to_string())?;
    match answer.status().as_u16() {
        200 => Ok(()),
        status => Err(format!("/health answered {status}")),
    }
}

/// The host of the URL for a server that listens on `HOST`: as it is in a URL, and loopback where it means all addresses.
fn local_host(host: &str) -> String {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse() {
        Ok(IpAddr::V4(ip)) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(ip)) if ip.is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ if host.is_empty() => Ipv4Addr::LOCALHOST.to_string(),
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::local_host;

    #[test]
    fn the_server_is_asked_where_it_listens() {
        for (host, asked) in [
            ("127.0.0.1", "127.0.0.1"),
            ("0.0.0.0", "127.0.0.1"),
            ("", "127.0.0.1"),
            ("::1", "[::1]"),
            ("[::1]", "[::1]"),
            ("::", "[::1]"),
            ("[::]", "[::1]"),
            ("fd00::5", "[fd00::5]"),
            ("runner.internal", "runner.internal"),
        ] {
            assert_eq!(local_host(host), asked, "{host}");
        }
    }
}
