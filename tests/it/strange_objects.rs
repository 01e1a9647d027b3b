//! Objects in the engine that are not what they seem: labels that come from an image, records that cannot be read, and owners
//! of whom nobody has heard.

use super::async_runs::{finished, forget_all, submit};
use super::run::shell;
use super::support::{IMAGE, Server, await_nothing_left, docker, fresh_instance, leftovers};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// An image that is removed at the end of the test.
struct Image(String);

impl Image {
    /// The test image with these `key=value` labels.
    fn with_labels(labels: &[&str]) -> Self {
        let name = format!("{}:labelled", fresh_instance());
        let container = docker(&["create", IMAGE, "true"]);
        let changes: Vec<String> = labels
            .iter()
            .map(|label| format!("--change=LABEL {label}"))
            .collect();
        let mut commit = vec!["commit"];
        commit.extend(changes.iter().map(String::as_str));
        commit.extend([container.as_str(), name.as_str()]);
        docker(&commit);
        docker(&["rm", &container]);
        Self(name)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::process::Command::new("docker")
            .args(["rmi", "-f", &self.0])
            .output();
    }
}

fn exists(id: &str) -> bool {
    !docker(&["ps", "-aq", "--no-trunc", "--filter", &format!("id={id}")]).is_empty()
}

fn await_gone(id: &str) {
    let begun = Instant::now();
    while exists(id) {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{id} is still there"
        );
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// A process of a host that does not exist.
const NOWHERE: &str = "oneoff.owner=nowhere-at-all.1/1/1";
/// A process of this host's namespace that cannot have existed, so that its death is certain.
fn dead_here() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let namespace = namespace
        .to_string_lossy()
        .replace(|c: char| !c.is_ascii_digit(), "");
    format!("oneoff.owner={}.{namespace}/4194304/1", boot.trim())
}

/// Creates a container by hand, as a dead server would have left it. It runs if `more` ends with a command to sleep.
fn left_behind(name: &str, labels: &[&str], more: &[&str]) -> String {
    let labels: Vec<String> = labels
        .iter()
        .map(|label| format!("--label={label}"))
        .collect();
    let name = format!("--name={name}");
    let verb: &[&str] = match more.contains(&"sleep") {
        true => &["run", "--detach"],
        false => &["create"],
    };
    let mut command = verb.to_vec();
    command.extend(["--network=none", &name]);
    command.extend(labels.iter().map(String::as_str));
    command.extend(more);
    docker(&command)
}

#[test]
fn labels_of_an_image_count_for_nothing_in_a_run() {
    let image = Image::with_labels(&[
        "oneoff.async=request",
        "oneoff.fills=x",
        "oneoff.unheard_of=y",
        "oneoff.deadline=1",
        "mine=kept",
    ]);
    let server = Server::start();
    let mut request = shell("sleep 600", json!({"timeout_secs": 1000}));
    request["image"] = json!(image.0);
    let run = server.begin_run(&request);
    let container = server.await_running();
    let labels = docker(&["inspect", "--format", "{{json .Config.Labels}}", &container]);
    let labels: Value = serde_json::from_str(&labels).unwrap();
    for shadowed in ["oneoff.async", "oneoff.fills", "oneoff.unheard_of"] {
        assert_eq!(labels[shadowed], "", "{labels}");
    }
    assert_eq!(labels["mine"], "kept");
    assert_ne!(labels["oneoff.deadline"], "1");
    let instance = server.kill();
    drop(run);
    let heir = Server::named(&instance, &[]);
    heir.await_nothing_left();
    heir.stop();
}

#[test]
fn a_container_whose_image_has_our_labels_is_not_ours() {
    let instance = fresh_instance();
    let label = format!("oneoff.instance={instance}");
    let image = Image::with_labels(&[&label, "oneoff.run=r", &dead_here()]);
    let foreign = docker(&["create", "--network=none", &image.0, "true"]);
    let stray = docker(&["create", "--network=none", "--label", &label, IMAGE, "true"]);
    let server = Server::named(&instance, &[]);
    await_gone(&stray);
    assert!(exists(&foreign), "it is its creator's");
    docker(&["rm", &foreign]);
    server.stop();
}

