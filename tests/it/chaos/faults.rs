//! The faults, one after the other. Each strikes once per call, and is over when the call returns.

use super::clients::Load;
use super::world::World;
use crate::prune_loop::prune;
use crate::support::Server;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

fn borrowed(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    let pairs = settings.iter();
    pairs
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

fn millis(world: &mut World, least: u64, most: u64) -> Duration {
    Duration::from_millis(least + world.random.below((most - least) as usize) as u64)
}

/// Starts a server of a user who runs nothing else.
pub fn start_server(world: &mut World) {
    let settings = world.settings();
    let host = world.engine.docker_host();
    let socket = PathBuf::from(host.trim_start_matches("unix://"));
    let server = Server::of_its_own_user_at(&socket, &world.instance, &borrowed(&settings));
    world.put_server(server);
}

/// Ends the server with SIGTERM and starts another.
pub fn restart(world: &mut World) {
    world.take_server().leave();
    start_server(world);
}

/// Ends the server with SIGTERM and starts one with a clock that can be moved.
pub fn restart_with_a_movable_clock(world: &mut World) {
    world.take_server().leave();
    set_clock(world, "+0");
    let mut settings = world.settings();
    let clock = clock(world).display().to_string();
    for (name, value) in [
        ("LD_PRELOAD", movable_clock()),
        ("FAKETIME_TIMESTAMP_FILE", clock),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ("FAKETIME_DISABLE_SHM", "1".into()),
    ] {
        settings.push((name.to_owned(), value));
    }
    let server = Server::named(&world.instance, &borrowed(&settings));
    world.put_server(server);
}

pub fn prune_everything(world: &mut World, _: &Load) {
    prune(&world.engine.docker_host());
}

/// `kill -9`, and the next server of that name.
pub fn kill_the_server(world: &mut World, load: &Load) {
    sleep(millis(world, 1000, 3000));
    world.take_server().kill();
    start_server(world);
    load.serve_at(&[&world.server().address]);
}

/// A rolling update: a second server of that name comes, both serve, the first goes.
pub fn update_the_server(world: &mut World, load: &Load) {
    let settings = world.settings();
    let new = Server::in_its_own_namespace(&world.instance, &borrowed(&settings));
    load.serve_at(&[&world.server().address, &new.address]);
    sleep(millis(world, 1500, 3000));
    let old = world.take_server();
    load.serve_at(&[&new.address]);
    old.stop_beside();
    world.put_server(new);
    // The next update would begin the takeover again.
    let deadline = Instant::now() + Duration::from_secs(60);
    while load.has_waiting() {
        assert!(Instant::now() < deadline, "nothing is taken over");
        sleep(Duration::from_millis(10));
    }
}

pub fn restart_the_engine(world: &mut World, _: &Load) {
    sleep(millis(world, 500, 1500));
    match world.random.below(2) {
        0 => world.engine.stop(),
        _ => world.engine.kill(),
    }
    sleep(millis(world, 0, 1000));
    world.engine.start();
    sleep(Duration::from_secs(2));
}

pub fn freeze_the_engine(world: &mut World, _: &Load) {
    sleep(millis(world, 200, 1000));
    world.engine.freeze();
    let asked = Instant::now();
    assert_eq!(world.server().get("/health").status, 503);
    // A guarantee: 2 s, and what a busy machine adds.
    assert!(asked.elapsed() < Duration::from_secs(5));
    sleep(millis(world, 1000, 3000));
    world.engine.unfreeze();
    sleep(Duration::from_secs(1));
}

/// The engine's disk has no byte left for a while.
pub fn fill_the_disk(world: &mut World, _: &Load) {
    let filler = world.engine.data_root().join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    let block = vec![0; 1 << 20];
    while file.write_all(&block).is_ok() {}
    while file.write_all(&block[..512]).is_ok() {}
    sleep(millis(world, 2000, 3000));
    drop(file);
    fs::remove_file(&filler).unwrap();
    sleep(Duration::from_secs(2));
}

pub fn exhaust_descriptors(world: &mut World, _: &Load) {
    for _ in 0..4 {
        let spare = world.random.below(12);
        let server = world.server();
        server.limit_descriptors(Some(server.descriptors() + spare));
        sleep(millis(world, 300, 700));
    }
    world.server().limit_descriptors(None);
    sleep(Duration::from_secs(1));
}

pub fn exhaust_threads(world: &mut World, _: &Load) {
    for _ in 0..4 {
        let spare = world.random.below(8) as u64;
        let server = world.server();
        server.limit_threads_of_its_user(Some(server.status_number("Threads") + spare));
        sleep(millis(world, 300, 700));
    }
    world.server().limit_threads_of_its_user(None);
    sleep(Duration::from_secs(1));
}

/// The server's wall clock jumps forth and back. That of the engine cannot be moved alone: it asks the kernel directly.
pub fn move_the_clock(world: &mut World, _: &Load) {
    for moved in ["+1d", "-1d", "+3600", "-90", "+30d", "+0"] {
        set_clock(world, moved);
        sleep(millis(world, 300, 900));
    }
}

fn clock(world: &World) -> PathBuf {
    world.engine.directory().join("clock")
}

fn set_clock(world: &World, moved: &str) {
    let clock = clock(world);
    let next = clock.with_extension("next");
    fs::write(&next, format!("{moved}\n")).unwrap();
    fs::rename(&next, &clock).unwrap();
}

/// The library of Debian's `faketime`.
fn movable_clock() -> String {
    let directories = fs::read_dir("/usr/lib").unwrap().flatten();
    let libraries = directories.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    let library = libraries.into_iter().find(|library| library.exists());
    let library = library.expect("`make test` installs faketime");
    library.display().to_string()
}
