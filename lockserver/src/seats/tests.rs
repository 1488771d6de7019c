//! Who loses its seat, and who never does.

use super::*;

fn seats(most: usize, grace: Duration) -> Arc<Seats> {
    Seats::within(Bounds { most, bodies_bytes_max: 1000, grace })
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn take(seats: &Arc<Seats>, text: &str) -> Arc<Seat> {
    seats.take(address(text)).expect("a seat")
}

/// Whether a connection was told to end.
fn has_ended(seat: &Seat) -> bool {
    let number = seat.own().number;
    let taken = seat.seats.taken();
    let waits = |number| taken.networks.get(&seat.network).is_some_and(|network| network.waiting.contains_key(&number));
    number.is_some_and(|number| !waits(number))
}

#[test]
fn the_longest_without_a_request_makes_room() {
    let seats = seats(3, Duration::ZERO);
    let (a, b, c) = (take(&seats, "10.0.0.1"), take(&seats, "10.0.0.1"), take(&seats, "10.0.0.1"));
    a.is_whole();
    let d = take(&seats, "10.0.0.1");
    assert!(has_ended(&b) && ![&a, &c, &d].into_iter().any(|seat| has_ended(seat)));
    // Answered, it waits for its next request, and is the last to have begun to.
    a.is_answered();
    let e = take(&seats, "10.0.0.1");
    assert!(has_ended(&c) && !has_ended(&a));
    drop((a, b, c, d, e));
    let taken = seats.taken();
    assert_eq!((taken.count, taken.bytes, taken.networks.len()), (0, 0, 0), "nothing is left behind");
}

#[test]
fn whoever_has_asked_something_keeps_its_seat_and_then_there_is_none() {
    let seats = seats(2, Duration::ZERO);
    let (a, b) = (take(&seats, "10.0.0.1"), take(&seats, "10.0.0.2"));
    a.is_whole();
    b.is_whole();
    assert!(seats.take(address("10.0.0.3")).is_none() && !has_ended(&a) && !has_ended(&b));
    drop(a);
    assert!(seats.take(address("10.0.0.3")).is_some());
}

#[test]
fn the_network_with_the_most_that_wait_makes_room_whoever_was_first() {
    let seats = seats(5, Duration::ZERO);
    let worker = take(&seats, "10.0.0.1");
    let slow: Vec<_> = (1..5).map(|host| take(&seats, &format!("2001:db8::{host}"))).collect();
    let others: Vec<_> = (2..5).map(|host| take(&seats, &format!("10.0.0.{host}"))).collect();
    assert!(!has_ended(&worker) && !others.iter().any(|seat| has_ended(seat)));
    let ended: Vec<bool> = slow.iter().map(|seat| has_ended(seat)).collect();
    assert_eq!(ended, [true, true, true, false], "one network, whatever addresses it uses");
    assert_eq!(Network::of(address("::ffff:10.0.0.1")), Network::of(address("10.0.0.1")));
    assert_ne!(Network::of(address("2001:db8::1")), Network::of(address("2001:db8:0:1::1")));
}

#[test]
fn a_first_request_has_time_to_come() {
    let seats = seats(1, Duration::from_secs(3600));
    let first = take(&seats, "10.0.0.1");
    assert!(seats.take(address("10.0.0.2")).is_none() && !has_ended(&first));
}

#[test]
fn bodies_that_come_slowly_take_no_more_memory_than_they_may() {
    let seats = seats(100, Duration::ZERO);
    let quiet: Vec<_> = (0..20).map(|_| take(&seats, "10.0.0.9")).collect();
    let mut slow: Vec<_> = (0..8).map(|_| take(&seats, "10.0.0.1")).collect();
    for turn in 0..40 {
        if let Some(seat) = slow.get(turn % 8) {
            seat.takes(100);
        }
        // As their tasks do.
        slow.retain(|seat| !has_ended(seat));
        assert!(seats.taken().bytes <= 1000, "turn {turn}");
    }
    assert!((1..8).contains(&slow.len()), "{} are left", slow.len());
    assert!(!quiet.iter().any(|seat| has_ended(seat)), "who sends nothing takes nothing");
    // One that is whole, and one that goes away, give back what they took.
    slow.iter().for_each(|seat| seat.is_whole());
    assert_eq!(seats.taken().bytes, 0);
    let late = take(&seats, "10.0.0.1");
    late.takes(300);
    assert_eq!(seats.taken().bytes, 300);
    drop(late);
    assert_eq!(seats.taken().bytes, 0);
}

#[tokio::test]
async fn a_connection_hears_that_it_is_to_end() {
    let seats = seats(1, Duration::ZERO);
    let (slow, next) = (take(&seats, "10.0.0.1"), take(&seats, "10.0.0.1"));
    slow.ended().await;
    drop(slow);
    assert_eq!(seats.taken().count, 1);
    drop(next);
    assert_eq!(seats.taken().count, 0);
}

#[tokio::test]
async fn a_request_is_whole_when_its_body_is_and_its_seat_waits_again_behind_the_answer() {
    let seats = seats(10, Duration::ZERO);
    let seat = take(&seats, "10.0.0.1");
    let waits = || !seats.taken().networks.is_empty();
    assert!(waits());
    let body = seat.follow(Body::from("a body"));
    assert!(waits(), "its body is still to come");
    assert_eq!(axum::body::to_bytes(body, 100).await.expect("a body"), "a body");
    assert!(!waits());
    let answer = seat.answer(Body::from("an answer"));
    assert_eq!(answer.size_hint().exact(), Some(9), "its length is told");
    assert!(!waits());
    drop(answer);
    assert!(waits());
    drop(seat.follow(Body::empty()));
    assert!(!waits(), "without a body it is whole at once");
}