#[test]
fn a_record_that_cannot_be_read_is_reported_and_stops_neither_adoption_nor_the_sweep() {
    let server = Server::start();
    let good = submit(&server, &shell("echo kept", json!({})));
    finished(&server, &good);
    let _plain = server.begin_run(&shell("sleep 600", json!({"timeout_secs": 1000})));
    server.await_running();
    let instance = server.kill();
    let label = format!("oneoff.instance={instance}");
    let owner = dead_here();
    let volume = |name: &str, run: &str, role: &str| {
        let labels = [
            label.clone(),
            owner.clone(),
            format!("oneoff.run={run}"),
            format!("oneoff.async={role}"),
            format!("oneoff.deadline={}", now() + 1000),
        ];
        let labels = labels.map(|label| format!("--label={label}"));
        let mut command = vec!["volume", "create"];
        command.extend(labels.iter().map(String::as_str));
        command.push(name);
        docker(&command)
    };
    let ids = ["broken", "huge"].map(|name| format!("{instance}-{name}"));
    let lost = format!("{instance}-lost");
    let journal = volume(
        &format!("oneoff-{instance}j-records"),
        &format!("{instance}j"),
        "records",
    );
    let marks = ids
        .each_ref()
        .map(|id| volume(&format!("oneoff-{id}-waiting"), id, "mark"));
    volume(&format!("oneoff-{lost}-waiting"), &lost, "mark");
    let script = format!(
        "echo '{{\"facts\": secret' >/stage/{broken}.outcome; touch /stage/{broken}.complete; \
         dd if=/dev/zero of=/stage/{huge}.request bs=1M count=30; mkdir /stage/{lost}.request",
        broken = ids[0],
        huge = ids[1],
    );
    let mount = format!("--volume={journal}:/stage");
    docker(&[
        "run",
        "--rm",
        "--network=none",
        &mount,
        IMAGE,
        "sh",
        "-c",
        &script,
    ]);

    let small = [
        ("RUNNER_MAX_BODY_BYTES", "1m"),
        ("RUNNER_MAX_RESULT_BYTES", "1m"),
    ];
    let heir = Server::named(&instance, &small);
    assert_eq!(finished(&heir, &good)["result"]["stdout"], "kept\n");
    for id in &ids {
        let begun = Instant::now();
        let answer = loop {
            let answer = heir.get(&format!("/runs/{id}"));
            if answer.status == 502 {
                break answer.json();
            }
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "{}",
                answer.json()
            );
        };
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains("cannot be read"), "{detail}");
        assert!(!detail.contains("secret"), "{detail}");
    }
    let peak = heir.status_number("VmHWM");
    assert!(
        peak < 28_000,
        "the huge record is not read whole: {peak} kB"
    );
    let begun = Instant::now();
    while leftovers(&label).iter().any(|line| line.contains(" Up ")) {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{:?}",
            leftovers(&label)
        );
    }
    let state = finished(&heir, &format!("/runs/{lost}"));
    assert_eq!(state["error"]["code"], "object_removed", "{state}");
    for volume in marks.iter().chain([&journal]) {
        // It is kept for a server that can read it.
        docker(&["volume", "rm", volume]);
    }
    forget_all(&heir);
    heir.stop();
}

#[test]
fn every_object_of_a_run_is_past_its_deadline_two_minutes_after_the_time_limit_at_most() {
    let server = Server::start();
    let files = json!({"/d": {"type": "directory", "files": {"a": "x"}}});
    let request = shell("sleep 600", json!({"timeout_secs": 30, "volumes": files}));
    let _plain = server.begin_run(&request);
    server.await_running();
    let deadline = |name: &str| {
        let format = "{{index .Config.Labels \"oneoff.deadline\"}}";
        docker(&["inspect", "--format", format, name])
            .parse::<u64>()
            .unwrap()
    };
    let names = leftovers(&format!("oneoff.instance={}", server.instance));
    let names = names
        .iter()
        .filter_map(|line| line.strip_prefix("container "));
    let names: Vec<&str> = names.map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for name in names {
        let left = deadline(name).saturating_sub(now());
        assert!(left <= 30 + 120, "{name}: {left} s");
    }
    let instance = server.kill();
    let heir = Server::named(&instance, &[]);
    let path = submit(&heir, &request);
    let run = format!("oneoff-{}", path.trim_start_matches("/runs/"));
    heir.await_nothing_but(&run);
    let left = deadline(&run).saturating_sub(now());
    assert!(left <= 30 + 120, "an asynchronous run too: {left} s");
    forget_all(&heir);
    heir.stop();
}

#[test]
fn a_neighbour_removes_what_is_past_its_deadline_and_ends_an_asynchronous_run_whose_record_it_leaves()
 {
    let gone = fresh_instance();
    let label = format!("oneoff.instance={gone}");
    let (over, ahead) = (
        format!("oneoff.deadline={}", now() - 1),
        format!("oneoff.deadline={}", now() + 600),
    );
    let run = format!("oneoff.run={gone}");
    // First, or the neighbours of other tests see a run without a mark.
    let labels = [&label, NOWHERE, &run, &ahead, "oneoff.async=mark"];
    let labels = labels.map(|label| format!("--label={label}"));
    let mut create = vec!["volume", "create"];
    create.extend(labels.iter().map(String::as_str));
    let mark = format!("oneoff-{gone}-started");
    create.push(&mark);
    docker(&create);
    let plain = left_behind(
        &format!("oneoff-{gone}p"),
        &[&label, NOWHERE, &format!("{run}p"), &over],
        &[IMAGE, "sleep", "600"],
    );
    let early = left_behind(
        &format!("oneoff-{gone}e"),
        &[&label, NOWHERE, &format!("{run}e"), &ahead],
        &[IMAGE, "sleep", "600"],
    );
    let later = left_behind(
        &format!("oneoff-{gone}"),
        &[&label, NOWHERE, &run, &over, "oneoff.async=run"],
        &[IMAGE, "sleep", "600"],
    );
    let neighbour = Server::start();
    await_gone(&plain);
    let begun = Instant::now();
    while docker(&["inspect", "--format", "{{.State.Running}}", &later]) == "true" {
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
    // It is not the neighbour's to take.
    docker(&["volume", "inspect", &mark]);
    assert_eq!(
        docker(&["inspect", "--format", "{{.State.Running}}", &early]),
        "true",
        "its time has not come"
    );
    docker(&["rm", "-f", &early, &later]);
    docker(&["volume", "rm", &mark]);
    await_nothing_left(&gone);
    neighbour.stop();
}
