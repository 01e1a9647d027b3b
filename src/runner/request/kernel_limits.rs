//! Lengths beyond which the kernel cannot execute a command or resolve a path. An engine that is asked to may never answer
//! again for that container: its OCI runtime quotes the program's path in an error that fills a pipe nobody reads.

/// Most bytes of a path (`PATH_MAX` without the NUL).
pub(crate) const MOST_PATH_BYTES: usize = 4095;
/// Most bytes of one component of a path, and of a name such as a user's (`NAME_MAX`).
pub(crate) const MOST_NAME_BYTES: usize = 255;
/// Most bytes of the options of a mount: mount(2) takes one page, NUL included.
pub(crate) const MOST_MOUNT_OPTION_BYTES: usize = 4095;
/// Most bytes of an argument or of `NAME=value` (`MAX_ARG_STRLEN` without the NUL).
const MOST_STRING_BYTES: usize = 131_071;
/// Most bytes of all arguments and variables together: a quarter of the usual stack of 8 MiB.
const MOST_EXEC_BYTES: usize = 2 << 20;
/// What the kernel counts for each argument and variable beside its bytes: a NUL and a pointer.
const STRING_OVERHEAD: usize = 9;

/// What is wrong with the length of a program's path.
pub(crate) fn program_fault(program: &str) -> Option<String> {
    (program.len() > MOST_PATH_BYTES).then(|| {
        format!(
            "word 1, the program, has {} bytes; the kernel executes a path of at most {MOST_PATH_BYTES}",
            program.len()
        )
    })
}

/// What is wrong with the length of an argument or a variable; `what` names it.
pub(crate) fn string_fault(what: &str, bytes: usize) -> Option<String> {
    (bytes > MOST_STRING_BYTES)
        .then(|| format!("{what} has {bytes} bytes; the kernel takes at most {MOST_STRING_BYTES}"))
}

/// What is wrong with the length of all arguments and variables together.
pub(crate) fn total_fault<'a>(strings: impl Iterator<Item = &'a String>) -> Option<String> {
    let bytes: usize = strings.map(|text| text.len() + STRING_OVERHEAD).sum();
    (bytes > MOST_EXEC_BYTES).then(|| {
        format!(
            "arguments and variables have {bytes} bytes together, {STRING_OVERHEAD} more for each counted; \
             the kernel takes at most {MOST_EXEC_BYTES}"
        )
    })
}

/// What is wrong with the length of a path or of one of its components.
pub(crate) fn path_fault(path: &str) -> Option<&'static str> {
    if path.len() > MOST_PATH_BYTES {
        Some("a path has at most 4095 bytes")
    } else if path.split('/').any(|part| part.len() > MOST_NAME_BYTES) {
        Some("each part of a path has at most 255 bytes")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_the_kernels() {
        assert_eq!(program_fault(&"x".repeat(4095)), None);
        assert!(program_fault(&"x".repeat(4096)).is_some());
        assert_eq!(string_fault("word 2", 131_071), None);
        assert!(string_fault("word 2", 131_072).is_some_and(|m| m.contains("word 2")));
        let strings = vec!["x".repeat(100_000); 20];
        assert_eq!(total_fault(strings.iter()), None);
        let strings = vec!["x".repeat(100_000); 21];
        assert!(total_fault(strings.iter()).is_some());
        // Many short ones take room too.
        let strings = vec![String::new(); 240_000];
        assert!(total_fault(strings.iter()).is_some());
        assert_eq!(path_fault(&"/x".repeat(2000)), None);
        assert!(path_fault(&"/x".repeat(2048)).is_some());
        assert!(path_fault(&format!("/{}", "x".repeat(256))).is_some());
    }
}
