//! An etcd cluster that is cut in two, each member in a network namespace of its own.

use super::contended::{MANY, contend, turns_pass};
use super::servers::start;
use super::{SHORT, SLOTS, Scene};
use crate::contention::observer::Observer;
use crate::support::{Running, SOON, run, stagger, wait_for};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Three namespaces on a bridge in a fourth. They are gone with the processes that hold them.
struct Net {
    hub: Running,
    places: Vec<Running>,
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command in the namespace of a process.
fn inside(holder: &Running, words: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["-t", &holder.0.id().to_string(), "-n"]);
    if !is_root() {
        command.args(["-U", "--preserve-credentials"]);
    }
    command.args(words);
    command
}

fn must(mut command: Command) {
    let (code, out, err) = run(&mut command);
    assert_eq!(code, 0, "{command:?}: {out}{err} (it needs root or user namespaces, and apt-get install iproute2)");
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

impl Net {
    fn new(count: usize) -> Net {
        let mut unshare = Command::new("unshare");
        unshare.arg(if is_root() { "-n" } else { "-rn" }).args(["sleep", "1000"]);
        let hub = Running::of(unshare.stdin(Stdio::null()).spawn().expect("unshare"));
        let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
        let entered = |holder: &Running| {
            let there = std::fs::read_link(format!("/proc/{}/ns/net", holder.0.id())).ok()?;
            (there != own).then_some(there)
        };
        let hub_net = wait_for("the hub", SOON, || entered(&hub));
        for line in ["ip link add br0 type bridge", "ip link set br0 up"] {
            must(inside(&hub, &words(line)));
        }
        let places = (0..count)
            .map(|place| {
                let mut command = inside(&hub, &words("unshare -n sleep 1000"));
                let holder = Running::of(command.stdin(Stdio::null()).spawn().expect("nsenter"));
                wait_for("a namespace", SOON, || entered(&holder).filter(|there| *there != hub_net));
                let pid = holder.0.id();
                for line in [
                    format!("ip link add v{place} type veth peer name eth0 netns {pid}"),
                    format!("ip link set v{place} master br0 up"),
                ] {
                    must(inside(&hub, &words(&line)));
                }
                for line in [
                    format!("ip addr add {}/24 dev eth0", address(place)),
                    "ip link set eth0 up".to_owned(),
                    "ip link set lo up".to_owned(),
                ] {
                    must(inside(&holder, &words(&line)));
                }
                holder
            })
            .collect();
        Net { hub, places }
    }

    /// Unplugs a namespace from the others, or plugs it in again.
    fn plug(&self, place: usize, way: &str) {
        must(inside(&self.hub, &words(&format!("ip link set v{place} {way}"))));
    }

    fn member(&self, folder: &Path, place: usize) -> Running {
        let own = address(place);
        let all: Vec<String> =
            (0..self.places.len()).map(|place| format!("m{place}=http://{}:2380", address(place))).collect();
        let net = if is_root() { "-n" } else { "-n -U --preserve-credentials" };
        let line = format!(
            "-t {} {net} etcd --name m{place} --data-dir data --listen-client-urls http://{own}:2379,http://127.0.0.1:2379 \
             --advertise-client-urls http://{own}:2379 --listen-peer-urls http://{own}:2380 \
             --initial-advertise-peer-urls http://{own}:2380 --initial-cluster {}",
            self.places[place].0.id(),
            all.join(",")
        );
        start("nsenter", "util-linux etcd-server", &folder.join(format!("m{place}")), &line)
    }

    /// The program, run in a namespace.
    fn stagger(&self, place: usize, words: &[&str]) -> Command {
        let program = stagger().get_program().to_string_lossy().into_owned();
        let mut command = inside(&self.places[place], &[&program]);
        command.args(words).env("USER", "ann").stdin(Stdio::null());
        command
    }

    fn leader(&self) -> Option<usize> {
        (0..self.places.len()).find(|place| {
            let line = "etcdctl --endpoints 127.0.0.1:2379 endpoint status -w json";
            let mut command = inside(&self.places[*place], &words(line));
            let (_, out, _) = run(command.env("ETCDCTL_API", "3"));
            let status: serde_json::Value = serde_json::from_str(&out).unwrap_or_default();
            let status = &status[0]["Status"];
            !status.is_null() && status["leader"] == status["header"]["member_id"]
        })
    }
}

fn address(place: usize) -> String {
    format!("10.77.0.{}", place + 1)
}

/// An etcd of three members, each in its namespace, and the one of them that leads.
struct Cluster {
    net: Net,
    leader: usize,
    url: String,
    _members: Vec<Running>,
    _folder: tempfile::TempDir,
}

impl Cluster {
    fn start() -> Cluster {
        let (folder, net) = (tempfile::tempdir().expect("a folder"), Net::new(3));
        let members = (0..3).map(|place| net.member(folder.path(), place)).collect();
        let leader = wait_for("a leader", SOON, || net.leader());
        let hosts: Vec<String> = (0..3).map(|place| format!("{}:2379", address(place))).collect();
        let url = format!("etcd://{}", hosts.join(","));
        Cluster { net, leader, url, _members: members, _folder: folder }
    }

    /// Hosts beside the members, in turn; those at every third place, the last of three, are beside the one that leads.
    fn scene(&self, slots: usize) -> Scene<'_> {
        let hosts = |place, words: &[&str]| self.net.stagger((self.leader + 1 + place) % 3, words);
        Scene::spread(Box::new(hosts), &self.url, SHORT, slots)
    }
}

