//! `/`: a browser that can reach only this machine shows what goes on, and runs containers.

use super::async_runs::forget_all_with;
use super::run::shell;
use super::support::{Browser, Directory, IMAGE, Request, Server, read_answer};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const TOKEN: [(&str, &str); 1] = [("Authorization", "Bearer s3cret")];

fn artefact(name: &str) -> PathBuf {
    let artefacts = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/artefacts");
    std::fs::create_dir_all(&artefacts).unwrap();
    artefacts.join(name)
}

pub(super) fn open(browser: &Browser, server: &Server, place: &str) {
    browser.open(&format!("http://{}/{place}", server.address));
}

pub(super) fn enter_token(browser: &Browser, token: &str) {
    browser.await_script("return document.getElementById('token').open");
    browser.find("#token-input").write(token);
    browser.find("#token button").click();
}

/// What the page shows of the run's output.
pub(super) fn await_output(browser: &Browser, text: &str) {
    let text = json!(text);
    browser.await_script(&format!(
        "return [...document.querySelectorAll('.output')].some((box) => box.textContent.includes({text}))"
    ));
}

/// The console has nothing, and nothing was loaded from elsewhere.
pub(super) fn assert_quiet(browser: &Browser, server: &Server) {
    assert_quiet_but(browser, server, "nothing");
}

/// The same, but for answers of one status: the browser itself writes those to the console.
pub(super) fn assert_quiet_but(browser: &Browser, server: &Server, status: &str) {
    let is_expected = |entry: &Value| {
        entry["source"] == "network" && entry["message"].as_str().unwrap().contains(status)
    };
    let console = browser.console();
    assert!(console.iter().all(is_expected), "{console:?}");
    let here = format!("http://{}/", server.address);
    let is_foreign = |url: &String| {
        let is_network = url.starts_with("http") || url.starts_with("ws");
        is_network && !url.starts_with(&here)
    };
    assert_eq!(browser.requested_urls().into_iter().find(is_foreign), None);
}

#[test]
fn the_page_is_small_and_its_policy_allows_its_own_files_only() {
    let server = Server::with(&[("AUTH_TOKEN", "s3cret")]);
    let page = server.get("/");
    assert_eq!(page.status, 200);
    let policy = page.header("Content-Security-Policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
    assert!(
        !policy.contains("unsafe") && !policy.contains("http"),
        "{policy}"
    );
    assert_eq!(page.header("Set-Cookie"), None);
    let html = String::from_utf8(page.body).unwrap();
    let mut bytes = html.len();
    for file in std::fs::read_dir("src/rest/page").unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path
            .extension()
            .is_some_and(|end| end == "js" || end == "css")
        {
            let served = server.get(&format!("/page/{name}"));
            assert_eq!(
                (served.status, served.body.clone()),
                (200, std::fs::read(&path).unwrap())
            );
            assert_eq!(served.header("Cache-Control").as_deref(), Some("no-cache"));
            bytes += served.body.len();
            let text = String::from_utf8(served.body).unwrap();
            let forbidden = [
                "innerHTML",
                "document.cookie",
                "localStorage",
                "://",
                "eval(",
            ];
            let found = forbidden.iter().find(|word| text.contains(**word));
            assert_eq!(found, None, "{name}");
        }
    }
    assert!(bytes <= 60_000, "{bytes}");
    for word in ["://", "style=", "<style", "onclick"] {
        assert!(!html.contains(word), "{word}");
    }
    assert_eq!(server.get("/page/nothing.js").status, 404);
    for path in ["/events", "/images", "/runs"] {
        assert_eq!(server.get(path).status, 401, "{path}");
    }
    server.stop();
}

