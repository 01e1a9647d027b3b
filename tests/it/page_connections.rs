//! The page beside others of its kind, servers that freeze and start again, and clicks that come too late.

use super::async_runs::{finished, forget_all_with, submit};
use super::page::{await_output, open};
use super::run::shell;
use super::support::{Browser, Server};
use serde_json::{Value, json};

fn place_of(path: &str) -> String {
    format!("#{}", path.replace("/runs/", "/run/"))
}

fn await_connection(browser: &Browser, text: &str) {
    let text = json!(text);
    browser.await_script(&format!(
        "return document.getElementById('connection')?.textContent.includes({text})"
    ));
}

fn await_state(browser: &Browser, state: &str) {
    let state = json!(state);
    browser.await_script(&format!(
        "return document.querySelector('#panel dd')?.textContent === {state}"
    ));
}

#[test]
fn cancel_never_removes_a_run_by_a_second_click_or_when_it_comes_too_late() {
    let server = Server::start();
    let browser = Browser::start();
    let endless = shell("echo begun; sleep 600", json!({"timeout_secs": 1000}));
    let path = submit(&server, &endless);
    open(&browser, &server, &place_of(&path));
    await_output(&browser, "begun");
    let button = browser.script(
        "const {x, y, width, height} = document.querySelector('#panel button').getBoundingClientRect(); return [x + width / 2, y + height / 2]",
    );
    let click = || {
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({"type": kind, "x": button[0], "y": button[1], "button": "left", "clickCount": 1});
            browser.devtools("Input.dispatchMouseEvent", event);
        }
    };
    click();
    await_state(&browser, "error: cancelled");
    click();
    assert_eq!(server.get(&path).status, 200);
    assert_eq!(
        browser.script("return location.hash"),
        json!(place_of(&path))
    );

    // The page is not told of the end, and its user cancels.
    let short = shell("sleep 2", json!({}));
    let path = submit(&server, &short);
    browser.script("const real = fetch; window.fetch = (url, options) => /events$/.test(url) ? new Promise(() => {}) : real(url, options)");
    browser.script(&format!("location.hash = '{}'", place_of(&path)));
    browser.await_script("return document.querySelector('#panel dd')?.textContent.match('queued|running') ? true : null");
    finished(&server, &path);
    browser.find("#panel button").click();
    await_state(&browser, "success");
    assert_eq!(server.get(&path).status, 200);

    // Removing is a button of its own.
    browser.find("#panel .bar button:nth-child(4)").click();
    browser.await_script("return location.hash === '#/'");
    assert_eq!(server.get(&path).status, 404);
    drop(browser);
    forget_all_with(&server, &[]);
    server.stop();
}

#[test]
fn of_many_tabs_those_that_are_hidden_leave_the_browsers_connections_to_the_one_that_is_seen() {
    let server = Server::with(&[("RUNNER_MAX_CONCURRENT_RUNS", "2")]);
    let browser = Browser::start();
    let endless = shell(
        "n=0; while true; do n=$((n+1)); echo tick $n; sleep 1; done",
        json!({"timeout_secs": 1000}),
    );
    let path = submit(&server, &endless);
    let place = place_of(&path);
    let first = browser.tab();
    open(&browser, &server, &place);
    await_output(&browser, "tick 1");
    for _ in 0..7 {
        browser.open_tab();
        open(&browser, &server, &place);
    }
    await_connection(&browser, "Live");
    await_output(&browser, "tick 2");
    // The first goes on where it had stopped.
    browser.show_tab(&first);
    await_connection(&browser, "Live");
    await_output(&browser, "tick 9");
    let lines = browser.script("return [...document.querySelectorAll('.output .block > div')].slice(0, 9).map((line) => line.textContent)");
    let expected: Vec<String> = (1..=9).map(|n| format!("tick {n}")).collect();
    assert_eq!(lines, json!(expected));
    browser.find("#panel button").click();
    await_state(&browser, "error: cancelled");
    assert_eq!(finished(&server, &path)["status"], "error: cancelled");
    drop(browser);
    forget_all_with(&server, &[]);
    server.stop();
}

#[test]
fn after_a_restart_of_the_server_the_output_is_not_shown_twice() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let settings = [("PORT", port.as_str())];
    let server = Server::with(&settings);
    let browser = Browser::start();
    let script =
        "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $n; sleep 0.5; done; echo the end";
    let path = submit(&server, &shell(script, json!({})));
    open(&browser, &server, &place_of(&path));
    await_output(&browser, "line 3");
    // A proxy before it answers 502 meanwhile.
    browser.script(
        "let count = 0; const real = fetch;
         window.fetch = (url, options) => count++ < 4 ? Promise.resolve(new Response('{}', {status: 502})) : real(url, options)",
    );
    let instance = server.kill();
    let server = Server::named(&instance, &settings);
    await_output(&browser, "the end");
    await_state(&browser, "success");
    let lines = browser.script(
        "return [...document.querySelectorAll('.output .block > div')].map((line) => line.textContent)",
    );
    let mut expected: Vec<String> = (1..=12).map(|n| format!("line {n}")).collect();
    expected.push("the end".to_owned());
    assert_eq!(lines, json!(expected));
    drop(browser);
    forget_all_with(&server, &[]);
    server.stop();
}

#[test]
fn a_server_that_freezes_is_noticed_and_a_request_that_waits_says_so() {
    let server = Server::start();
    let browser = Browser::start();
    // So that the test does not take minutes: what takes the page seconds takes it a tenth.
    let quicker = "const real = setTimeout; window.setTimeout = (act, ms, ...more) => real(act, ms >= 5000 ? ms / 10 : ms, ...more)";
    browser.devtools(
        "Page.addScriptToEvaluateOnNewDocument",
        json!({"source": quicker}),
    );
    open(&browser, &server, "#/");
    await_connection(&browser, "Live");
    server.signal("STOP");
    await_connection(&browser, "trying again");
    browser.await_script("return !document.getElementById('late').hidden");
    server.signal("CONT");
    await_connection(&browser, "Live");
    browser.await_script("return document.getElementById('late').hidden");
    drop(browser);
    server.stop();
}

#[test]
fn a_plain_run_that_is_opened_late_says_in_place_of_its_output_why_there_is_none() {
    let server = Server::start();
    let browser = Browser::start();
    open(&browser, &server, "#/");
    browser.await_text("No runs yet");
    server.run(shell("echo plain", json!({})));
    browser.find("#list a").click();
    await_output(&browser, "not kept");
    // More than the stream sends.
    browser.script_async("const list = await import('/page/list.js'); list.keepOnly(new Set([location.hash.split('/')[2]]), true)");
    browser.await_text("1 of 1 runs, and older ones, not listed");
    // An address that is none.
    browser.script("location.hash = '#/run/%'");
    browser.await_text("Run %");
    let errors: Vec<Value> = browser.console();
    assert!(
        errors.iter().all(|entry| entry["source"] == "network"),
        "{errors:?}"
    );
    drop(browser);
    server.await_nothing_left();
    server.stop();
}
