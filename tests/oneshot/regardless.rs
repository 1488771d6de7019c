//! Restarts that go on without a lease, or without the balancers: only when a person or the service says so, and never with
//! exit 0.

use super::{Scene, starts};
use crate::support::Tuning;

/// Scenario 13, the store: an emergency, and a service that says so itself. Also when all went well the exit is 3.
#[test]
fn without_a_lock_server_an_emergency_restarts_and_so_does_a_service_that_says_so() {
    let scene = Scene::new(&Tuning::default());
    scene.server.kill();
    let (code, out, err) = scene.run(&["restart", "web", "--emergency"]);
    assert!(code == 3 && err.contains("warning: web was restarted without a lease"), "{code}: {out}{err}");
    assert_eq!((starts(&scene.host.folder), scene.balancer.peak()), (1, 1), "it left its balancer");
    assert!(!scene.balancer.is_out("mw1331"));
    scene.edit("pools = [\"p\"]", "pools = [\"p\"]\nunreachable = \"restart\"");
    let (code, out, err) = scene.run(&["restart", "web", "--wait", "500ms"]);
    assert!(code == 3 && err.contains("warning: web was restarted without a lease"), "{code}: {out}{err}");
    assert_eq!(starts(&scene.host.folder), 2);
}

/// Scenario 13, the balancers: in an emergency they need not answer, nor for a service that says so; the lease is taken all the
/// same then. Without that word nothing restarts.
#[test]
fn without_its_balancers_an_emergency_restarts_and_so_does_a_service_that_says_so() {
    let scene = Scene::new(&Tuning::default());
    scene.balancer.fail(true);
    let (code, _, err) = scene.run(&["restart", "web"]);
    assert!(code == 1 && starts(&scene.host.folder) == 0, "{code}: {err}");
    let (code, out, err) = scene.run(&["restart", "web", "--emergency"]);
    let told =
        "warning: web was restarted in its balancers and without a lease; they did not confirm that it had left: ";
    assert!(code == 3 && err.contains(told) && err.contains("500"), "{code}: {out}{err}");
    assert_eq!((starts(&scene.host.folder), scene.balancer.peak()), (1, 0));
    scene.edit("pools = [\"p\"]", "pools = [\"p\"]\nunreachable = \"restart\"");
    let (code, out, err) = scene.run(&["restart", "web"]);
    let told = "warning: web was restarted in its balancers; they did not confirm that it had left: ";
    assert!(code == 3 && err.contains(told) && out.contains("✓ ask"), "{code}: {out}{err}");
    assert_eq!(starts(&scene.host.folder), 2);
    // It took a lease, like everybody.
    let taken = scene.take_the_slot();
    let (code, _, err) = scene.run(&["restart", "web", "--wait", "300ms"]);
    assert!(code == 2 && starts(&scene.host.folder) == 2, "{code}: {err}");
    // A service that failed in spite of it says how.
    drop(taken);
    scene.edit("; true\"", "; exit 7\"");
    let (code, _, err) = scene.run(&["restart", "web", "--emergency"]);
    assert!(
        code == 3 && err.contains("warning: web failed in its balancers") && err.contains("exit 7"),
        "{code}: {err}"
    );
}
