//! Which runs have the service's own PID 1. Pure.

use schemars::JsonSchema;
use serde::Serialize;

/// Which runs that do not say it themselves have the service's own PID 1: the setting `RUNNER_INIT`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InitMode {
    /// All but those whose program wants to be PID 1 itself.
    #[default]
    Auto,
    /// All.
    On,
    /// None.
    Off,
}

/// Programs that are PID 1 themselves, by the last part of their path. Those of s6 are recognised by their prefix.
const INITS: [&str; 6] = [
    "init",
    "systemd",
    "tini",
    "tini-static",
    "dumb-init",
    "docker-init",
];
const S6_PREFIX: &str = "s6-";

/// Whether a run has it. `asked` is the request's `init`; `program` is the first word that would be executed.
pub(crate) fn is_wanted(mode: InitMode, asked: Option<bool>, program: &str) -> bool {
    asked.unwrap_or(match mode {
        InitMode::Auto => !wants_to_be_pid_1(program),
        InitMode::On => true,
        InitMode::Off => false,
    })
}

fn wants_to_be_pid_1(program: &str) -> bool {
    let (directory, name) = program.rsplit_once('/').unwrap_or(("", program));
    match name {
        // Any other `init` may be anything.
        "init" => matches!(
            directory,
            "" | "/sbin" | "/bin" | "/usr/sbin" | "/usr/bin" | "/lib/systemd"
        ),
        name => INITS.contains(&name) || name.starts_with(S6_PREFIX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_an_init_stays_pid_1_unless_the_request_says_otherwise() {
        for (program, is_init) in [
            ("/init", true),
            ("init", true),
            ("/sbin/init", true),
            ("/usr/sbin/init", true),
            ("/lib/systemd/systemd", true),
            ("/usr/bin/s6-svscan", true),
            ("s6-overlay-suexec", true),
            ("/usr/bin/tini", true),
            ("/tini", true),
            ("dumb-init", true),
            ("/sbin/docker-init", true),
            ("/app/init", false),
            ("sh", false),
            ("/bin/initdb", false),
            ("/usr/local/bin/docker-entrypoint.sh", false),
            ("", false),
        ] {
            let wanted = |mode, asked| is_wanted(mode, asked, program);
            assert_eq!(wanted(InitMode::Auto, None), !is_init, "{program}");
            assert!(wanted(InitMode::On, None), "{program}");
            assert!(!wanted(InitMode::Off, None), "{program}");
            for mode in [InitMode::Auto, InitMode::On, InitMode::Off] {
                assert!(wanted(mode, Some(true)), "{program}");
                assert!(!wanted(mode, Some(false)), "{program}");
            }
        }
    }
}