/// The place of a host beside the member that leads.
const FEW: usize = 2;

#[test]
fn an_etcd_that_is_cut_in_two_grants_on_the_side_of_the_many_alone() {
    let cluster = Cluster::start();
    let scene = cluster.scene(1);
    let observer = Observer::start(scene.path("markers"), scene.path("full"), 1);
    // On the side of the few, beside the member that leads: who asks first, and so decides for all, and holds the slot.
    let begin = |name: &str, place: usize, work: &str| {
        scene.start(name, scene.command_at(place, &scene.words(name)), &scene.turn(name, work))
    };
    let mut holder = begin("few", FEW, "while :; do sleep 0.1; done");
    wait_for("its turn", SOON, || (scene.turns().len() == 1).then_some(()));
    let mut next = begin("many", 0, "sleep 1");
    wait_for("the next one waits", SOON, || (scene.queued() == Some(1)).then_some(()));
    cluster.net.plug(cluster.leader, "down");
    wait_for("the turn of the next one", Duration::from_secs(60), || (scene.turns().len() == 2).then_some(()));
    // Nobody is granted anything on the other side.
    let alone = ["run", "-p", "p", "--name", "alone", "--wait", "4s", "--", "sh", "-c"];
    let mut alone = scene.start("alone", scene.command_at(FEW, &alone), &scene.turn("alone", "true"));
    let ended = wait_for("it gives up", Duration::from_secs(60), || alone.0.try_wait().expect("our own child"));
    assert_eq!(ended.code(), Some(2), "{}", scene.said("alone"));
    wait_for("the next one is done", Duration::from_secs(60), || next.is_over().then_some(()));
    wait_for("who held it on that side is ended", Duration::from_secs(60), || holder.is_over().then_some(()));
    cluster.net.plug(cluster.leader, "up");
    let mut healed = begin("healed", FEW, "true");
    wait_for("that side has its turns again", Duration::from_secs(60), || healed.is_over().then_some(()));
    assert_eq!(observer.finish().0, 1, "{:?}", scene.turns());
    let turns = scene.turns();
    let names: Vec<&str> = turns.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["few", "many", "healed"], "{}", scene.said("healed"));
    assert!(turns.windows(2).all(|pair| pair[0].0 < pair[1].0), "{turns:?}");
}

#[test]
fn fifty_processes_contend_over_an_etcd_that_is_cut_in_two_for_a_while() {
    let cluster = Cluster::start();
    let cut = |scene: &Scene<'_>| {
        cluster.net.plug(cluster.leader, "down");
        turns_pass(scene, 9);
        cluster.net.plug(cluster.leader, "up");
    };
    contend(&cluster.scene(SLOTS), MANY, 12, Some(Box::new(cut)));
}
