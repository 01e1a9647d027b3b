//! The words that a container executes, of a request and its image together, as the engine combines them. Pure.

use crate::docker::ContainerConfig;
use crate::runner::request::spec::RunSpec;

/// The words that will be executed, and the field of the request that each half comes from.
pub(crate) struct Words<'a> {
    pub(crate) entrypoint: &'a [String],
    pub(crate) command: &'a [String],
    pub(crate) entrypoint_field: &'static str,
    pub(crate) command_field: &'static str,
}

impl<'a> Words<'a> {
    /// An entry point of the request's, even one that resets, also replaces the image's command.
    pub(crate) fn of(spec: &'a RunSpec, image: &'a ContainerConfig) -> Self {
        let asked_command = spec.command.as_deref().filter(|words| !words.is_empty());
        let (entrypoint, entrypoint_field) = match &spec.entrypoint {
            Some(words) => (words.as_slice(), "entrypoint"),
            None => (image.entrypoint.as_slice(), "image"),
        };
        let (command, command_field) = match (asked_command, &spec.entrypoint) {
            (Some(words), _) => (words, "command"),
            (None, Some(_)) => (&[][..], "command"),
            (None, None) => (image.cmd.as_slice(), "image"),
        };
        let is_reset = matches!(entrypoint, [only] if only.is_empty());
        Self {
            entrypoint: if is_reset { &[] } else { entrypoint },
            command,
            entrypoint_field,
            command_field,
        }
    }

    /// All of them, in their order.
    pub(crate) fn argv(&self) -> Vec<String> {
        [self.entrypoint, self.command].concat()
    }

    /// The program; empty if there is none.
    pub(crate) fn program(&self) -> &str {
        let mut words = self.entrypoint.iter().chain(self.command);
        words.next().map_or("", String::as_str)
    }
}
