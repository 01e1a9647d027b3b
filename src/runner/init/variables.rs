//! Keeps from PID 1 the variable that its memory allocator reads before anything else, and gives it to the command. Pure.

/// The allocator's variable. Its value may make a program write to stderr, or end it.
const ALLOCATOR: &str = "_RJEM_MALLOC_CONF";

/// The line that the command is to have of that variable, as the request and the image say. `None`: neither sets it.
pub(crate) fn kept_from_pid_1(asked: &[String], image: &[String]) -> Option<String> {
    let asked = asked.iter().rev().find(|line| is_kept(line));
    let line = asked.or_else(|| image.iter().rev().find(|line| is_kept(line)))?;
    // One without a value removes it.
    line.contains('=').then(|| line.clone())
}

/// The same variables without that one, which the image may set.
pub(crate) fn for_pid_1(mut env: Vec<String>) -> Vec<String> {
    env.retain(|line| !is_kept(line));
    env.push(ALLOCATOR.into());
    env
}

fn is_kept(line: &str) -> bool {
    line.split('=').next() == Some(ALLOCATOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn the_command_has_the_variable_as_it_would_without_pid_1() {
        let (set, other) = ("_RJEM_MALLOC_CONF=a:1", "_RJEM_MALLOC_CONF=b:2");
        for (asked, image, kept) in [
            (&["A=b"][..], &["B=c"][..], None),
            (&[set], &[], Some(set)),
            (&["A=b"], &[other], Some(other)),
            (&[set], &[other], Some(set)),
            (&["_RJEM_MALLOC_CONF"], &[other], None),
            (
                &["_RJEM_MALLOC_CONF="],
                &[other],
                Some("_RJEM_MALLOC_CONF="),
            ),
        ] {
            let found = kept_from_pid_1(&lines(asked), &lines(image));
            assert_eq!(found.as_deref(), kept, "{asked:?} {image:?}");
        }
        let left = for_pid_1(lines(&["A=b", set, "_RJEM_MALLOC_CONFX=c"]));
        assert_eq!(left, ["A=b", "_RJEM_MALLOC_CONFX=c", "_RJEM_MALLOC_CONF"]);
    }
}
