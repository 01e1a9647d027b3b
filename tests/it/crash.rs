//! `kill -9`, and what the next server removes.

use super::run::shell;
use super::support::{Directory, IMAGE, Server, docker, leftovers};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};

fn busy(server: &Server) -> std::net::TcpStream {
    let stream = server.begin_run(&shell(
        "sleep 600",
        json!({"timeout_secs": 1000, "volumes": {"/d": {"type": "directory", "files": {"a": "x"}, "response": true}}}),
    ));
    server.await_running();
    stream
}

#[test]
fn a_restart_removes_the_leftovers_of_a_killed_server_and_not_those_of_a_neighbour() {
    let neighbour = Server::start();
    let neighbours_run = busy(&neighbour);
    let victim = Server::start();
    let _run = busy(&victim);
    // Before its death: from then on every server of this host may sweep them.
    let left = victim.leftovers();
    let instance = victim.kill();
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
    // Its first sweep is over when it has removed a container without an owner.
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
    // The run's container, its helper and its volume; the second and the third server have run nothing.
    assert_eq!(first.leftovers().len(), 3, "{:?}", first.leftovers());
    drop(run);
    first.await_nothing_left();
    for server in [first, second, third] {
        server.stop();
    }
}

#[test]
fn reap_removes_leftovers_in_every_state() {
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
    let output = std::process::Command::new(crate::support::program())
        .arg("reap")
        .env("RUNNER_INSTANCE", &instance)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    let count = words.strip_suffix(" leftovers removed\n").unwrap();
    // It may find those of other tests' servers, too.
    assert!(count.parse::<u32>().unwrap() >= 4, "{output:?}");
    assert_eq!(leftovers(&label), [""; 0]);
}

#[test]
fn an_unfinished_volume_is_removed_with_its_helper_and_a_finished_one_stays() {
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

fn names_in(directory: &Directory) -> BTreeSet<String> {
    std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_start_removes_the_socket_directory_of_a_killed_server_and_no_other() {
    let temp = Directory::new("sockets");
    let setting = ("TMPDIR", temp.path().to_str().unwrap());
    let neighbour = Server::with(&[setting]);
    let neighbours = names_in(&temp);
    let victim = Server::with(&[setting]);
    let left = names_in(&temp)
        .difference(&neighbours)
        .next()
        .unwrap()
        .clone();
    let instance = victim.kill();
    assert!(names_in(&temp).contains(&left));

    // Directories whose names are those of dead servers, and which differ in one property each.
    let (start, random) = left.split_at(left.len() - 6);
    let variant = |n: u32| {
        let name = format!(
            "{start}{:06x}",
            !u32::from_str_radix(random, 16).unwrap() & 0xff_ffff ^ n
        );
        std::fs::create_dir(temp.path().join(&name)).unwrap();
        std::fs::set_permissions(temp.path().join(&name), Permissions::from_mode(0o700)).unwrap();
        temp.path().join(name)
    };
    std::fs::write(variant(0).join("0123abcd"), "not a socket").unwrap();
    let strangers = variant(1);
    // Only root can change the owner of a directory.
    chown(&strangers, Some(12345), None)
        .or_else(|_| std::fs::set_permissions(&strangers, Permissions::from_mode(0o770)))
        .unwrap();
    std::fs::set_permissions(variant(2), Permissions::from_mode(0o755)).unwrap();
    let elsewhere = left.replacen('.', "0.", 1);
    let elsewhere = temp.path().join(elsewhere);
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::set_permissions(&elsewhere, Permissions::from_mode(0o700)).unwrap();
    let mut expected = names_in(&temp);
    expected.remove(&left);

    let heir = Server::named(&instance, &[setting]);
    let mut found = names_in(&temp);
    assert!(!found.contains(&left), "{found:?}");
    assert_eq!(found.len(), expected.len() + 1, "the heir's own came");
    assert!(
        found.is_superset(&expected),
        "{expected:?} became {found:?}"
    );
    assert_eq!(neighbour.get("/health").status, 200);
    heir.stop();
    neighbour.stop();
    found = names_in(&temp);
    assert_eq!(found.len(), 4, "{found:?}");
}
