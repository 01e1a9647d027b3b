//! Shutdown: what finishes, what is cancelled, who is refused.

use super::client::{PATIENCE, connect, read, send};
use super::rig::{Event, Rig};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[test]
fn shutdown_refuses_new_clients_lets_requests_finish_and_ends_streams() {
    let mut rig = Rig::with(|c| c.head_timeout = 2 * PATIENCE);
    let mut working = send(rig.addr, b"GET /ignore HTTP/1.1\r\nHost: h\r\n\r\n");
    rig.expect(Event::Entered);
    let mut stream = send(rig.addr, b"GET /idle-stream HTTP/1.1\r\nHost: h\r\n\r\n");
    rig.expect(Event::Entered);
    let mut idle = connect(rig.addr);
    let started = Instant::now();
    let mut server = rig.server.take().unwrap();
    server.drain(Instant::now() + PATIENCE);
    server.close(Instant::now());
    assert!(started.elapsed() < PATIENCE, "nobody had to be waited for");
    rig.expect(Event::Draining);
    assert_eq!(read(&mut working).unwrap().text(), "finished");
    assert!(
        read(&mut stream)
            .unwrap()
            .text()
            .ends_with("bye\n\n\r\n0\r\n\r\n")
    );
    assert!(read(&mut idle).is_none());
    assert!(TcpStream::connect(rig.addr).is_err());
}

#[test]
fn shutdown_cancels_what_does_not_finish_within_the_grace_period() {
    let mut rig = Rig::start();
    let mut waiting = send(rig.addr, b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
    rig.expect(Event::Entered);
    let mut server = rig.server.take().unwrap();
    server.drain(Instant::now() + Duration::from_millis(50));
    server.cancel();
    server.close(Instant::now() + PATIENCE);
    rig.expect(Event::Cancelled);
    assert_eq!(
        read(&mut waiting).unwrap().status,
        204,
        "a cancelled request is still answered"
    );
}
