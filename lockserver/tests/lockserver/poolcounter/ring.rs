//! Three of our servers behind the clients' ring: each key is served at one of them, and one that dies takes no other down.

use super::House;
use crate::common::soon;
use md5::{Digest, Md5};
use tokio::net::TcpStream;

/// Points of a server on the ring, per unit of its weight.
const POINTS: usize = 100;

/// The ring of the Python client: servers by label, weight and place.
struct Ring(Vec<(u128, usize)>);

fn place(text: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(text.as_bytes()).into())
}

impl Ring {
    fn of(servers: &[(&str, usize)]) -> Ring {
        let mut points = Vec::new();
        for (number, (label, weight)) in servers.iter().enumerate() {
            let of_server = (0..POINTS).flat_map(|point| (0..*weight).map(move |part| (point, part)));
            points.extend(of_server.map(|(point, part)| (place(&format!("{label}:{point}:{part}")), number)));
        }
        points.sort_unstable();
        Ring(points)
    }

    /// The server of the first point behind the key's, the first one behind the last.
    fn server(&self, key: &str) -> usize {
        let next = self.0.partition_point(|(point, _)| *point <= place(key));
        self.0.get(next).unwrap_or(&self.0[0]).1
    }
}

const SERVERS: [(&str, usize); 3] = [("a", 1), ("b", 1), ("c", 2)];

#[test]
fn the_ring_is_the_clients() {
    assert_eq!(place("a:0:0"), 0xab3f_f70e_16dc_9bd7_9c94_5a83_bdef_c891);
    let ring = Ring::of(&SERVERS);
    assert_eq!(["k::1", "k::2", "k::3"].map(|key| SERVERS[ring.server(key)].0), ["c", "a", "b"]);
    assert_eq!(ring.0.len(), 400);
}

#[tokio::test]
async fn each_key_is_served_at_one_of_three_and_one_that_dies_takes_no_other_down() {
    let ring = Ring::of(&SERVERS);
    let mut houses = vec![House::open().await, House::open().await, House::open().await];
    let keys: Vec<String> = (0..60).map(|number| format!("k::{number}")).collect();
    let mut served = [0; 3];
    let mut waiters = Vec::new();
    for key in &keys {
        let server = ring.server(key);
        let (mut holder, mut waiter) = (houses[server].client().await, houses[server].client().await);
        holder.says(&format!("ACQ4ME {key} 1 9 60"), "LOCKED").await;
        waiter.send(&format!("ACQ4ME {key} 1 9 60\n")).await;
        served[server] += 1;
        waiters.push((server, holder, waiter));
    }
    assert!(served.iter().all(|count| *count > 0), "{served:?}");
    for (house, count) in houses.iter().zip(served) {
        house.client().await.says("STATS total_acquired", &format!("total_acquired: {count}")).await;
    }
    let dead = houses.pop().expect("three");
    let (dead_address, dead_number) = (dead.door, houses.len());
    dead.server.kill().await;
    for (server, mut holder, mut waiter) in waiters {
        if server == dead_number {
            continue;
        }
        holder.says("RELEASE", "RELEASED").await;
        waiter.hears("LOCKED\n").await;
    }
    soon("the port to be closed", async { while TcpStream::connect(dead_address).await.is_ok() {} }).await;
    for key in keys.iter().filter(|key| ring.server(key) != dead_number) {
        houses[ring.server(key)].client().await.says(&format!("ACQ4ME {key} 1 9 60"), "LOCKED").await;
    }
    for house in houses {
        house.server.stop().await.expect("a clean end");
    }
}
