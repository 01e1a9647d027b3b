//! Standard input, on a connection of its own.

use super::{Bench, engine, run};
use oneoff_docker_runner::docker::stdcopy;
use std::io::Write;
use std::sync::mpsc::channel;
use std::time::Duration;

#[test]
fn megabytes_of_stdin_arrive_and_end() {
    let bench = Bench::new(engine(), "stdin");
    let fed = vec![b'x'; 8 << 20];
    let id = bench.create(&bench.with_stdin("wc -c"));
    let (stdout, _, _) = run(&bench.client, &id, &fed);
    assert_eq!(stdout.trim(), fed.len().to_string());
    bench.client.container_remove(&id).unwrap();
    bench.assert_nothing_is_left_behind();
}

#[test]
fn dropping_stdin_closes_it() {
    let bench = Bench::new(engine(), "stdin-drop");
    let id = bench.create(&bench.with_stdin("cat"));
    let mut attached = bench.client.container_attach(&id).unwrap();
    let mut feed = bench.client.container_attach_stdin(&id).unwrap();
    let wait = bench.client.container_wait_next_exit(&id).unwrap();
    bench.client.container_start(&id).unwrap();
    feed.write_all(b"last words").unwrap();
    drop(feed);
    let mut stdout = Vec::new();
    stdcopy::demultiplex(&mut attached.stream, &mut |_, piece| {
        stdout.extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    assert_eq!(stdout, b"last words");
    assert_eq!(wait.finish().unwrap().status_code, 0);
    bench.client.container_remove(&id).unwrap();
    bench.assert_nothing_is_left_behind();
}

#[test]
fn writing_to_a_process_that_does_not_read_can_be_interrupted() {
    let bench = Bench::new(engine(), "stdin-unread");
    let id = bench.create(&bench.with_stdin("sleep 100"));
    let mut feed = bench.client.container_attach_stdin(&id).unwrap();
    let interrupt = feed.interrupt_handle();
    let wait = bench.client.container_wait_next_exit(&id).unwrap();
    bench.client.container_start(&id).unwrap();
    let (blocked, is_blocked) = channel();
    let writer = std::thread::spawn(move || {
        let mut written = 0;
        loop {
            match feed.write(&[b'x'; 65536]) {
                Ok(count) => written += count,
                Err(_) => return written,
            }
            let _ = blocked.send(written);
        }
    });
    // The writer is blocked when it has written nothing for a second.
    while is_blocked.recv_timeout(Duration::from_secs(1)).is_ok() {}
    bench.client.container_kill(&id, "KILL").unwrap();
    assert_eq!(wait.finish().unwrap().status_code, 137);
    interrupt.interrupt();
    assert!(writer.join().unwrap() > 0);
    bench.client.container_remove(&id).unwrap();
    bench.assert_nothing_is_left_behind();
}
