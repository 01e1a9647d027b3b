//! Whether the kernel can execute what a run asks for, together with what its image adds: entry point, command, variables,
//! user and working directory. Pure; called between inspecting the image and creating anything.

use crate::docker::{ContainerConfig, ImageInspect};
use crate::problem::Fault;
use crate::runner::error::Error;
use crate::runner::init::words::Words;
use crate::runner::request::kernel_limits::{
    MOST_NAME_BYTES, path_fault, program_fault, string_fault, total_fault,
};
use crate::runner::request::spec::RunSpec;
use std::collections::HashSet;

/// Errors: [`Error::Invalid`] naming the field. What the image says counts as a fault of `image`.
pub(crate) fn check_executable(spec: &RunSpec, image: &ImageInspect) -> Result<(), Error> {
    let words = Words::of(spec, &image.config);
    let faults: Vec<Fault> = words_fault(&words)
        .into_iter()
        .chain(environment_fault(spec, &image.config, &words))
        .chain(image_faults(spec, &image.config))
        .map(|(field, msg)| Fault {
            loc: vec![spec.loc_root.to_owned(), field.to_owned()],
            msg,
        })
        .collect();
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Error::Invalid(faults)),
    }
}

/// The first word that is too long, with the field it comes from.
fn words_fault(words: &Words<'_>) -> Option<(&'static str, String)> {
    let halves = [
        (words.entrypoint_field, words.entrypoint),
        (words.command_field, words.command),
    ];
    let program = halves.iter().find(|(_, words)| !words.is_empty());
    let too_long = program.and_then(|(field, half)| Some((*field, program_fault(half.first()?)?)));
    too_long.or_else(|| {
        halves.iter().find_map(|(field, words)| {
            let mut words = words.iter().enumerate();
            words.find_map(|(index, word)| {
                Some((
                    *field,
                    string_fault(&format!("word {}", index + 1), word.len())?,
                ))
            })
        })
    })
}

/// What is wrong with the image's variables, or with all arguments and variables together.
fn environment_fault(
    spec: &RunSpec,
    image: &ContainerConfig,
    words: &Words<'_>,
) -> Option<(&'static str, String)> {
    let asked: HashSet<&str> = spec.env.iter().map(|asked| name_of(asked)).collect();
    let is_kept = |variable: &&String| !asked.contains(name_of(variable));
    let kept = || image.env.iter().filter(is_kept);
    if let Some(msg) =
        kept().find_map(|variable| string_fault("a variable of the image", variable.len()))
    {
        return Some(("image", msg));
    }
    let all = words.entrypoint.iter().chain(words.command);
    total_fault(all.chain(&spec.env).chain(kept())).map(|msg| (words.command_field, msg))
}

fn name_of(variable: &str) -> &str {
    variable.split('=').next().unwrap_or_default()
}

/// What is wrong with the image's user and working directory, where the run does not name its own.
fn image_faults(
    spec: &RunSpec,
    image: &ContainerConfig,
) -> impl Iterator<Item = (&'static str, String)> {
    let has_long_user = spec.user.is_none() && image.user.len() > MOST_NAME_BYTES;
    let user = has_long_user.then(|| "the image's user has more than 255 bytes".to_owned());
    let dir = match spec.working_dir {
        None => path_fault(&image.working_dir)
            .map(|msg| format!("the image's working directory: {msg}")),
        Some(_) => None,
    };
    user.into_iter().chain(dir).map(|msg| ("image", msg))
}
