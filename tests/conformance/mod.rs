//! What every coordinator must do, from the point of view of those who ask it: each case is said once, against the trait
//! [`Coordinator`] alone, and holds of the lock server and of whoever decides in memory, in Redis and in etcd.

mod crash;
mod leases;
mod people;
mod queue;
mod rollouts;
mod world;

/// One test for each case, on a coordinator of its own.
macro_rules! conforms {
    ($world:ident) => {
        mod $world {
            conforms! { $world:
                leases: never_more_than_there_are_slots,
                leases: several_pools_are_taken_together_or_not_at_all,
                leases: the_same_claim_again_is_the_same_lease,
                leases: another_claim_on_a_taken_name_is_refused,
                leases: a_grant_that_nobody_confirms_is_taken_back,
                leases: a_holder_that_falls_silent_is_lost_and_then_freed,
                leases: a_lost_holder_that_comes_back_in_time_goes_on,
                leases: a_settled_lease_is_gone,
                leases: a_failed_host_keeps_its_slot_until_it_is_released,
                leases: an_ask_that_cannot_be_is_refused,
                queue: turns_come_in_the_order_of_tickets,
                queue: a_waiter_that_goes_away_loses_its_turn_and_not_its_ticket,
                queue: the_next_is_told_at_once,
                queue: a_wait_ends_when_it_is_over,
                queue: whoever_wants_other_pools_goes_past,
                people: a_pause_stops_grants_and_begins_until_it_ends,
                people: a_pause_ends_by_itself,
                people: a_live_holder_is_released_only_when_that_is_said,
                people: slots_hold_for_the_next_grant,
                people: a_change_that_is_sent_again_happens_once,
                people: a_setting_goes_back,
                people: what_is_looked_at_agrees_with_what_was_done,
                rollouts: whoever_listens_hears_of_a_deploy_at_once,
                rollouts: a_host_restarts_once_for_a_generation,
                rollouts: a_rollout_is_done_when_everyone_is,
                rollouts: failures_halt_it_and_a_person_lets_it_go_on,
                rollouts: an_aborted_one_wants_nothing_more,
                rollouts: a_newer_one_takes_the_place_of_an_older_one,
                rollouts: only_a_part_of_the_fleet_owes_it,
                rollouts: a_second_worker_of_a_name_is_refused,
                rollouts: a_deploy_for_nobody_is_refused,
                rollouts: events_tell_what_happens,
                crash: what_was_answered_is_there_after_a_crash,
                crash: tokens_grow_over_a_crash,
                crash: a_held_call_goes_on_after_a_crash,
            }
        }
    };
    ($world:ident: $($file:ident: $case:ident,)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let mut world = crate::conformance::world::$world().await;
                crate::conformance::$file::$case(&mut world).await;
            }
        )*
    };
}

conforms!(lock_server);
conforms!(memory);
conforms!(redis);
conforms!(etcd);
