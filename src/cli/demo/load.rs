//! The load: clients that ask the balancer one thing after the other, and notice every answer that is not as it should be.
//!
//! Owns how much is asked. Counts nothing itself but what the balancer cannot see: its failures go to the observer there.
//! Started by the fleet for the whole of the demo; the slow requests, by their act.

use crate::cli::demo::balancer::Balancer;
use crate::cli::demo::http::{self, Answer, Request};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How many clients there are. With [`THINK_TIME`] they ask some 500 times a second: enough to notice a host that is
/// restarted while it is in, and little enough to leave two cores to the hosts.
const CLIENTS: u32 = 16;
/// How long a client waits between an answer and its next request.
const THINK_TIME: Duration = Duration::from_millis(24);
/// Longest wait for an ordinary answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a slow one, beyond the time that it takes.
const SLOW_MARGIN: Duration = Duration::from_secs(10);

/// Starts the clients. They ask until the set is dropped.
pub(super) fn start(address: SocketAddr, balancer: &Balancer) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let balancer = balancer.clone();
        clients.spawn(async move {
            // Spread over one think time, so that they do not ask in step.
            tokio::time::sleep(THINK_TIME * number / CLIENTS).await;
            client(address, &balancer).await;
        });
    }
    clients
}

/// One client: a connection that it keeps to the balancer, as browsers do.
async fn client(address: SocketAddr, balancer: &Balancer) {
    let mut stream = None;
    loop {
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, ask(address, &mut stream)).await;
        let failure = match asked {
            // The balancer counted its own failures, which are all that is not status 200.
            Ok(Ok(answer)) if answer.status != 200 => None,
            Ok(Ok(answer)) => (!is_sound(&answer)).then(|| format!("a client got {:?}", answer.body)),
            Ok(Err(error)) => Some(format!("a client lost the balancer: {error}")),
            Err(_) => Some(format!("a client waited {ANSWER_TIMEOUT:?} in vain")),
        };
        if let Some(cause) = failure {
            balancer.request_failed(cause);
            stream = None;
        }
        tokio::time::sleep(THINK_TIME).await;
    }
}

async fn ask(address: SocketAddr, stream: &mut Option<BufReader<TcpStream>>) -> io::Result<Answer> {
    let open = match stream.take() {
        Some(open) => open,
        None => BufReader::new(TcpStream::connect(address).await?),
    };
    let open = stream.insert(open);
    http::write_request(open.get_mut(), &Request::get("/")).await?;
    http::read_answer(open).await
}

/// Whether an answer is one of the pretend service's.
fn is_sound(answer: &Answer) -> bool {
    let body: Option<serde_json::Value> = serde_json::from_str(&answer.body).ok();
    body.is_some_and(|body| body["build"].is_u64() && body["pid"].is_u64())
}

/// One request of so long, to the server of this name. Whether it was answered in full; a failure is counted.
pub(super) async fn slow(address: SocketAddr, balancer: Balancer, server: String, time: Duration) -> bool {
    let target = format!("/slow?ms={}", time.as_millis());
    let request = Request { pin: Some(server), ..Request::get(&target) };
    let failure = match tokio::time::timeout(time + SLOW_MARGIN, http::send(address, &request)).await {
        Ok(Ok(answer)) if answer.status != 200 => return false,
        Ok(Ok(answer)) if is_sound(&answer) => return true,
        Ok(Ok(answer)) => format!("a slow client got {:?}", answer.body),
        Ok(Err(error)) => format!("a slow client lost the balancer: {error}"),
        Err(_) => "a slow client waited in vain".to_owned(),
    };
    balancer.request_failed(failure);
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// A balancer with one server that gives this answer, and where clients find it.
    async fn one(answer: Answer) -> (Balancer, SocketAddr, JoinSet<()>) {
        let mut tasks = JoinSet::new();
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server_address = server.local_addr().expect("its address");
        tasks.spawn(http::serve(server, move |_| {
            let answer = answer.clone();
            async move { answer }
        }));
        let balancer = Balancer::new(Duration::ZERO);
        balancer.add("host1", server_address);
        let clients = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = clients.local_addr().expect("its address");
        tasks.spawn(balancer.clone().serve_clients(clients));
        (balancer, address, tasks)
    }

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(10), async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        assert!(waited.await.is_ok(), "{what} did not come about");
    }

    #[tokio::test]
    async fn clients_ask_again_and_again_and_sound_answers_are_no_failures() {
        let (balancer, address, _tasks) = one(Answer::new(200, r#"{"build":1,"pid":2}"#)).await;
        let _clients = start(address, &balancer);
        until("a hundred requests", || balancer.counts().requests >= 100).await;
        assert_eq!(balancer.counts().failed_requests, 0, "{:?}", balancer.counts().causes);
        assert!(slow(address, balancer.clone(), "host1".to_owned(), Duration::ZERO).await);
        assert!(!slow(address, balancer.clone(), "host2".to_owned(), Duration::ZERO).await);
        assert_eq!(balancer.counts().failed_requests, 1, "a request that no server may take has failed");
    }

    #[tokio::test]
    async fn every_other_answer_is_a_failure_counted_once() {
        for (answer, cause) in [
            (Answer::new(200, r#"{"build":1}"#), "a client got"),
            (Answer::new(500, r#"{"build":1,"pid":2}"#), "host1: status 500"),
        ] {
            let (balancer, address, _tasks) = one(answer).await;
            let clients = start(address, &balancer);
            until("ten failures", || balancer.counts().failed_requests >= 10).await;
            drop(clients);
            let counts = balancer.counts();
            assert!(counts.causes[0].starts_with(cause), "{:?}", counts.causes);
            assert!(counts.failed_requests <= counts.requests, "{counts:?}");
        }
    }

    #[tokio::test]
    async fn a_balancer_that_is_gone_is_a_failure_too() {
        let (balancer, address, tasks) = one(Answer::new(200, "{}")).await;
        drop(tasks);
        assert!(!slow(address, balancer.clone(), "host1".to_owned(), Duration::ZERO).await);
        assert_eq!((balancer.counts().requests, balancer.counts().failed_requests), (0, 1));
    }
}
