//! Clients that disconnect, in every way and at every moment.

use super::MIB;
use super::client::{read, read_until, reset, send};
use super::rig::{Event, Rig};
use std::io::Write;
use std::net::{Shutdown, TcpStream};

#[test]
fn a_client_that_leaves_cancels_its_request_however_it_leaves() {
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
fn a_client_that_leaves_an_idle_stream_cancels_it() {
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
fn a_client_that_leaves_behind_unread_bytes_cancels_its_request() {
    let rig = Rig::start();
    let mut socket = send(rig.addr, b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
    rig.expect(Event::Entered);
    socket.write_all(&vec![b'x'; MIB]).unwrap();
    rig.expect(Event::Cancelled);
}

#[test]
fn resets_at_any_moment_hurt_nobody_else() {
    let rig = Rig::start();
    let request = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    for cut in 0..request.len() {
        reset(send(rig.addr, &request[..cut]));
        reset(send(rig.addr, request));
    }
    assert!(rig.is_well());
}
