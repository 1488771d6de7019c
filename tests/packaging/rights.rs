//! The worker's folder belongs to the worker's user: root, who could write there, is told to be that user instead.

use crate::support::{Balancer, Host, Tuning, run};

/// Debian's user for nobody's files.
const NOBODY: u32 = 65534;

#[test]
fn root_does_not_work_in_the_folder_of_a_worker_that_is_another_user() {
    let folder = tempfile::tempdir().expect("a folder");
    let balancer = Balancer::start();
    let host = Host::new(folder.path(), "mw1", "http://127.0.0.1:1", &balancer, &Tuning::default());
    let state = folder.path().join("mw1/state");
    std::fs::create_dir(&state).expect("a folder");
    std::os::unix::fs::chown(&state, Some(NOBODY), None).expect("this test needs root");
    for verb in ["restart", "depool", "repool"] {
        let (code, out, err) = run(&mut host.command(&[verb, "web"]));
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.contains(" belongs to nobody, whose worker "), "{err}");
        let typed = format!("hint: sudo -u nobody stagger -c {} {verb} web\n", host.config.display());
        assert!(err.ends_with(&typed), "{err}");
    }
    assert_eq!(std::fs::read_dir(&state).expect("the folder").count(), 0, "nothing was left there");
    assert!(!balancer.is_out("mw1"));
    std::os::unix::fs::chown(&state, Some(0), None).expect("back to root");
    let (code, _, err) = run(&mut host.command(&["depool", "web"]));
    assert_eq!(code, 0, "{err}");
    assert!(balancer.is_out("mw1"));
}
