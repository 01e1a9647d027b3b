//! The check that the kernel can execute the command of a request. What the image adds is checked after the image has been
//! inspected.

use crate::runner::request::check::Check;
use crate::runner::request::kernel_limits::{
    MOST_NAME_BYTES, program_fault, string_fault, total_fault,
};
use crate::runner::request::spec::RunSpec;

impl Check<'_> {
    /// Records a fault for a program, an argument or a variable that is too long, and for too much of them together.
    pub(crate) fn execution(&mut self, spec: &RunSpec) {
        let entrypoint = spec.entrypoint.as_deref().unwrap_or_default();
        let command = spec.command.as_deref().unwrap_or_default();
        // Without an entry point in the request, the image decides whether the command's first word is a program.
        let program = match entrypoint {
            [only] if only.is_empty() => command.first().map(|word| ("command", word)),
            words => words.first().map(|word| ("entrypoint", word)),
        };
        if let Some((field, msg)) =
            program.and_then(|(field, word)| Some((field, program_fault(word)?)))
        {
            self.reader.fault_at(field, msg);
        }
        for (field, words) in [("entrypoint", entrypoint), ("command", command)] {
            for (index, word) in words.iter().enumerate() {
                if let Some(msg) = string_fault(&format!("word {}", index + 1), word.len()) {
                    self.reader.fault_at(field, msg);
                }
            }
        }
        for variable in &spec.env {
            self.variable(variable);
        }
        if let Some(msg) = total_fault(entrypoint.iter().chain(command).chain(&spec.env)) {
            self.reader.fault_at(largest_field(spec), msg);
        }
    }

    fn variable(&mut self, variable: &str) {
        let Some(msg) = string_fault("NAME=value", variable.len()) else {
            return;
        };
        let name = variable.split('=').next().unwrap_or_default();
        match name.len() <= MOST_NAME_BYTES {
            true => self
                .reader
                .within("env_vars", |reader| reader.fault_at(name, msg)),
            // The name is what is too long, so the place does not repeat it.
            false => self.reader.fault_at("env_vars", msg),
        }
    }
}

/// The field that contributes most.
fn largest_field(spec: &RunSpec) -> &'static str {
    let bytes = |words: &[String]| words.iter().map(String::len).sum::<usize>();
    let fields = [
        ("entrypoint", spec.entrypoint.as_deref().unwrap_or_default()),
        ("command", spec.command.as_deref().unwrap_or_default()),
        ("env_vars", spec.env.as_slice()),
    ];
    let largest = fields.into_iter().max_by_key(|(_, words)| bytes(words));
    largest.map_or("command", |(field, _)| field)
}
