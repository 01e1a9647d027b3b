//! Clients that send or read too slowly.

use super::client::{connect, hung_up_within, read, read_until, reset, send};
use super::rig::{Event, Rig};
use std::io::Write;
use std::time::Duration;

#[test]
fn a_slow_head_is_408_and_a_silent_client_is_simply_closed() {
    let rig = Rig::with(|c| c.head_timeout = Duration::from_millis(300));
    let mut silent = connect(rig.addr);
    let mut slow = connect(rig.addr);
    let drip = std::thread::spawn(move || {
        for byte in b"GET /health HTTP/1.1\r\nHost: h\r\nX-Endless: "
            .iter()
            .chain([b'x'; 1000].iter())
        {
            if slow.write_all(&[*byte]).is_err() {
                break;
            }
            // One byte every 10 ms: the time spent waiting for an answer.
            slow.set_read_timeout(Some(Duration::from_millis(10)))
                .unwrap();
            if slow.peek(&mut [0]).is_ok() {
                break;
            }
        }
        read(&mut slow).unwrap()
    });
    assert!(read(&mut silent).is_none());
    assert_eq!(drip.join().unwrap().code(), "head_timeout");
}

#[test]
fn a_body_that_stalls_or_drips_is_408() {
    let rig = Rig::with(|c| c.body_stall_timeout = Duration::from_millis(200));
    let head = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nhello";
    let mut stalled = send(rig.addr, head);
    assert_eq!(read(&mut stalled).unwrap().code(), "body_timeout");
    let mut dripping = send(rig.addr, head);
    let mut writer = dripping.try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        while writer.write_all(b"x").is_ok() {
            hung_up_within(&writer, Duration::from_millis(20));
        }
    });
    let answer = read_until(&mut dripping, "body_timeout");
    assert!(answer.starts_with("HTTP/1.1 408 "));
    reset(dripping);
    drip.join().unwrap();
}

#[test]
fn a_client_that_does_not_read_is_disconnected() {
    let rig = Rig::with(|c| c.write_stall_timeout = Duration::from_millis(300));
    let socket = send(rig.addr, b"GET /flood HTTP/1.1\r\nHost: h\r\n\r\n");
    rig.expect(Event::Entered);
    rig.expect(Event::WriteFailed);
    drop(socket);
}
