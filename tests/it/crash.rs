//! `kill -9` and what a restart makes of it.

use super::run::shell;
use super::support::{IMAGE, Server, await_nothing_left, docker, leftovers};
use serde_json::json;

fn busy(server: &Server) -> std::net::TcpStream {
    let stream = server.begin_run(&shell(
        "sleep 600",
        json!({"timeout_secs": 1000, "volumes": {"/d": {"type": "directory", "files": {"a": "x"}, "response": true}}}),
    ));
    server.await_running();
    stream
}

#[test]
fn what_a_killed_server_left_is_gone_after_its_restart_and_a_neighbours_is_not() {
    let neighbour = Server::start();
    let neighbours_run = busy(&neighbour);
    let victim = Server::start();
    let _run = busy(&victim);
    let instance = victim.kill();
    let left = leftovers(&format!("oneoff.instance={instance}"));
    assert!(
        left.iter().any(|line| line.starts_with("volume")),
        "there is something to sweep: {left:?}"
    );
    assert!(
        left.iter()
            .filter(|line| line.starts_with("container"))
            .count()
            >= 2,
        "{left:?}"
    );

    let heir = Server::named(&instance, &[]);
    heir.await_nothing_left();
    let neighbours = neighbour.leftovers();
    assert_eq!(
        neighbours.len(),
        3,
        "a live neighbour's run goes on: {neighbours:?}"
    );
    neighbour.await_running();
    heir.stop();
    drop(neighbours_run);
    neighbour.await_nothing_left();
    neighbour.stop();
}

#[test]
fn two_live_servers_that_share_a_name_leave_each_others_runs_alone() {
    let first = Server::start();
    let run = busy(&first);
    let second = Server::named(&first.instance, &[]);
    // Its first sweep is over once it has removed what nobody owns.
    let stray = docker(&[
        "create",
        "--label",
        &format!("oneoff.instance={}", first.instance),
        "--label",
        "oneoff.run=stray",
        IMAGE,
    ]);
    let third = Server::named(&first.instance, &[]);
    while docker(&[
        "ps",
        "-aq",
        "--no-trunc",
        "--filter",
        &format!("id={stray}"),
    ]) == stray
    {}
    assert_eq!(first.leftovers().len(), 3, "{:?}", first.leftovers());
    drop(run);
    first.await_nothing_left();
    for server in [first, second, third] {
        server.stop();
    }
}

#[test]
fn leftovers_in_every_state_are_swept_by_reap() {
    let instance = format!("crash-states-{}", std::process::id());
    let label = format!("oneoff.instance={instance}");
    let network = "--network=none";
    for (arguments, start) in [
        (
            vec!["create", network, "--label", &label, IMAGE, "true"],
            false,
        ),
        (
            vec!["create", network, "--label", &label, IMAGE, "true"],
            true,
        ),
        (
            vec!["create", network, "--label", &label, IMAGE, "sleep", "600"],
            true,
        ),
    ] {
        let id = docker(&arguments);
        if start {
            docker(&["start", &id]);
        }
    }
    docker(&["volume", "create", "--label", &label]);
    assert_eq!(leftovers(&label).len(), 4);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_oneoff-docker-runner"))
        .arg("reap")
        .env("RUNNER_INSTANCE", &instance)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "4 leftovers removed\n",
        "{output:?}"
    );
    await_nothing_left(&instance);
}

#[test]
fn an_unfinished_volume_goes_with_its_helper_and_a_finished_one_stays() {
    let instance = format!("crash-fill-{}", std::process::id());
    let label = format!("oneoff.instance={instance}");
    let (unfinished, finished) = (format!("{instance}-a"), format!("{instance}-b"));
    for (name, fill) in [(&unfinished, "f1"), (&finished, "f2")] {
        let made_by = format!("oneoff.volume={instance}-{fill}");
        docker(&["volume", "create", "--label", &made_by, name]);
    }
    let mount = format!("type=volume,source={unfinished},target=/stage");
    docker(&[
        "create",
        "--network=none",
        &format!("--name=oneoff-{instance}-f1-fill"),
        &format!("--label=oneoff.run={instance}-f1"),
        "--label",
        &label,
        "--label",
        &format!("oneoff.fills={unfinished}"),
        "--mount",
        &mount,
        IMAGE,
        "true",
    ]);
    let server = Server::named(&instance, &[]);
    server.await_nothing_left();
    let filter = format!("name={instance}");
    assert_eq!(
        docker(&["volume", "ls", "-q", "--filter", &filter]),
        finished
    );
    assert_eq!(server.get(&format!("/volume/{finished}")).status, 200);
    assert_eq!(
        server
            .request("DELETE", &format!("/volume/{finished}"), "")
            .status,
        204
    );
    server.stop();
}
