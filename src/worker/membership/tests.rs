//! What a worker tells of itself fits into a request, and what a refusal of it leads to.

use super::*;
use crate::config::{self, Surroundings};
use crate::worker::Options;
use coordinator::remote::Remote;
use coordinator::wire::{BODY_BYTES_MAX, JoinBody};
use coordinator::{Error, Result};
use model::lease::Purpose;
use model::sequence::{Plan, Record};
use std::path::Path;

fn config(folder: &Path) -> Config {
    let text = format!(
        "coordinator = \"http://127.0.0.1:1\"\nhost = \"mw1\"\nstate = \"{}\"\n[service.app]\npools = [\"app\"]\n\
         restart = {{ kind = \"exec\", command = [\"true\"] }}\ndepool = {{ kind = \"none\" }}\n",
        folder.display()
    );
    let surroundings = Surroundings { hostname: "mw1".to_owned(), state_directory: None };
    config::parse(&text, Path::new("test.toml"), &surroundings).expect("a configuration")
}

fn membership(folder: &Path) -> Membership {
    Membership::new(&config(folder), None).expect("a membership")
}

fn sighting(number: usize, presence: Presence) -> Sighting {
    let detail = beginning(&"\u{1}".repeat(1_000), SAID_BYTES_MAX);
    let service = "app".parse().expect("a service");
    Sighting {
        service,
        balancer: format!("lb{number:03}"),
        presence,
        by_stagger: false,
        detail,
        remedy: Default::default(),
    }
}

#[test]
fn what_is_told_fits_and_where_the_host_is_out_comes_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut join = membership(folder.path()).join;
    let seen = |number| sighting(number, if number == 999 { Presence::Out } else { Presence::In });
    join.sightings = sighted((0..1_000).map(seen).collect());
    assert!(join.sightings.len() > 64, "{}", join.sightings.len());
    assert_eq!((join.sightings[0].balancer.as_str(), join.sightings[1].balancer.as_str()), ("lb999", "lb000"));
    let pool = |number: usize| format!("{number:0>250}").parse::<Pool>().expect("a pool");
    let own = [pool(999)].into();
    join.highest = tokens((0..1_000).map(|number| (pool(number), u64::MAX)).collect(), &own);
    assert!(join.highest.contains_key(&pool(999)) && join.highest.contains_key(&pool(0)));
    join.trouble = beginning(&"\u{1}".repeat(10_000), TEXT_BYTES_MAX);
    let body = JoinBody { join, seen: Some(Vec::new()), hold_ms: 30_000 };
    let bytes = serde_json::to_vec(&body).expect("JSON").len();
    assert!(bytes < BODY_BYTES_MAX - 16 * 1024, "room for its services: {bytes}");
    let short = |number| sighting(number, Presence::In);
    let few: Vec<Sighting> = (0..70).map(|number| Sighting { detail: String::new(), ..short(number) }).collect();
    assert_eq!(sighted(few.clone()), few, "more than 64, and whole");
}

#[test]
fn a_join_that_is_refused_says_less_and_then_makes_pauses() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut membership = membership(folder.path());
    let heard = |membership: &mut Membership, answer: Result<Joined>| {
        membership.heard(Call { around: None, answer });
        membership.refusals
    };
    let too_large = || Err(Error::Refused { kind: "too_large".into(), value: "too large".into(), status: 413 });
    assert_eq!(heard(&mut membership, too_large()), 1, "the next one is bare");
    assert_eq!(heard(&mut membership, too_large()), 2, "and then there is a pause");
    assert_eq!(heard(&mut membership, Ok(Joined::Member(Welcome::default()))), 1, "it stays bare");
    assert_eq!(heard(&mut membership, Err(Error::Unknown { why: "no route".into() })), 1);
}

#[test]
fn a_second_worker_of_a_name_says_for_how_long_the_first_has_it_and_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut membership = membership(folder.path());
    let mut heard = |since_ms| {
        let answer = Ok(Joined::Duplicate { since_ms, version: "0.1.0".to_owned() });
        membership.heard(Call { around: None, answer })
    };
    assert!(matches!(heard(105_122), Heard::Taken));
    assert!(matches!(heard(110_000), Heard::Taken));
    membership.duplicate_since = Some(Time(clock::now().0 - millis(DUPLICATE_WAIT)));
    let answer = Ok(Joined::Duplicate { since_ms: 173_869, version: "0.1.0".to_owned() });
    let Heard::Duplicate(error) = membership.heard(Call { around: None, answer }) else { panic!("it goes on") };
    let expected = "another worker is known as mw1 (version 0.1.0, joined 2m53s ago); two of one name are refused";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn the_first_join_tells_the_tokens_though_a_sequence_is_under_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path());
    let coordinator = Remote::new(config.coordinator.as_str()).expect("a client");
    let shop = crate::worker::shop(&config, coordinator, Options::default(), "a test").expect("a shop");
    let plan = Plan {
        sequence: "q1".parse().expect("an id"),
        service: "app".parse().expect("a service"),
        purpose: Purpose::Rollout("app@7".parse().expect("a rollout")),
        pools: ["app".parse().expect("a pool")].into(),
        depool: true,
        keep: true,
        leaseless: false,
        away_ms: 0,
        left_out: BTreeMap::new(),
        doubt: None,
        before: Vec::new(),
    };
    let tokens = BTreeMap::from([("app".parse().expect("a pool"), 41)]);
    let mut journal = shop.journals.create(&plan.sequence, clock::wall()).expect("a journal");
    let granted = Record::Granted { tokens: tokens.clone(), ms: 1 };
    journal.append(&[Record::Opened(Box::new(plan)), granted]).expect("written");
    let mut membership = membership(folder.path());
    let call = membership.call(&shop, false).await;
    assert!(call.around.as_ref().is_some_and(|around| around.sightings.is_none()), "no balancer is asked");
    membership.heard(call);
    assert_eq!(membership.join.highest, tokens);
}
