//! What every store must do, for each store there is: `cases.rs` says it once, `servers.rs` starts what it is said of.

mod cases;
mod etcd;
mod etcd_cases;
mod redis;
mod servers;

/// One test for each case, against a server of its own.
macro_rules! conforms {
    ($server:ty) => {
        conforms! { $server:
            records_are_written_read_and_deleted,
            records_of_odd_names_are_kept_apart,
            large_commits_are_whole,
            one_of_many_sits,
            a_seat_that_says_nothing_is_empty_soon,
            who_stays_or_commits_keeps_the_seat,
            who_leaves_empties_the_seat_at_once,
            a_deposed_steward_changes_nothing,
            a_steward_after_whom_another_sat_is_deposed_though_nobody_sits,
            a_call_waits_for_a_steward,
            a_call_is_heard_at_once,
            waiting_ends_with_patience,
            answers_reach_their_caller_once,
            many_calls_of_one_caller_are_answered_in_any_order,
            a_call_taken_back_is_none_any_more,
            an_answer_is_taken_back_unless_its_caller_goes_on,
            what_one_steward_left_the_next_one_hears,
            a_call_out_of_time_is_gone,
            hearing_that_is_given_up_loses_no_call,
            long_messages_arrive,
            domains_do_not_see_each_other,
            who_leaves_tells_those_who_wait,
            an_erased_domain_is_a_new_one,
            a_dead_server_never_does_anything,
            what_was_committed_outlives_the_server,
        }
    };
    ($server:ty: $($case:ident,)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let mut server = <$server as crate::cases::Server>::start().await;
                crate::cases::$case(&mut server).await;
            }
        )*
    };
}

mod memory {
    conforms!(crate::servers::Memory);
}

mod every_redis {
    conforms!(crate::servers::Redis);
}

mod every_etcd {
    conforms!(crate::etcd::Etcd);
}
