//! The page's form and dialogs with what people do by mistake, and with files that are large.

use super::async_runs::forget_all_with;
use super::page::{await_output, drop_onto_form, open};
use super::support::{Browser, Directory, IMAGE, Server};
use serde_json::{Value, json};

#[test]
fn two_mounts_of_one_path_are_refused_before_anything_is_sent() {
    let server = Server::start();
    let browser = Browser::start();
    let directory = Directory::new("page-twice");
    std::fs::create_dir(directory.path().join("o")).unwrap();
    let (first, second) = (
        directory.path().join("x.txt"),
        directory.path().join("o/x.txt"),
    );
    std::fs::write(&first, "first").unwrap();
    std::fs::write(&second, "second").unwrap();
    open(&browser, &server, "#/new");
    browser.find("[name=image]").write(IMAGE);
    browser.find("[name=command]").write("cat /data/x.txt");
    drop_onto_form(&browser, &first);
    drop_onto_form(&browser, &second);
    browser.await_text("Two mounts have the path /data/x.txt");
    browser.find("form.new button.primary").click();
    browser.await_script(
        "return document.querySelector('form.new p.bad').textContent.includes('Two mounts')",
    );
    assert_eq!(server.get("/runs").json()["runs"], json!([]));

    // Beside the zone, a file does not replace the page.
    let event = |kind: &str| json!({"type": kind, "x": 5, "y": 5, "data": {"items": [], "files": [first], "dragOperationsMask": 1}});
    for kind in ["dragEnter", "dragOver", "drop"] {
        browser.devtools("Input.dispatchDragEvent", event(kind));
    }
    browser.await_script(
        "return location.hash === '#/new' && document.querySelectorAll('.mount').length === 2",
    );

    // To the content by keyboard: the place stays.
    browser.script("document.querySelector('.skip').click()");
    assert_eq!(
        browser.script("return [location.hash, document.activeElement.id]"),
        json!(["#/new", "main"])
    );
    drop(browser);
    server.await_nothing_left();
    server.stop();
}

#[test]
fn a_curl_command_has_files_as_far_as_a_shell_takes_them_and_a_repeated_run_is_not_sent_for_its_plan()
 {
    let server = Server::start();
    let browser = Browser::start();
    let directory = Directory::new("page-large");
    let (small, large) = (
        directory.path().join("small"),
        directory.path().join("large"),
    );
    std::fs::write(&small, "0123456789abcdef".repeat(12_500)).unwrap();
    std::fs::write(&large, vec![0; 3 << 20]).unwrap();
    open(&browser, &server, "#/new");
    browser.find("[name=image]").write(IMAGE);
    browser.find("[name=command]").write("wc -c /data/small");
    drop_onto_form(&browser, &small);
    browser.await_text("/data/small\nfile");
    let copy = "[...document.querySelectorAll('form.new button')].find((button) => button.textContent === 'Copy as curl').click()";
    browser.script(copy);
    let command = browser.await_script("return document.getElementById('curl-text').value || null");
    let output = std::process::Command::new("bash")
        .args(["-c", "bash"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut shell| {
            use std::io::Write;
            let mut input = shell.stdin.take().unwrap();
            input.write_all(command.as_str().unwrap().as_bytes())?;
            drop(input);
            shell.wait_with_output()
        });
    let result: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    assert_eq!(result["stdout"], "200000 /data/small\n", "{result}");
    browser.find("#curl button").click();

    drop_onto_form(&browser, &large);
    browser.await_text("“Check” asks the server.");
    browser.script(copy);
    browser.await_script("return document.getElementById('curl-note').textContent.includes('/data/large holds is too large')");
    let command = browser.script("return document.getElementById('curl-text').value");
    assert!(command.as_str().unwrap().len() < 400_000);
    browser.find("#curl button").click();

    browser.find("form.new button.primary").click();
    await_output(&browser, "200000");
    let again = "[...document.querySelectorAll('#panel button')].find((button) => button.textContent === 'Run again').click()";
    browser.script(again);
    browser.await_text("“Check” asks the server.");
    drop(browser);
    forget_all_with(&server, &[]);
    server.stop();
}

#[test]
fn a_token_that_was_typed_is_not_sent_by_escape() {
    let server = Server::with(&[("AUTH_TOKEN", "s3cret")]);
    let browser = Browser::start();
    open(&browser, &server, "");
    browser.await_script("return document.getElementById('token').open");
    browser.find("#token-input").write("s3cret");
    for kind in ["rawKeyDown", "keyUp"] {
        browser.devtools(
            "Input.dispatchKeyEvent",
            json!({"type": kind, "key": "Escape", "code": "Escape", "windowsVirtualKeyCode": 27}),
        );
    }
    browser.await_script("return document.getElementById('token').open && document.getElementById('token-input').value === ''");
    assert_eq!(
        browser.script("return sessionStorage.getItem('oneoff-token')"),
        Value::Null
    );
    drop(browser);
    server.stop();
}
