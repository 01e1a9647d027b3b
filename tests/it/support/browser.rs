//! A headless Chromium that can reach only this machine, controlled through chromedriver's WebDriver protocol
//! (<https://www.w3.org/TR/webdriver2/>).

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long to wait for an element or a text.
const PATIENCE: Duration = Duration::from_secs(30);

/// The name under which WebDriver refers to elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub struct Browser {
    driver: Child,
    // Kept open: a driver that cannot write its log would end.
    _output: BufReader<ChildStdout>,
    address: String,
    session: String,
    profile: PathBuf,
}

impl Browser {
    pub fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--log-level=WARNING"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("Debian's chromium-driver is installed; `make test` sees to it");
        let mut output = BufReader::new(driver.stdout.take().unwrap());
        let address = format!("127.0.0.1:{}", announced_port(&mut output));
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("oneoff-browser-{}-{number}", std::process::id());
        let profile = std::env::temp_dir().join(name);
        let mut browser = Self {
            driver,
            _output: output,
            address,
            session: String::new(),
            profile,
        };
        let created = browser.call("POST", "/session", &browser.capabilities());
        browser.session = format!("/session/{}", created["sessionId"].as_str().unwrap());
        browser
    }

    /// All names but this machine's fail to resolve, and all other addresses go to a proxy that does not exist.
    fn capabilities(&self) -> Value {
        let profile = format!("--user-data-dir={}", self.profile.display());
        let options = json!({"args": [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,1600",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--proxy-server=127.0.0.1:1", "--proxy-bypass-list=<-loopback>;127.0.0.1",
            profile,
        ]});
        json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}})
    }

    pub fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({"url": url}));
    }

    /// The tab that commands go to.
    pub fn tab(&self) -> Value {
        self.command("GET", "/window", &Value::Null)
    }

    /// Opens another tab, and shows it.
    pub fn open_tab(&self) {
        let opened = self.command("POST", "/window/new", &json!({"type": "tab"}));
        self.show_tab(&opened["handle"]);
    }

    /// Shows a tab; commands go to it.
    pub fn show_tab(&self, tab: &Value) {
        self.command("POST", "/window", &json!({"handle": tab}));
        self.devtools("Page.bringToFront", json!({}));
    }

    /// Runs the body of a function in the page. Returns its result.
    pub fn script(&self, script: &str) -> Value {
        self.command(
            "POST",
            "/execute/sync",
            &json!({"script": script, "args": []}),
        )
    }

    /// Runs the body of an asynchronous function in the page. Returns its result.
    pub fn script_async(&self, script: &str) -> Value {
        let script = format!(
            "const done = arguments[0]; (async () => {{ {script} }})().then(done, (error) => done(`failed: ${{error}}`));"
        );
        let body = json!({"script": script, "args": []});
        self.command("POST", "/execute/async", &body)
    }

    /// Waits until a script returns something that counts as true. Returns it.
    pub fn await_script(&self, script: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.script(script);
            if !matches!(value, Value::Null | Value::Bool(false)) {
                return value;
            }
            assert!(Instant::now() < deadline, "{script} stays {value}");
        }
    }

    /// A command of the DevTools protocol, for what WebDriver does not have.
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        self.command("POST", "/goog/cdp/execute", &body)
    }

    /// Waits for an element.
    pub fn find(&self, css: &str) -> Element<'_> {
        let deadline = Instant::now() + PATIENCE;
        let locator = json!({"using": "css selector", "value": css});
        loop {
            let found = self.command("POST", "/elements", &locator);
            if let Some(id) = found[0][ELEMENT].as_str() {
                return Element {
                    browser: self,
                    path: format!("/element/{id}"),
                };
            }
            assert!(Instant::now() < deadline, "{css} does not show up");
        }
    }

    /// Waits until the page's text contains this.
    pub fn await_text(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self.script("return document.body.innerText");
            let shown = shown.as_str().unwrap_or_default();
            if shown.contains(text) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{text:?} does not show up in:\n{shown}"
            );
        }
    }

    /// The entries of the console since the last call.
    pub fn console(&self) -> Vec<Value> {
        self.log("browser")
    }

    /// Every URL that was requested since the last call.
    pub fn requested_urls(&self) -> Vec<String> {
        let entries = self.log("performance").into_iter();
        let messages = entries.map(|entry| {
            let text = entry["message"].as_str().unwrap();
            serde_json::from_str::<Value>(text).unwrap()["message"].clone()
        });
        messages
            .filter(|message| message["method"] == "Network.requestWillBeSent")
            .map(|message| {
                message["params"]["request"]["url"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        let entries = self.command("POST", "/se/log", &json!({"type": kind}));
        entries.as_array().unwrap().clone()
    }

    /// A PNG of what the window shows.
    pub fn screenshot(&self) -> Vec<u8> {
        use base64::Engine;
        let picture = self.command("GET", "/screenshot", &Value::Null);
        base64::engine::general_purpose::STANDARD
            .decode(picture.as_str().unwrap())
            .unwrap()
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, &format!("{}{path}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .unwrap();
        let (status, answer) = read_sized(BufReader::new(stream));
        let value = answer["value"].clone();
        assert_eq!(status, 200, "{method} {path}: {value:#}");
        value
    }
}

/// Reads an answer by its `Content-Length`: chromedriver ignores `Connection: close`.
fn read_sized(mut stream: BufReader<TcpStream>) -> (u16, Value) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let count = stream.read_until(b'\n', &mut head).unwrap();
        assert!(count > 0, "chromedriver answers");
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; length.unwrap().trim().parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

/// Reads the port that chromedriver announces in its first lines.
fn announced_port(output: &mut BufReader<ChildStdout>) -> u16 {
    let port = output.lines().map_while(Result::ok).find_map(|line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    });
    port.expect("chromedriver says where it listens")
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser, which would outlive a killed driver. Errors are ignored: the test may already be failing.
        if let Ok(mut stream) = TcpStream::connect(&self.address) {
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let head = format!(
                "DELETE {} HTTP/1.1\r\nHost: {}\r\n",
                self.session, self.address
            );
            let _ = write!(stream, "{head}Content-Length: 0\r\n\r\n");
            let _ = stream.read(&mut [0; 1024]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// An element of a page.
pub struct Element<'a> {
    browser: &'a Browser,
    path: String,
}

impl Element<'_> {
    pub fn click(&self) -> &Self {
        self.command("click", &json!({}));
        self
    }

    /// Replaces the content of the element by this text.
    pub fn write(&self, text: &str) -> &Self {
        self.command("clear", &json!({}));
        self.command("value", &json!({"text": text}));
        self
    }

    fn command(&self, name: &str, body: &Value) {
        self.browser
            .command("POST", &format!("{}/{name}", self.path), body);
    }
}
