//! `/docs`: a browser that can reach only this machine opens it and runs a container from it.

use super::run::shell;
use super::support::{Answer, Browser, Request, Server};
use flate2::read::GzDecoder;
use serde_json::json;
use std::io::Read;
use std::path::Path;

#[test]
fn a_browser_without_a_network_runs_a_container_from_the_page() {
    let server = Server::with(&[("AUTH_TOKEN", "s3cret")]);
    let browser = Browser::start();
    browser.open(&format!("http://{}/docs", server.address));
    browser.await_text("Run a container once");

    browser.find("button.authorize").click();
    browser.find(".auth-container input").write("s3cret");
    browser.find(".auth-btn-wrapper button.authorize").click();
    browser.find(".auth-btn-wrapper .btn-done").click();

    browser
        .find("#operations-runs-run .opblock-summary-control")
        .click();
    let request = shell("echo seen in a browser: $((6 * 7))", json!({}));
    browser
        .find("#operations-runs-run textarea.body-param__text")
        .write(&request.to_string());
    browser.find("#operations-runs-run button.execute").click();
    browser.await_text("seen in a browser: 42\\n");
    browser.find("#operations-runs-run .live-responses-table .response-col_status");

    let artefacts = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/artefacts");
    std::fs::create_dir_all(&artefacts).unwrap();
    browser.script("document.querySelector('#operations-runs-run .live-responses-table').scrollIntoView({block: 'end'})");
    std::fs::write(artefacts.join("docs.png"), browser.screenshot()).unwrap();

    assert_eq!(browser.console(), Vec::<serde_json::Value>::new());
    let here = format!("http://{}/", server.address);
    // The browser's own pages (`chrome:`) do not count as network.
    let foreign = |url: &String| {
        let is_network = url.starts_with("http") || url.starts_with("ws");
        is_network && !url.starts_with(&here)
    };
    let requested = browser.requested_urls();
    assert!(
        requested.iter().any(|url| url.ends_with("/run")),
        "{requested:?}"
    );
    assert_eq!(requested.into_iter().find(foreign), None);
    drop(browser);
    server.stop();
}

#[test]
fn the_page_is_served_from_the_binary_and_forbidden_to_load_anything_else() {
    let server = Server::with(&[("AUTH_TOKEN", "s3cret")]);
    let page = server.get("/docs");
    assert_eq!(page.status, 200);
    let policy = page.header("Content-Security-Policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'") && !policy.contains("http"),
        "{policy}"
    );
    let html = String::from_utf8(page.body).unwrap();
    assert!(!html.contains("://"), "{html}");
    for file in ["swagger-ui-bundle.js", "swagger-ui.css", "start.js"] {
        assert!(html.contains(&format!("docs/{file}\"")), "{file}");
        let plain = server.get(&format!("/docs/{file}"));
        assert_eq!(
            (plain.status, plain.header("Content-Encoding")),
            (200, None)
        );
        assert_eq!(plain.header("Vary").as_deref(), Some("Accept-Encoding"));
        let accepted = fetch(&server, file, "br, gzip;q=0.5");
        let mut unpacked = accepted.body.clone();
        if accepted.header("Content-Encoding").as_deref() == Some("gzip") {
            unpacked.clear();
            GzDecoder::new(&accepted.body[..])
                .read_to_end(&mut unpacked)
                .unwrap();
            assert!(accepted.body.len() * 2 < plain.body.len());
        }
        assert!(unpacked == plain.body, "{file}");
        for refusing in ["gzip;q=0", "identity", "*;q=0"] {
            assert_eq!(
                fetch(&server, file, refusing).header("Content-Encoding"),
                None
            );
        }
    }
    assert_eq!(server.get("/docs/nothing.js").status, 404);
    server.stop();
}

fn fetch(server: &Server, file: &str, accepted: &str) -> Answer {
    let path = format!("/docs/{file}");
    server.ask(&Request::new("GET", &path).fields(&[("Accept-Encoding", accepted)]))
}
