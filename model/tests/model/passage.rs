//! A domain's passage from one coordinator to another, as either end decides on its steps: which it takes, whatever it was asked
//! before, and when.

use crate::world::*;
use model::passage::{Move, MoveStep, Passage, Shut, Stage};
use model::request::{Done, Reply, Request};
use model::settings::{Setting, Slots};
use model::state::Stored;
use model::time::Time;

/// Two coordinators, and perhaps more: each a domain of its own.
struct Ends(Vec<World>);

impl Ends {
    /// The first has a pool with so many slots, the others have nothing.
    fn new(count: usize) -> Ends {
        let others = (1..count).map(|_| World::default());
        Ends([World::with_slots(1)].into_iter().chain(others).collect())
    }

    fn step(&mut self, end: usize, passage: &str, step: MoveStep) -> Result<String, String> {
        let wanted = Move { passage: name(passage), by: "ann".into(), step };
        match self.0[end].decide(&Request::Move(wanted)).reply {
            Reply::Did(Done::Did { what }) => Ok(what),
            Reply::Did(Done::Refused { why, .. }) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    fn must(&mut self, end: usize, passage: &str, step: MoveStep) {
        self.step(end, passage, step.clone()).unwrap_or_else(|why| panic!("{step:?} of {passage} at {end}: {why}"));
    }

    fn passage(&self, end: usize) -> &Passage {
        self.0[end].state.passage().expect("a passage")
    }

    fn records(&self, end: usize) -> Vec<Stored> {
        self.0[end].state.luggage().collect()
    }

    fn is_open(&self, end: usize) -> bool {
        self.0[end].state.shut().is_none()
    }

    fn close(&mut self, from: usize, to: usize, passage: &str) {
        self.must(from, passage, MoveStep::Close { to: url(to) });
    }

    fn arrive(&mut self, from: usize, to: usize, passage: &str) -> Result<String, String> {
        let time = self.0[from].state.passage().map_or(Time(0), |passage| passage.time);
        self.step(to, passage, MoveStep::Arrive { from: url(from), time })
    }

    fn copy(&mut self, from: usize, to: usize, passage: &str) {
        let records = self.records(from);
        self.must(to, passage, MoveStep::Bring { records });
    }

    /// From what was copied to its end; with the last step, or without.
    fn open(&mut self, from: usize, to: usize, passage: &str) {
        let count = self.records(from).len() as u64;
        self.must(from, passage, MoveStep::HandOver);
        self.must(to, passage, MoveStep::Open { count });
    }

    fn carry_over(&mut self, from: usize, to: usize, passage: &str) {
        self.close(from, to, passage);
        self.arrive(from, to, passage).expect("it arrives");
        self.copy(from, to, passage);
        self.open(from, to, passage);
        self.must(from, passage, MoveStep::Leave);
    }
}

fn url(end: usize) -> String {
    format!("redis://user:secret@h{end}")
}

#[test]
fn a_straggler_of_an_earlier_passage_brings_nothing_to_life() {
    let mut ends = Ends::new(3);
    ends.close(0, 1, "m1");
    ends.arrive(0, 1, "m1").expect("it arrives");
    ends.copy(0, 1, "m1");
    ends.open(0, 1, "m1");
    // Killed before its last step; the domain goes on to the third.
    ends.carry_over(1, 2, "m2");
    let before = (ends.records(1), ends.passage(1).clone());
    // Started again, it finds the old end handed over, and the new one left.
    assert_eq!(ends.arrive(0, 1, "m1"), Err("that passage is over".into()));
    assert_eq!((ends.records(1), ends.passage(1).clone()), before);
    // So does a mover that slept all the while, once it came back here and left again.
    ends.carry_over(2, 1, "m3");
    ends.carry_over(1, 2, "m4");
    for passage in ["m1", "m2", "m3"] {
        assert_eq!(ends.arrive(0, 1, passage), Err("that passage is over".into()), "{passage}");
        assert_eq!(ends.step(1, passage, MoveStep::Undo), Err("that passage is over".into()), "{passage}");
    }
    assert_eq!([0, 1, 2].map(|end| ends.is_open(end)), [false, false, true]);
}

#[test]
fn what_is_remembered_of_earlier_passages_is_bounded() {
    let mut ends = Ends::new(2);
    for number in 0..Passage::EARLIER_MAX as u64 * 2 {
        let (from, to) = if number % 2 == 0 { (0, 1) } else { (1, 0) };
        ends.carry_over(from, to, &format!("m{number}"));
    }
    assert_eq!(ends.passage(0).earlier.len(), Passage::EARLIER_MAX);
    let newest: Vec<&str> = ends.passage(0).earlier.iter().rev().take(2).map(|id| id.as_str()).collect();
    assert_eq!(newest, ["m62", "m61"]);
}

#[test]
fn nobody_takes_the_place_of_one_who_is_arriving() {
    let mut ends = Ends::new(3);
    ends.0[2].set("pool/q", Setting::Slots(Slots::Count(2)));
    ends.close(0, 1, "m1");
    ends.arrive(0, 1, "m1").expect("it arrives");
    ends.copy(0, 1, "m1");
    ends.must(0, "m1", MoveStep::HandOver);
    ends.close(2, 1, "m2");
    assert_eq!(ends.arrive(2, 1, "m2"), Err("it is being moved already, by ann: redis://h0".into()));
    ends.open(0, 1, "m1");
    assert_eq!(ends.arrive(2, 1, "m2"), Err("it has records of its own".into()));
    assert_eq!(ends.records(1).len(), ends.records(0).len() + 1, "and the history says that it came");
}

#[test]
fn whoever_arrives_again_begins_anew() {
    let mut ends = Ends::new(2);
    ends.close(0, 1, "m1");
    ends.arrive(0, 1, "m1").expect("it arrives");
    ends.copy(0, 1, "m1");
    ends.arrive(0, 1, "m1").expect("again");
    assert!(ends.records(1).is_empty(), "nothing of the first try is left");
    assert_eq!(ends.step(1, "m1", MoveStep::Open { count: 9 }), Err("0 records are here, and there are 9".into()));
    ends.copy(0, 1, "m1");
    ends.open(0, 1, "m1");
    ends.arrive(0, 1, "m1").expect("said again when it is open");
    assert!(!ends.records(1).is_empty() && ends.is_open(1), "it changes nothing any more");
}

#[test]
fn an_end_that_may_lack_something_adds_nothing_to_what_comes_in() {
    let mut ends = Ends::new(2);
    ends.close(0, 1, "m1");
    ends.arrive(0, 1, "m1").expect("it arrives");
    assert!(ends.0[1].state.lacking(ends.0[1].now).is_empty());
    // The old end does: its tokens are the ones that go along.
    assert!(!ends.0[0].state.lacking(ends.0[0].now).is_empty());
    ends.copy(0, 1, "m1");
    ends.open(0, 1, "m1");
    assert!(!ends.0[1].state.lacking(ends.0[1].now).is_empty());
}

#[test]
fn whoever_starts_again_while_it_is_closed_does_so_at_the_moment_at_which_it_was() {
    let mut ends = Ends::new(2);
    ends.0[0].ask(&ask("a", "c1", &["p"]));
    ends.0[0].settle("a", "c1", model::request::Ending::Released);
    ends.0[0].join("h1", "web", &["p"]);
    ends.close(0, 1, "m1");
    let closed = ends.0[0].now.time;
    ends.0[0].later(7_200_000);
    let lives = |world: &World| {
        let member = world.state.records().into_iter().find_map(|record| match record {
            Stored::Member(member) => Some(member.live_until),
            _ => None,
        });
        member.expect("a member")
    };
    let grace = ends.0[0].state.started_again(ends.0[0].now);
    ends.0[0].state.replay(&grace);
    assert!(lives(&ends.0[0]).since(closed).as_secs() < 600, "else it would live for hours once it is open");
    let wanted = Move { passage: name("m1"), by: "ann".into(), step: MoveStep::Undo };
    assert_eq!(ends.0[0].state.opening(&wanted), Some(closed));
}

#[test]
fn another_password_is_taken_and_shown_to_nobody() {
    let mut ends = Ends::new(2);
    ends.close(0, 1, "m1");
    for (to, place) in [
        ("redis://user:new@h1", "redis://user:new@h1"),
        ("redis://user:new@elsewhere", "redis://user:new@h1"),
        ("redis://h1", "redis://h1"),
    ] {
        let said = ends.step(0, "m1", MoveStep::Close { to: to.into() }).expect("done");
        assert_eq!((ends.passage(0).place.as_str(), said.as_str()), (place, "closed for redis://h1"));
    }
    ends.must(0, "m1", MoveStep::HandOver);
    ends.must(0, "m1", MoveStep::Leave);
    ends.close(0, 1, "m1");
    assert_eq!(ends.0[0].state.shut(), Some(Shut::Moved { to: url(1) }), "whoever comes later is let in, too");
}

#[test]
fn what_was_undone_stays_undone() {
    let mut ends = Ends::new(2);
    ends.close(0, 1, "m1");
    ends.arrive(0, 1, "m1").expect("it arrives");
    ends.copy(0, 1, "m1");
    for _ in 0..2 {
        ends.must(0, "m1", MoveStep::Undo);
        ends.must(1, "m1", MoveStep::Undo);
    }
    assert_eq!([ends.passage(0).stage, ends.passage(1).stage], [Stage::Undone; 2]);
    assert!(ends.is_open(0) && ends.is_open(1) && ends.records(1).is_empty());
    let over = Err("that passage is over".to_owned());
    assert_eq!(ends.step(0, "m1", MoveStep::Close { to: url(1) }), over);
    assert_eq!(ends.arrive(0, 1, "m1"), over);
    for step in [MoveStep::HandOver, MoveStep::Leave, MoveStep::Open { count: 0 }, MoveStep::Bring { records: vec![] }]
    {
        for end in 0..2 {
            assert_eq!(ends.step(end, "m1", step.clone()), over, "{step:?}");
        }
    }
    ends.carry_over(0, 1, "m2");
    assert_eq!([ends.is_open(0), ends.is_open(1)], [false, true]);
}
