//! The core of the suite: which tests show which capability. Names are those of `tests/it`.

/// A column of the table.
pub struct Capability {
    pub name: &'static str,
    pub tests: &'static [&'static str],
}

pub const CORE: &[Capability] = &[
    Capability {
        name: "run",
        tests: &[
            "run::the_quick_starts_request_says_hello",
            "run::exit_codes_and_both_streams_come_back_exactly",
            "run::a_signal_is_distinguished_from_an_exit",
            "run::standard_input_is_fed_and_closed",
            "run::output_over_the_limit_keeps_both_ends_and_counts_the_rest",
            "run::entrypoint_and_environment_replace_and_reset_the_images",
            "run::user_directory_host_name_mounts_and_capabilities_are_as_requested",
            "run::with_network_none_there_is_only_loopback",
            "run::an_image_that_is_missing_is_a_404_and_nothing_is_left_behind",
            "run::a_container_that_cannot_start_is_a_422_with_the_engines_message_and_nothing_is_left_behind",
            "run::an_image_can_be_named_by_its_id",
            "named_users::accounts_behind_symbolic_links_are_found_within_the_image",
        ],
    },
    Capability {
        name: "mounts",
        tests: &[
            "mounts::the_quick_starts_volumes_request_works_as_written",
            "mounts::returned_content_can_be_posted_again",
            "mounts::a_mount_hides_the_images_content_at_its_path",
            "mounts::read_only_mounts_refuse_writes_with_erofs_and_are_still_returned",
            "mounts::files_have_the_requested_mode_and_content_and_their_changes_are_returned",
            "mounts::users_other_than_root_can_read_every_input_and_write_every_writable_mount",
            "mounts::from_api_1_45_on_no_path_of_the_engines_host_is_mounted",
            "mounts::an_output_that_does_not_exist_is_null",
            "mounts::an_output_over_the_limit_is_reported_and_never_truncated",
            "mounts::unusual_names_and_links_in_an_archive_are_kept_in_both_directions",
            "mounts::host_paths_are_refused_unless_the_server_allows_them",
        ],
    },
    Capability {
        name: "volumes",
        tests: &[
            "mounts::named_volumes_are_mounted_and_read_back_and_never_created_by_a_run",
            "volumes::a_volume_is_made_filled_read_used_and_removed",
            "volumes::archives_are_stripped_by_the_rule_or_as_asked",
            "volumes::only_volumes_of_ours_are_written_read_and_removed",
            "volumes::a_volume_in_use_is_not_removed",
            "volumes::a_volume_that_could_not_be_filled_is_absent_and_nothing_is_left_behind",
            "volumes::a_volume_that_is_not_as_asked_for_is_a_409_that_names_what_differs",
        ],
    },
    Capability {
        name: "registry",
        tests: &[
            "registry::references::the_right_password_pulls_and_the_answer_names_the_digest",
            "registry::references::a_digest_reference_needs_no_tag_and_outlives_a_moved_one",
            "registry::references::an_image_that_the_registry_does_not_have_is_a_404",
            "registry::references::a_registry_that_is_down_is_a_502_and_an_image_that_is_there_still_runs",
            "registry::references::always_sees_a_moved_tag_and_missing_and_never_do_not",
            "registry::credentials::wrong_and_missing_passwords_are_a_403_with_the_registrys_message",
            "registry::credentials::the_credentials_of_another_caller_are_not_used",
            "registry::shared_pulls::every_watched_run_of_a_shared_pull_receives_its_progress",
        ],
    },
    Capability {
        name: "limits",
        tests: &[
            "run::memory_is_limited_and_running_out_of_it_is_reported_as_the_engine_reports_it",
            "run::the_engine_is_asked_for_every_limit",
            "run::the_defaults_of_the_server_apply_without_being_requested",
            "run::a_fork_bomb_meets_its_limit",
            "run::a_limit_holds_or_the_warnings_say_that_it_does_not",
            "run::more_cpus_than_the_engine_has_are_refused",
        ],
    },
    Capability {
        name: "stop",
        tests: &[
            "run::a_run_over_its_time_is_killed_and_its_output_kept",
            "run::daemonised_children_do_not_outlive_their_run",
            "lifecycle::a_run_ends_when_its_client_disconnects_and_nothing_is_left_behind",
            "lifecycle::sigterm_cancels_runs_after_the_grace_period_and_nothing_is_left_behind",
            "lifecycle::a_container_removed_from_outside_ends_its_run",
            "async_runs::a_cancelled_run_keeps_its_output_and_a_cancelled_queued_run_never_starts",
        ],
    },
    Capability {
        name: "kill and adopt",
        tests: &[
            "adoption::a_running_container_is_adopted_with_its_whole_output_files_and_exit_code",
            "adoption::a_run_that_ended_without_a_server_is_collected_by_the_next_and_its_result_survives_another_restart",
            "adoption::sigterm_leaves_asynchronous_runs_to_the_next_server",
            "adoption::an_adopted_run_keeps_its_time_limit_and_can_be_cancelled",
            "takeover::output_without_a_last_newline_is_complete_after_a_restart_and_counted_right",
            "crash::a_restart_removes_the_leftovers_of_a_killed_server_and_not_those_of_a_neighbour",
            "crash::reap_removes_leftovers_in_every_state",
        ],
    },
    Capability {
        name: "streaming",
        tests: &[
            "streaming::a_watched_run_sends_its_events_in_order_and_ends_with_the_plain_answer",
            "streaming::output_arrives_while_the_container_runs_and_leaving_ends_the_run",
            "streaming::a_failure_before_the_first_event_is_a_plain_problem",
            "streaming::a_queued_run_sends_its_position_and_a_later_fault_is_an_event",
            "streaming::a_slow_reader_slows_its_own_container_only",
        ],
    },
];

/// What the emulated machine runs: it is ten times as slow, and what it adds is version 2 of control groups.
pub const SHORT: &[&str] = &[
    "run::exit_codes_and_both_streams_come_back_exactly",
    "run::memory_is_limited_and_running_out_of_it_is_reported_as_the_engine_reports_it",
    "run::the_engine_is_asked_for_every_limit",
    "run::a_fork_bomb_meets_its_limit",
    "run::a_run_over_its_time_is_killed_and_its_output_kept",
    "mounts::the_quick_starts_volumes_request_works_as_written",
    "volumes::a_volume_in_use_is_not_removed",
    "adoption::a_running_container_is_adopted_with_its_whole_output_files_and_exit_code",
];
