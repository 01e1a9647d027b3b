//! What HTTP clients and proxies send: byte by byte, and with the clients themselves. What they ask for is served, and what could
//! reach another server's page is not.

use super::async_runs::forget_all;
use super::run::shell;
use super::support::{Answer, EventStream, Request, Server, read_answer};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

fn send(server: &Server, request: impl AsRef<[u8]>) -> Answer {
    let mut socket = TcpStream::connect(&server.address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    socket.write_all(request.as_ref()).unwrap();
    read_answer(&mut socket).expect("an answer")
}

fn gzip(plain: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn heads_of_real_clients_and_proxies_are_served_and_hosts_of_others_are_not() {
    let server = Server::start();
    for (status, head) in [
        (200, &b"GET /health HTTP/1.1\r\nHost: localhost\r\nCookie: name=J\xfcrgen"[..]),
        (200, b"GET /health HTTP/1.1\r\nHost: localhost\r\nRemote-User: J\xc3\xbcrgen\r\nX-Subject: CN=\xe9"),
        (200, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: \xfc\r\nX-Request-Id: a"),
        (200, b"GET http://localhost/health HTTP/1.1\r\nHost: localhost"),
        (200, b"GET http://localhost:8000/health?a HTTP/1.1\r\nHost: runner"),
        (200, b"GET HTTP://LOCALHOST/health/ HTTP/1.1\r\nHost: localhost\r\nProxy-Connection: Keep-Alive"),
        (200, b"GET https://127.0.0.1/health HTTP/1.1\r\nHost: localhost"),
        (200, b"GET http://[::1]:8000/health HTTP/1.0"),
        (200, b"GET http://localhost HTTP/1.1\r\nHost: localhost"),
        (403, b"GET http://evil.com/health HTTP/1.1\r\nHost: localhost"),
        (403, b"GET http://localhost/health HTTP/1.1\r\nHost: evil.com"),
        (403, b"GET http://localhost/health HTTP/1.1\r\nHost: localhost:1\r\nOrigin: http://localhost:1"),
        (200, b"GET http://localhost:1/health HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:1"),
        (400, b"GET http://localhost/health HTTP/1.1"),
        (400, b"GET http://user@localhost/health HTTP/1.1\r\nHost: localhost"),
        (400, b"GET ftp://localhost/health HTTP/1.1\r\nHost: localhost"),
        (400, b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost"),
        (400, b"GET /health\xfc HTTP/1.1\r\nHost: localhost"),
        (400, b"GET /health HTTP/1.1\r\nHost: localh\xfcst"),
        (400, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-\xfc: a"),
        (204, b"OPTIONS * HTTP/1.1\r\nHost: localhost"),
        (204, b"OPTIONS http://localhost HTTP/1.1\r\nHost: localhost"),
        (400, b"GET * HTTP/1.1\r\nHost: localhost"),
        // Java's HttpClient asks for HTTP/2 in its first request.
        (200, b"GET /health HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nHost: localhost\r\n\
            HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\nUpgrade: h2c\r\nUser-Agent: Java-http-client/21"),
        (200, b"GET /health HTTP/1.1\r\nHost: host.docker.internal:8000"),
        (200, b"GET /health HTTP/1.1\r\nHost: host.containers.internal"),
        (200, b"GET /health HTTP/1.1\r\nHost: gateway.docker.internal"),
        (403, b"GET /health HTTP/1.1\r\nHost: evil.docker.internal"),
        (200, b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\nConnection: TE\r\nTE: trailers\r\n\
            Cache-Control: no-cache\r\nCache-Control: no-store\r\nVia: 1.1 a\r\nVia: 1.1 b"),
        (400, b"GET /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked"),
        (400, b"GET /health HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: a\r\nIdempotency-Key: b"),
    ] {
        let answer = send(&server, [head, b"\r\n\r\n"].concat());
        let shown = String::from_utf8_lossy(head);
        assert_eq!(answer.status, status, "{shown}: {}", String::from_utf8_lossy(&answer.body));
    }
    let asked = send(&server, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(asked.header("Allow").unwrap().contains("POST"));
    server.stop();
}

#[test]
fn empty_lines_before_a_request_line_are_skipped_however_they_arrive() {
    let server = Server::start();
    let head = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (status, before) in [
        (200, "\r\n".to_owned()),
        (200, "\r\n\r\n".to_owned()),
        (200, "\r\n".repeat(8)),
        (400, "\r\n".repeat(9)),
        (400, "\n".to_owned()),
        (400, "\r".to_owned()),
        (400, " \r\n".to_owned()),
    ] {
        let answer = send(&server, format!("{before}{head}"));
        assert_eq!(answer.status, status, "{before:?}");
    }
    let mut socket = TcpStream::connect(&server.address).unwrap();
    socket.set_nodelay(true).unwrap();
    for byte in format!("\r\n\r\n{head}").bytes() {
        socket.write_all(&[byte]).unwrap();
    }
    assert_eq!(read_answer(&mut socket).unwrap().status, 200);
    server.stop();
}

#[test]
fn a_slash_at_the_end_and_escaped_letters_make_no_difference() {
    let server = Server::with(&[("AUTH_TOKEN", "s3cret")]);
    let token = [("Authorization", "Bearer s3cret")];
    let ask = |method: &str, path: &str| {
        server.ask(&Request::new(method, path).fields(&token).body("{}"))
    };
    for (method, path, status, code) in [
        ("GET", "/health/", 200, ""),
        ("GET", "/docs/", 200, ""),
        ("GET", "/docs/start.js/", 200, ""),
        ("GET", "/openapi.json/", 200, ""),
        ("GET", "/policy/", 200, ""),
        ("GET", "/metrics/", 200, ""),
        ("GET", "/runs/", 200, ""),
        ("GET", "/runs/?limit=5", 200, ""),
        ("GET", "/runs/none/", 404, "run_not_found"),
        ("GET", "/runs/none/events/", 404, "run_not_found"),
        ("DELETE", "/runs/none/", 404, "run_not_found"),
        ("GET", "/volume/b2-none/", 404, "volume_not_found"),
        ("DELETE", "/volume/b2-none/", 404, "volume_not_found"),
        ("POST", "/run/", 422, "invalid_request"),
        ("POST", "/volume/", 422, "invalid_request"),
        ("GET", "/volume/", 405, "method_not_allowed"),
        ("POST", "/messages/", 400, "session_id_missing"),
        ("POST", "/sse/", 405, "method_not_allowed"),
        ("GET", "/%68e%61lth", 200, ""),
        ("GET", "/r%75n%73/", 200, ""),
        ("GET", "//", 404, "not_found"),
        ("GET", "/health//", 404, "not_found"),
        ("GET", "//health", 404, "not_found"),
        ("GET", "/runs//", 404, ""),
    ] {
        let answer = ask(method, path);
        assert_eq!(answer.status, status, "{method} {path}");
        if !code.is_empty() {
            assert_eq!(answer.json()["code"], code, "{method} {path}");
        }
        if method == "GET" && status == 200 {
            let head = ask("HEAD", path);
            assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        }
    }
    for open in ["/health/", "/docs/", "/docs/start.js/", "/openapi.json/"] {
        assert_eq!(server.get(open).status, 200, "{open} needs no token");
    }
    assert_eq!(server.get("/runs/").status, 401);
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let pong = server.ask(&Request::new("POST", "/mcp/").fields(&token).body(ping));
    assert_eq!((pong.status, &pong.json()["id"]), (200, &json!(1)));
    let page = String::from_utf8(server.get("/docs/").body).unwrap();
    for link in [
        "=\"swagger-ui.css\"",
        "=\"start.js\"",
        "=\"../openapi.json\"",
    ] {
        assert!(page.contains(link), "{link}: {page}");
    }
    server.stop();
}

#[test]
fn the_lines_of_a_list_are_one_list() {
    let server = Server::start();
    let request = shell("echo hi", json!({})).to_string();
    let post = |fields: &[(&str, &str)]| {
        server.ask(&Request::new("POST", "/run").fields(fields).body(&request))
    };
    for (first, second, media_type) in [
        (
            "application/json;q=0.5",
            "text/event-stream",
            "text/event-stream",
        ),
        (
            "text/event-stream;q=0",
            "application/x-ndjson",
            "application/x-ndjson",
        ),
        ("text/html", "application/json", "application/json"),
    ] {
        let answer = post(&[("Accept", first), ("Accept", second)]);
        assert_eq!(
            answer.header("Content-Type").as_deref(),
            Some(media_type),
            "{first} {second}"
        );
    }
    let answer = post(&[("Prefer", "foo=bar"), ("Prefer", "respond-async")]);
    assert_eq!(answer.status, 202);
    let fields = [("Accept-Encoding", "br"), ("Accept-Encoding", "gzip")];
    let file = server.ask(&Request::new("GET", "/docs/swagger-ui.css").fields(&fields));
    assert_eq!(file.header("Content-Encoding").as_deref(), Some("gzip"));
    let both = [
        ("Accept", "application/json"),
        ("Accept", "text/event-stream"),
    ];
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let pong = server.ask(&Request::new("POST", "/mcp").fields(&both).body(ping));
    assert_eq!(pong.status, 200);
    forget_all(&server);
    server.stop();
}

#[test]
fn bodies_are_read_in_gzip_and_with_every_name_of_json() {
    let server = Server::start();
    let run = shell("true", json!({})).to_string();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let volume = r#"{"name": "x/y"}"#;
    let mut stream = EventStream::new(server.begin(&Request::new("GET", "/sse?sessionId=gz")));
    endpoint(&mut stream);
    for (path, body, status) in [
        ("/run?dry_run=1", run.as_str(), 200),
        ("/volume", volume, 422),
        ("/mcp", ping, 200),
        ("/messages?sessionId=gz", ping, 202),
    ] {
        let post = |fields: &[(&str, &str)], body: &[u8]| {
            server
                .ask(&Request::new("POST", path).fields(fields).body(body))
                .status
        };
        assert_eq!(
            post(&[("Content-Encoding", "gzip")], &gzip(body)),
            status,
            "{path}"
        );
        assert_eq!(
            post(&[("Content-Encoding", "br")], &gzip(body)),
            415,
            "{path}"
        );
        assert_eq!(
            post(&[("Content-Encoding", "gzip")], body.as_bytes()),
            400,
            "{path}"
        );
        let marked = ["\u{feff}", body].concat();
        assert_eq!(
            post(&[], marked.as_bytes()),
            status,
            "{path}: a byte order mark"
        );
        for (content_type, expected) in [
            ("application/json; charset=utf-8", status),
            ("application/json;charset=\"UTF8\"", status),
            ("text/json", status),
            ("application/vnd.api+json", status),
            ("", status),
            ("application/json; charset=iso-8859-1", 415),
            ("application/json; charset=utf-16", 415),
            ("text/plain", 415),
            ("application/x-www-form-urlencoded", 415),
        ] {
            let found = post(&[("Content-Type", content_type)], body.as_bytes());
            assert_eq!(found, expected, "{path} {content_type}");
        }
        let length = body.len();
        let untyped =
            format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}");
        assert_eq!(
            send(&server, untyped).status,
            status,
            "{path} without a type"
        );
    }
    // One answer for each message that was accepted above.
    for _ in 0..8 {
        assert_eq!(stream.until("message")["id"], 1);
    }
    let latin = b"{\"image\": \"J\xfcrgen\"}";
    let (status, code, detail) = server
        .ask(&Request::new("POST", "/run").body(latin))
        .problem();
    assert_eq!((status, code.as_str()), (400, "bad_json"));
    assert!(detail.contains("not UTF-8"), "{detail}");
    server.stop();
}

/// The data of the first event of `/sse`, which is no JSON.
fn endpoint(stream: &mut EventStream) -> String {
    assert_eq!(stream.line().as_deref(), Some("event: endpoint"));
    stream.line().unwrap()
}

#[test]
fn behind_a_path_prefix_every_link_has_it() {
    let server = Server::start();
    let request = shell("true", json!({})).to_string();
    for (sent, prefix) in [
        (&["/runner"][..], "/runner"),
        (&["/outer/", "/inner"], "/outer/inner"),
        (&["//evil.com"], ""),
        (&["https://evil.com/runner"], ""),
        (&["/a/../b"], ""),
        (&["/"], ""),
        (&[], ""),
    ] {
        let mut fields: Vec<_> = sent
            .iter()
            .map(|value| ("X-Forwarded-Prefix", *value))
            .collect();
        let sse = server.begin(&Request::new("GET", "/sse").fields(&fields));
        let data = endpoint(&mut EventStream::new(sse));
        let wanted = format!("data: {prefix}/messages?sessionId=");
        assert!(data.starts_with(&wanted), "{sent:?}: {data}");
        let document = server.ask(&Request::new("GET", "/openapi.json").fields(&fields));
        assert_eq!(
            document.header("Vary").as_deref(),
            Some("X-Forwarded-Prefix")
        );
        let servers = match prefix {
            "" => Value::Null,
            prefix => json!([{"url": prefix}]),
        };
        assert_eq!(document.json()["servers"], servers, "{sent:?}");
        let root = server.ask(&Request::new("GET", "/").fields(&fields));
        assert_eq!(root.header("Vary").as_deref(), Some("X-Forwarded-Prefix"));
        let page = String::from_utf8(root.body).unwrap();
        let below = match prefix {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        for link in ["page/main.js\"", "page/page.css\"", "docs\""] {
            assert!(
                page.contains(&format!("=\"{below}{link}")),
                "{sent:?}: {page}"
            );
        }
        fields.push(("Prefer", "respond-async"));
        let run = server.ask(&Request::new("POST", "/run").fields(&fields).body(&request));
        let location = run.header("Location").unwrap();
        assert!(
            location.starts_with(&format!("{prefix}/runs/")),
            "{sent:?}: {location}"
        );
    }
    forget_all(&server);
    server.stop();
}

#[test]
fn curl_and_pythons_client_are_served_as_they_are() {
    let server = Server::start();
    let address = &server.address;
    let script = format!(
        r#"set -eu
        run='{{"image": "oneoff-test:latest", "pull_policy": "never", "network": "none", "command": "echo hello"}}'
        through_proxy=$(curl -sS --noproxy '' -x http://{address} http://{address}/health/ | grep -c '"ok"')
        gzipped=$(printf %s "$run" | gzip | curl -sS --data-binary @- -H 'Content-Type: text/json; charset=utf-8' \
            -H 'Content-Encoding: gzip' http://{address}/run/ | grep -c hello)
        streamed=$(printf %s "$run" | gzip | curl -sS -T - -X POST -H 'Content-Encoding: gzip' -H 'Expect: 100-continue' \
            -H 'Accept: text/html' -H 'Accept: application/x-ndjson' http://{address}/run | grep -c '"event":"result"')
        name=$(curl -sS -b 'name=Jürgen' http://{address}/health | grep -c '"ok"')
        star=$(curl -sS -o /dev/null -w '%{{http_code}}' -X OPTIONS --request-target '*' http://{address}/)
        echo "$through_proxy $gzipped $streamed $name $star""#
    );
    let shown = Command::new("bash").args(["-c", &script]).output().unwrap();
    let stderr = String::from_utf8_lossy(&shown.stderr);
    assert_eq!(
        String::from_utf8_lossy(&shown.stdout),
        "1 1 1 1 204\n",
        "{stderr}"
    );

    let script = r#"
import gzip, http.client, json, sys
run = json.dumps({"image": "oneoff-test:latest", "pull_policy": "never", "network": "none", "command": "echo hello",
    "pids_limit": 64.0}).encode()
def ask(body, headers):
    connection = http.client.HTTPConnection(sys.argv[1])
    connection.request("POST", "/run", body, headers)
    answer = connection.getresponse()
    return answer.status, json.load(answer).get("stdout")
packed = gzip.compress(run)
print(ask(run, {}), ask(iter([packed[:9], packed[9:]]), {"Content-Encoding": "gzip", "Remote-User": "Jürgen"}),
    ask(b"\xef\xbb\xbf" + run, {"Content-Type": "application/problem+json"}))
"#;
    let shown = Command::new("python3")
        .args(["-c", script, address])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&shown.stderr);
    let one = r"(200, 'hello\n')";
    assert_eq!(
        String::from_utf8_lossy(&shown.stdout),
        format!("{one} {one} {one}\n"),
        "{stderr}"
    );
    server.stop();
}
