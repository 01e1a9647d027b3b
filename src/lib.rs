//! Send one HTTP (or MCP) request, have a container run once, get back exactly what it printed, wrote and exited with.

pub mod archive;
pub mod cancel;
pub mod docker;
pub mod edge;
pub mod http;
pub mod mcp;
pub mod problem;
pub mod rest;
pub mod runner;
