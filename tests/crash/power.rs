//! The power of a host is cut at every point of its worker's journal: what was not synced is gone, as is the process. It is as safe
//! as kill -9.

use super::{POWER_CUT_AT, Scene, dies_at_every_point, every_point, records_of_a_sequence, wait_until_joined};
use crate::support::{Host, SOON, Tuning, Worker, wait_for};

#[test]
fn the_power_is_cut_at_every_point_of_the_journal() {
    dies_at_every_point(&Scene::new(every_point().len()), POWER_CUT_AT, || {});
}

#[test]
fn the_power_of_the_lock_server_is_cut_together_with_that_of_each_host() {
    let scene = Scene::with_fragile_server(every_point().len());
    dies_at_every_point(&scene, POWER_CUT_AT, || scene.server.restart(Some("never")));
    assert!(scene.server.starts() > every_point().len());
}

#[test]
fn cut_inside_a_restart_that_nobody_can_look_into_it_is_stuck_out_and_restarted_no_more() {
    let records = records_of_a_sequence();
    let is_act = |record: &String| record.contains("\"acting\":{\"step\":\"restart\"");
    let act = records.iter().position(is_act).expect("a restart") + 1;
    // The act is recorded and not done; done and not recorded. Around it nothing is in doubt.
    let inside = [(format!("after:{act}"), 0), (format!("before:{}", act + 1), 1)];
    let around = [format!("before:{act}"), format!("after:{}", act + 1)];
    let scene = Scene::new(inside.len() + around.len());
    let tuning = Tuning { has_identity: false, ..Tuning::default() };
    let points: Vec<&str> = inside.iter().map(|(point, _)| point).chain(&around).map(String::as_str).collect();
    let hosts: Vec<Host> = (0..points.len()).map(|place| scene.host(&format!("h{place}"), &tuning)).collect();
    let mut workers: Vec<Worker> =
        hosts.iter().zip(&points).map(|(host, point)| host.work_with(&[(POWER_CUT_AT, point)])).collect();
    wait_until_joined(&workers);
    scene.announce();
    for ((host, point), worker) in hosts.iter().zip(&points).zip(&mut workers) {
        wait_for(&format!("{} dies at {point}", host.name), SOON, || worker.ended());
        *worker = host.work();
    }
    for (host, (point, starts)) in hosts.iter().zip(&inside) {
        wait_for(&format!("{} at {point} is stuck", host.name), SOON, || {
            let shown = scene.server.json(&["leases", &format!("host/{}", host.name)]);
            (shown["leases"][0]["state"] == "failed" && shown["leases"][0]["stuck"] == true).then_some(())
        });
        assert!(scene.balancer.is_out(&host.name), "{point}: a stuck host stays out");
        assert_eq!(host.starts(), *starts, "{point}: nothing is restarted that nobody understands");
    }
    for (host, point) in hosts[inside.len()..].iter().zip(&around) {
        scene.wait_until_settled(host, point);
        scene.check(host, 1, point);
    }
}
