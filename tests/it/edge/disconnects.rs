//! Clients that disconnect, in every way and at every moment.

use super::MIB;
use super::client::{read, read_until, reset, send};
use super::rig::{Event, Rig};
use std::io::Write;
use std::net::{Shutdown, TcpStream};

#[test]
fn a_client_that_disconnects_in_any_way_cancels_its_request() {
    let rig = Rig::start();
    let leave: [fn(TcpStream); 3] = [drop, reset, |socket| {
        socket.shutdown(Shutdown::Write).unwrap();
        let mut socket = socket;
        assert_eq!(read(&mut socket).unwrap().status, 204);
    }];
    for request in [
        "GET /wait HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /wait HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        "POST /wait HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    ] {
        for leave in leave {
            let socket = send(rig.addr, request.as_bytes());
            rig.expect(Event::Entered);
            leave(socket);
            rig.expect(Event::Cancelled);
        }
    }
}

#[test]
fn a_client_that_disconnects_cancels_its_idle_stream() {
    let rig = Rig::start();
    for leave in [drop::<TcpStream>, reset] {
        let mut socket = send(rig.addr, b"GET /idle-stream HTTP/1.1\r\nHost: h\r\n\r\n");
        read_until(&mut socket, "hello");
        rig.expect(Event::Entered);
        leave(socket);
        rig.expect(Event::Cancelled);
    }
}

#[test]
fn a_client_that_sends_more_than_its_request_cancels_it() {
    let rig = Rig::start();
    let mut socket = send(rig.addr, b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
    rig.expect(Event::Entered);
    socket.write_all(&vec![b'x'; MIB]).unwrap();
    rig.expect(Event::Cancelled);
}

#[test]
fn resets_at_any_moment_affect_no_other_client() {
    let rig = Rig::start();
    let request = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    for cut in 0..request.len() {
        reset(send(rig.addr, &request[..cut]));
        reset(send(rig.addr, request));
    }
    assert!(rig.is_well());
}
