//! What an engine cannot do: tests of the core that fail on it, for a reason that the table states.

/// A test that must fail on an engine. If it passes, the exception is to be removed.
pub struct Exception {
    pub engine: &'static str,
    pub tests: &'static [&'static str],
    /// Must occur in what each of the tests prints, so that no other failure hides behind this one. None: the test is not run,
    /// because it would harm the machine.
    pub words: Option<&'static str>,
    /// Note below the table.
    pub reason: &'static str,
}

pub const EXCEPTIONS: &[Exception] = &[
    Exception {
        engine: "runsc",
        tests: &[
            "run::memory_is_limited_and_running_out_of_it_is_reported_as_the_engine_reports_it",
        ],
        words: None,
        reason: "Here the runtime is configured with `--ignore-cgroups`, so that `memory`, `cpus` and `pids_limit` are not enforced: \
                 the answer's `warnings` say so.",
    },
    Exception {
        engine: "runsc",
        tests: &["run::with_network_none_there_is_only_loopback"],
        words: Some("eth0"),
        reason: "Here the runtime is configured with `--network=none`, so that no run has a network.",
    },
    Exception {
        engine: "runsc",
        tests: &["run::user_directory_host_name_mounts_and_capabilities_are_as_requested"],
        words: Some(r#""8192", "CapEff:0000000000000000"]"#),
        reason: "gVisor's `/proc/self/status` has no `NoNewPrivs`, and in a read-only root a user who may not write is told that first.",
    },
    Exception {
        engine: "podman",
        tests: &["run::entrypoint_and_environment_replace_and_reset_the_images"],
        words: Some("cannot remove a variable of the image"),
        reason: "Podman cannot remove a variable of the image (`null` in `env_vars`): 422.",
    },
    Exception {
        engine: "rootless",
        tests: &[
            "run::memory_is_limited_and_running_out_of_it_is_reported_as_the_engine_reports_it",
            "run::a_fork_bomb_meets_its_limit",
        ],
        words: None,
        reason: "Without control groups of version 2 a rootless engine does not enforce `memory`, `cpus` and `pids_limit`: the \
                 answer's `warnings` say so.",
    },
];

/// The exception for a test on an engine.
pub fn find(engine: &str, test: &str) -> Option<&'static Exception> {
    EXCEPTIONS
        .iter()
        .find(|exception| exception.engine == engine && exception.tests.contains(&test))
}