#[test]
fn a_run_that_curl_started_is_shown_at_once_followed_over_a_reload_and_cancelled() {
    let server = Server::with(&[("AUTH_TOKEN", "s3cret")]);
    let browser = Browser::start();
    open(&browser, &server, "");
    enter_token(&browser, "wrong");
    browser.await_script(
        "return document.getElementById('token-fault').textContent.includes('not the right one')",
    );
    enter_token(&browser, "s3cret");
    browser.await_script("return document.getElementById('connection').textContent === 'Live'");
    browser.await_text("Slots");
    browser.await_text("answers; API");
    assert_quiet_but(&browser, &server, "401");

    let request = shell(
        "n=0; while true; do n=$((n+1)); echo tick $n; sleep 0.2; done",
        json!({"timeout_secs": 100}),
    );
    let begun = Instant::now();
    let body = request.to_string();
    let mut caller = server.begin(&Request::new("POST", "/run").fields(&TOKEN).body(&body));
    browser.find("#list a");
    let shown = begun.elapsed();
    assert!(shown < Duration::from_secs(1), "shown after {shown:?}");
    browser.find("#list a").click();
    await_output(&browser, "tick 2\n".trim());
    browser.open(browser.script("return location.href").as_str().unwrap());
    browser.script("location.reload()");
    await_output(&browser, "tick 12");
    browser.await_text("queue");
    std::fs::write(artefact("page-running.png"), browser.screenshot()).unwrap();
    browser.find("#panel button").click();
    let answer = read_answer(&mut caller).unwrap().json();
    assert_eq!(answer["status"], "error: cancelled");
    assert!(answer["stdout"].as_str().unwrap().contains("tick 12\n"));
    browser.await_script(
        "return document.querySelector('#panel dd').textContent === 'error: cancelled'",
    );
    browser.await_text("not kept");
    assert_quiet(&browser, &server);
    drop(browser);
    server.await_nothing_left();
    server.stop();
}

/// A directory with a script, and a file whose name a plain tar header cannot hold.
fn project() -> (Directory, String) {
    let directory = Directory::new("page-project");
    let long = format!("{}.txt", "long-".repeat(30));
    std::fs::create_dir(directory.path().join("in put")).unwrap();
    std::fs::write(directory.path().join("in put").join(&long), "deep\n").unwrap();
    let script =
        "#!/bin/sh\ncat */long*; echo \"$GREETING\"; echo made > made.txt; sleep 2; echo later\n";
    std::fs::write(directory.path().join("go.sh"), script).unwrap();
    (directory, long)
}

/// Drops this path onto the form, as a file manager does.
pub(super) fn drop_onto_form(browser: &Browser, path: &Path) {
    let place = browser.script(
        "const box = document.querySelector('.drop'); box.scrollIntoView({block: 'center'});
         const {x, y, width, height} = box.getBoundingClientRect(); return [x + width / 2, y + height / 2]",
    );
    let data = json!({"items": [], "files": [path], "dragOperationsMask": 1});
    for kind in ["dragEnter", "dragOver", "drop"] {
        let event = json!({"type": kind, "x": place[0], "y": place[1], "data": data});
        browser.devtools("Input.dispatchDragEvent", event);
    }
}

#[test]
fn a_directory_is_dropped_onto_the_form_and_comes_back_also_when_the_page_is_loaded_again() {
    let server = Server::start();
    let (directory, long) = project();
    let top = directory
        .path()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let browser = Browser::start();
    open(&browser, &server, "#/new");
    browser.find("[name=image]").write(IMAGE);
    browser.await_script("return document.querySelectorAll('#images option').length > 0");
    browser.find("[name=command]").write("./go.sh");
    browser.find("[name=env]").write("GREETING=hello = you");
    browser.find("[name=memory]").write("lots");
    drop_onto_form(&browser, directory.path());
    browser.await_text("2 files");
    // The dry run beside it.
    browser.await_text("memory: ");
    browser.find("[name=memory]").write("64m");
    browser.await_text(&format!("/data/{top}\ndirectory"));
    browser.await_text("comes back");
    std::fs::write(artefact("page-form.png"), browser.screenshot()).unwrap();
    browser.find("form.new button.primary").click();
    await_output(&browser, "deep");
    await_output(&browser, "hello = you");
    browser.script("location.reload()");
    await_output(&browser, "later");
    browser.await_text("made.txt");
    browser.await_text(&long);
    browser.find("[aria-label='Preview made.txt']").click();
    browser
        .await_script("return document.querySelector('.files .preview').textContent === 'made\\n'");
    browser.await_script("return document.querySelector('#panel dd').textContent === 'success'");
    std::fs::write(artefact("page-result.png"), browser.screenshot()).unwrap();
    assert_quiet_but(&browser, &server, "422");
    drop(browser);
    forget_all_with(&server, &[]);
    server.stop();
}

