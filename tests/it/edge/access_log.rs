//! The access log.

use super::client::eventually;
use super::rig::Rig;
use crate::support::CapturedLog;

fn logged(log: &CapturedLog, id: &str) -> String {
    let mut found = None;
    eventually("an access log line", || {
        let mut lines = log.lines().into_iter();
        found = lines.find(|l| l.starts_with("access ") && l.ends_with(id));
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn the_access_log_has_one_line_without_secrets_or_control_characters_per_request() {
    let log = CapturedLog::start();
    let rig = Rig::start();
    let ask = |request: &str| {
        let id = rig.ask(request).header("x-request-id").unwrap();
        logged(&log, &id)
    };
    let line = ask(
        "POST /echo%0d%0aforged%1b[31m?token=s3cret HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer s3cret\r\n\
         X-Request-Id: %0a s3cret\r\nContent-Length: 6\r\n\r\ns3cret",
    );
    assert!(
        line.starts_with("access POST /echo%0d%0aforged%1b[31m 404 "),
        "{line}"
    );
    assert!(ask("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").contains("GET /health 200 "));
    assert!(ask("GET /\u{1b}[31m HTTP/1.1\r\nHost: h\r\n\r\n").contains(" - - 400 "));
    let lines = log.lines();
    assert!(!lines.iter().any(|line| line.contains("s3cret")));
    assert!(!lines.iter().any(|line| line.contains('\u{1b}')));
}
