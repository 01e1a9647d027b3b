//! Ends of the server itself. No row can be done to a process that has to live on, so each is a test of its own.

use super::table::{Stand, Table, tested};

pub fn tables() -> Vec<Table> {
    let every_step = "kill -9 at every step between create and remove";
    let rows = vec![
        tested(
            "clock jump",
            "chaos::whatever_goes_wrong_no_answer_is_false_nothing_is_lost_and_nothing_is_left",
        ),
        tested(
            every_step,
            "kill_anywhere::a_run_leaves_nothing_after_a_kill_at_any_call_and_a_neighbours_run_continues",
        ),
        tested(
            every_step,
            "kill_anywhere::an_unfinished_volume_is_removed_although_a_sweep_is_killed_at_any_call",
        ),
        tested(
            "two instances on one engine",
            "crash::two_live_servers_that_share_a_name_leave_each_others_runs_alone",
        ),
        tested(
            "two instances on one engine",
            "shared_name::a_rolling_update_touches_nothing_of_the_live_server_and_takes_over_when_it_dies",
        ),
        tested(
            "labels in the create call",
            "strange_objects::every_object_of_a_run_is_past_its_deadline_two_minutes_after_the_time_limit_at_most",
        ),
        tested(
            "leftovers in any state",
            "crash::reap_removes_leftovers_in_every_state",
        ),
        tested(
            "volumes and helper containers",
            "crash::an_unfinished_volume_is_removed_with_its_helper_and_a_finished_one_stays",
        ),
        tested(
            "volumes and helper containers",
            "kill_anywhere::a_volume_is_absent_or_complete_after_a_kill_at_any_call_of_its_filling",
        ),
        tested(
            "another live instance's objects",
            "crash::a_restart_removes_the_leftovers_of_a_killed_server_and_not_those_of_a_neighbour",
        ),
    ];
    vec![Table::new("crash", || Stand::with(&[]), rows)]
}
