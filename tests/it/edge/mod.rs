//! Attacks on the HTTP edge with raw sockets. The server under attack runs in this process, or in a second process of
//! this test binary where a test is about a whole process.

mod access;
mod access_log;
mod answers;
mod client;
mod disconnects;
mod encodings;
mod framing;
mod heads;
mod process;
mod resources;
mod rig;
mod shutdown;
mod slow;

const MIB: usize = 1024 * 1024;
