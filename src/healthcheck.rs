//! The `healthcheck` subcommand, for the `HEALTHCHECK` of an image that has neither a shell nor curl.

use std::time::Duration;

/// Requests `/health` of the local server. Blocks for 4 seconds at most. Errors: the server cannot be reached, or does not
/// answer 200.
pub fn check(host: &str, port: u16) -> Result<(), String> {
    let host = match host {
        "0.0.0.0" | "" => "127.0.0.1".to_owned(),
        "::" | "[::]" => "[::1]".to_owned(),
        v6 if v6.contains(':') && !v6.starts_with('[') => format!("[{v6}]"),
        other => other.to_owned(),
    };
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