#[test]
fn a_run_is_repeated_and_its_curl_command_does_the_same() {
    let server = Server::start();
    let browser = Browser::start();
    open(&browser, &server, "#/new");
    browser.find("[name=image]").write(IMAGE);
    browser
        .find("[name=command]")
        .write("sh -c 'echo \"it is $WHAT\"'");
    browser.find("[name=env]").write("WHAT=quoted '\"$");
    browser.find("form.new button.primary").click();
    await_output(&browser, "it is quoted '\"$");
    browser.find("#panel .bar button:nth-child(3)").click();
    let command = browser.await_script("return document.getElementById('curl-text').value || null");
    let output = std::process::Command::new("sh")
        .args(["-c", command.as_str().unwrap()])
        .output()
        .unwrap();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["stdout"], "it is quoted '\"$\n", "{command}");
    browser.find("#curl button").click();

    browser.find("#panel .bar button:nth-child(2)").click();
    browser.await_script("return location.hash === '#/new'");
    browser.find("form.new button.primary").click();
    browser.await_script("return document.querySelectorAll('#list a').length === 3");
    browser.await_script("return location.hash.startsWith('#/run/')");
    await_output(&browser, "it is quoted");

    // Filters and orders.
    server.run(shell("echo other; exit 7", json!({})));
    for (field, value, count) in [
        ("by-text", "exit 7", 1),
        ("by-text", "", 4),
        ("by-image", "no-such", 0),
        ("by-image", "oneoff", 4),
    ] {
        let field = format!("#{field}");
        browser.script(&format!(
            "const field = document.querySelector('{field}'); field.value = '{value}'; field.dispatchEvent(new Event('input'))"
        ));
        browser.await_script(&format!(
            "return document.querySelectorAll('#list a').length === {count}"
        ));
    }
    browser.script("const state = document.getElementById('by-state'); state.value = 'bad'; state.dispatchEvent(new Event('input'))");
    browser.await_script("return document.querySelectorAll('#list a').length === 1");
    browser.await_text("error: 7");
    assert_quiet(&browser, &server);
    drop(browser);
    forget_all_with(&server, &[]);
    server.stop();
}

#[test]
fn whatever_a_run_prints_and_is_called_stays_text_and_the_page_stays_quick() {
    let server = Server::start();
    let browser = Browser::start();
    // Markup, colours, other sequences cut in the middle, a bar that overwrites itself, text that changes its direction, a
    // megabyte without a line break, and more lines than are shown.
    let script = r#"printf '<script>window.hacked = 1</script><img src=x onerror=hacked=1>\n'
        printf '\033[31mred\033[0m plain \033[1;48;5;22;38;2;1;200;3mmany\033[0m\033]0;title\007\033[2K.\n'
        printf '10%%\r20%%\rdone\n'; printf 'a\342\200\256b\033c\000\001z\n'
        head -c 1000000 /dev/zero | tr '\0' x; echo; seq 60000; printf '\033[3'; sleep 1; printf '2mgreen\033[0m\nthe end\n' >&2"#;
    let request = shell(script, json!({"labels": {"<b>": "<i>"}}));
    let path = super::async_runs::submit(&server, &request);
    open(
        &browser,
        &server,
        &format!("#{}", path.replace("/runs/", "/run/")),
    );
    await_output(&browser, "the end");
    let shown = browser.script("return document.querySelector('.output').childElementCount");
    assert!(
        shown.as_u64().unwrap() <= 101,
        "{shown} blocks of 200 lines"
    );
    browser.await_text("earlier lines are not shown");
    assert_eq!(browser.script("return window.hacked ?? null"), Value::Null);
    assert_eq!(
        browser.script("return document.querySelectorAll('#panel img, #panel script').length"),
        0
    );

    // The first lines, without those that push them out of sight.
    let first: Vec<&str> = script.lines().take(3).collect();
    let path = super::async_runs::submit(&server, &shell(&first.join("\n"), json!({})));
    browser.script(&format!(
        "location.hash = '#{}'",
        path.replace("/runs/", "/run/")
    ));
    await_output(&browser, "z");
    let lines = browser.script("return [...document.querySelectorAll('.output .block > div')].map((line) => line.textContent)");
    let expected = json!([
        "<script>window.hacked = 1</script><img src=x onerror=hacked=1>",
        "red plain many.",
        "done",
        "a\u{27e8}202e\u{27e9}b\u{2400}\u{2401}z",
    ]);
    assert_eq!(lines, expected);
    let colours = browser.script(
        "return [...document.querySelectorAll('.output span')].map((part) => [part.textContent, getComputedStyle(part).color])",
    );
    assert_eq!(colours[0], json!(["red", "rgb(255, 139, 130)"]));
    assert_eq!(colours[1], json!(["many", "rgb(1, 200, 3)"]));
    browser.find("#panel input[type=search]").write("plain");
    browser.await_text("1 lines");
    assert_quiet(&browser, &server);

    thousand_runs_stay_smooth(&browser);
    drop(browser);
    forget_all_with(&server, &[]);
    server.stop();
}

