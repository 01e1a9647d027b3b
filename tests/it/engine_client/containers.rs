//! Containers from creation to removal: output, exit, end, log.

use super::{Bench, engine, run, status_of, whole_life_of_a_container};
use oneoff_docker_runner::docker::stdcopy;

#[test]
fn a_container_is_created_run_and_removed_over_the_unix_socket() {
    whole_life_of_a_container(&Bench::new(engine(), "life"));
}

#[test]
fn output_is_complete_and_its_streams_are_kept_apart() {
    let bench = Bench::new(engine(), "output");
    let script = "yes out | head -c 2000000; yes err | head -c 2000000 >&2";
    let id = bench.create(&bench.config(script));
    let (stdout, stderr, code) = run(&bench.client, &id, b"");
    assert_eq!(
        (stdout.len(), stderr.len(), code),
        (2_000_000, 2_000_000, 0)
    );
    assert!(stdout.starts_with("out\n") && stderr.starts_with("err\n"));
    bench.client.container_remove(&id).unwrap();
    bench.assert_nothing_is_left_behind();
}

#[test]
fn wait_returns_before_the_exit_and_finishes_with_it() {
    let bench = Bench::new(engine(), "wait");
    let id = bench.create(&bench.config("sleep 100"));
    let wait = bench.client.container_wait_next_exit(&id).unwrap();
    bench.client.container_start(&id).unwrap();
    assert!(bench.client.container_inspect(&id).unwrap().state.running);
    bench
        .client
        .container_start(&id)
        .expect("a container that runs already is started");
    bench.client.container_kill(&id, "KILL").unwrap();
    assert_eq!(wait.finish().unwrap().status_code, 137);
    assert_eq!(status_of(bench.client.container_kill(&id, "KILL")).0, 409);
    bench.client.container_remove(&id).unwrap();
    bench.assert_nothing_is_left_behind();
}

#[test]
fn every_kind_of_end_of_a_container_is_reported() {
    let bench = Bench::new(engine(), "end");
    let client = &bench.client;
    let end = |script: &str, during: &dyn Fn(&str)| {
        let id = bench.create(&bench.config(script));
        let mut attached = client.container_attach(&id).unwrap();
        let end = client.container_end(&id).unwrap();
        client.container_start(&id).unwrap();
        during(&id);
        std::io::copy(&mut attached.stream, &mut std::io::sink()).unwrap();
        let end = end.finish().unwrap();
        assert_eq!(client.container_ended(&id).unwrap(), end, "{script}");
        client.container_remove(&id).unwrap();
        end.exit_code
    };
    assert_eq!(end("exit 0", &|_| {}), 0);
    assert_eq!(end("exit 7", &|_| {}), 7);
    let kill = |id: &str| client.container_kill(id, "KILL").unwrap();
    assert_eq!(end("sleep 100", &kill), 137);
    // Longer than the client waits for a late event.
    assert_eq!(end("exec >&- 2>&-; sleep 3; exit 9", &|_| {}), 9);
    assert_eq!(status_of(client.container_ended("nope")).0, 404);
    bench.assert_nothing_is_left_behind();
}

#[test]
fn log_messages_are_the_output_with_timestamps() {
    let bench = Bench::new(engine(), "logs");
    let mut config = bench.config("echo hello");
    config.host_config.log_config.kind = "json-file".into();
    let id = bench.create(&config);
    run(&bench.client, &id, b"");
    let mut logs = bench.client.container_log_messages(&id).unwrap();
    let mut seen = Vec::new();
    stdcopy::demultiplex(&mut logs.stream, &mut |_, piece| {
        seen.extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    assert!(seen.ends_with(b"Z hello\n"), "{}", seen.escape_ascii());
    bench.client.container_remove(&id).unwrap();
    bench.assert_nothing_is_left_behind();
}
