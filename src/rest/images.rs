//! `GET /images`: the images that the engine has, which run without a pull.

use super::problems;
use crate::http::Reply;
use crate::runner::{Image, Runner};
use schemars::JsonSchema;
use serde::Serialize;

/// Answer of `GET /images`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ImageList {
    /// As the engine lists them.
    pub images: Vec<Image>,
}

/// The images of the engine.
pub fn get(runner: &Runner) -> Reply {
    match runner.images() {
        Ok(images) => Reply::json(200, &ImageList { images }),
        Err(error) => problems::reply(&error),
    }
}