/// A thousand runs come and change; no frame takes long.
fn thousand_runs_stay_smooth(browser: &Browser) {
    let took = browser.script_async(
        "const list = await import('/page/list.js');
         const run = (n, state) => ({id: `r${n}`, kind: 'plain', state, image: `image-${n % 7}`, command: ['echo', `<b>${n}</b>`],
             created_at: new Date(Date.now() - n * 1000).toISOString(), finished_at: null, status: null});
         const frame = () => new Promise(requestAnimationFrame);
         const all = [...Array(1000).keys()];
         let longest = 0;
         for (const state of ['queued', 'running', 'running', 'queued']) {
             const begun = performance.now();
             list.update(all.map((n) => run(n, state)), []);
             await frame(); await frame();
             longest = Math.max(longest, performance.now() - begun);
         }
         document.getElementById('order').value = 'image';
         const begun = performance.now();
         list.draw();
         await frame(); await frame();
         return [longest, performance.now() - begun, document.querySelectorAll('#list li').length]",
    );
    println!("a thousand runs: {took}");
    assert!(took[2].as_u64().unwrap() >= 1000, "{took}");
    for index in 0..2 {
        assert!(
            took[index].as_f64().unwrap() < 1500.0,
            "milliseconds: {took}"
        );
    }
}

/// What axe finds that is serious or critical.
fn barriers(browser: &Browser) -> Value {
    let axe = std::fs::read_to_string("target/tools/axe.js")
        .expect("`make test` installs it: tests/support/axe.sh");
    browser.script(&axe);
    browser.script_async(
        "const {violations} = await axe.run(document, {resultTypes: ['violations']});
         return violations.filter(({impact}) => impact === 'serious' || impact === 'critical')
             .map(({id, nodes}) => [id, nodes.slice(0, 3).map((node) => node.html)])",
    )
}

#[test]
fn nothing_keeps_people_from_using_the_page_wide_or_narrow_dark_or_light() {
    let server = Server::start();
    let browser = Browser::start();
    let colours = r"for n in 0 1 2 3 4 5 6 7; do printf '\033[3%dmcolour %d\033[0m \033[9%dmbright\033[0m \033[4%dmground\033[0m\n' $n $n $n $n; done; mkdir /out/hollow /out/full; touch /out/full/a; exit 3";
    let files = json!({"volumes": {"/out": {"type": "directory", "response": true, "files": {"notes.txt": "text\n"}}}});
    let path = super::async_runs::submit(&server, &shell(colours, files));
    server.run(shell("echo plain", json!({})));
    let run = format!("#{}", path.replace("/runs/", "/run/"));
    let views = [("list", "#/"), ("run", run.as_str()), ("new", "#/new")];
    for (look, width, theme) in [
        ("wide", 1280, "light"),
        ("dark", 1280, "dark"),
        ("phone", 390, "light"),
    ] {
        browser.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}),
        );
        browser.devtools(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": "prefers-color-scheme", "value": theme}]}),
        );
        for (view, place) in views {
            open(&browser, &server, place);
            browser.script("location.reload()");
            browser.await_script(
                "return document.getElementById('connection')?.textContent === 'Live'",
            );
            match view {
                "list" => drop(browser.find("#list li:nth-child(2)")),
                "run" => ["notes.txt", "full/a", "hollow/, empty"]
                    .into_iter()
                    .for_each(|name| browser.await_text(name)),
                _ => drop(browser.find("[name=image]").write(IMAGE)),
            }
            assert_eq!(barriers(&browser), json!([]), "{look} {view}");
            let sideways =
                browser.script("return document.documentElement.scrollWidth - innerWidth");
            assert!(
                sideways.as_i64().unwrap() <= 0,
                "{look} {view}: {sideways} pixels too wide"
            );
            std::fs::write(
                artefact(&format!("page-{look}-{view}.png")),
                browser.screenshot(),
            )
            .unwrap();
        }
    }
    // By keyboard: the first stop leads past everything, and a run opens with Enter.
    browser.devtools("Emulation.clearDeviceMetricsOverride", json!({}));
    open(&browser, &server, "#/");
    browser.find("#list a");
    browser.script("document.activeElement.blur(); document.querySelector('#list a').focus()");
    for kind in ["rawKeyDown", "char", "keyUp"] {
        browser.devtools("Input.dispatchKeyEvent", json!({"type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}));
    }
    browser.await_script(
        "return location.hash.startsWith('#/run/') && document.activeElement.tagName === 'H2'",
    );
    assert_quiet(&browser, &server);
    drop(browser);
    forget_all_with(&server, &[]);
    server.stop();
}
