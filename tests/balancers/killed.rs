//! kill -9 of the worker at every point of its journal, with HAProxy itself as the witness.

use super::scene::{Scene, wait_until_joined};
use crate::crash::{CRASH_AT, every_point};
use crate::support::{Host, Tuning, Worker, wait_for};
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

#[test]
fn killed_at_every_point_of_the_journal_the_host_is_in_and_restarted_once() {
    let points = every_point();
    // Beside each another one whose name begins alike, of which nobody speaks.
    let names: Vec<String> = (0..points.len()).flat_map(|place| [format!("h{place}"), format!("h{place}00")]).collect();
    let scene = Scene::new(&names, points.len());
    let hosts: Vec<Host> =
        (0..points.len()).map(|place| scene.host(&format!("h{place}"), &Tuning::default())).collect();
    let mut workers: Vec<Worker> =
        hosts.iter().zip(&points).map(|(host, point)| host.work_with(&[(CRASH_AT, point)])).collect();
    workers.iter().for_each(wait_until_joined);
    for (place, name) in names.iter().enumerate() {
        scene.haproxy.set(&format!("app/{name}"), &format!("weight {}", place + 1));
    }
    scene.announce();
    let mut alive: Vec<usize> = (0..hosts.len()).collect();
    wait_for("all die at their points", Duration::from_secs(90), || {
        alive.retain(|place| {
            let Some(status) = workers[*place].ended() else { return true };
            assert_eq!(status.signal(), Some(9), "{}: {}", points[*place], hosts[*place].log());
            workers[*place] = hosts[*place].work();
            false
        });
        alive.is_empty().then_some(())
    });
    scene.wait_until_done("web@1");
    for (host, point) in hosts.iter().zip(&points) {
        scene.wait_until_settled(host);
        assert_eq!(host.starts(), 1, "{point}: {}", host.log());
    }
    for (place, name) in names.iter().enumerate() {
        let state = scene.haproxy.state(&format!("app/{name}"));
        let weight = u32::try_from(place + 1).expect("few");
        assert_eq!((state.admin, state.weight), (0, weight), "{name}, for {}", points[place / 2]);
    }
}
