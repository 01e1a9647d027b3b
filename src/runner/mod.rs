//! Runs: what may be asked, in which order it is done, and that nothing of it is left behind.
//!
//! Knows no HTTP status and no MCP; its fronts are `rest` and `mcp`.

mod error;
mod request;
mod result;
mod service;
mod spec;
pub mod wire;

pub use error::Error;
pub use request::*;
pub use result::*;
pub use service::{Front, Health, Image, Runner};
pub use spec::RunSpec;
