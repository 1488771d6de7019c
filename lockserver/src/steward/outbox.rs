//! Answers on their way out of a steward's desk: which go first, how many at once, and when news rest.
//!
//! Owns the order. Knows no store: the desk ([`super::desk`]) sends what it takes from here.

use coordinator::store::CallAnswer;
use model::request::Ask;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

/// Most answers that are sent at once.
pub(super) const ANSWERS_MAX: usize = 50;
/// So many places of each batch are left for news: who listens must hear that it is still there, however much else there is to say.
const NEWS_MIN: usize = 5;
/// After a full batch with news in it, news rest for so many times as long as that took. Whoever is told something asks for something: were all told
/// at once, the store would be busy with a thousand asks while the grants of the first hundred wait behind them.
const NEWS_REST: u32 = 3;
/// The longest such rest.
const NEWS_REST_MAX: Duration = Duration::from_millis(100);

/// An answer on its way, and the ask that it answers with a lease.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) answer: CallAnswer,
    pub(super) granted: Option<Ask>,
}

/// How soon an answer goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// First: a slot is taken from the grant on, and stands idle until its holder knows.
    Grants,
    /// Then what somebody at work waits for.
    Others,
    /// Last what there is to know for whoever merely listens.
    News,
}

/// Where answers are handed in.
#[derive(Debug, Clone)]
pub(super) struct Senders {
    grants: UnboundedSender<Outgoing>,
    others: UnboundedSender<Outgoing>,
    news: UnboundedSender<Outgoing>,
}

impl Senders {
    /// Hands an answer in. Nobody takes it any more when the sitting is over; whoever sits then hears the call again.
    pub(super) fn hand_in(&self, lane: Lane, outgoing: Outgoing) {
        let way = match lane {
            Lane::Grants => &self.grants,
            Lane::Others => &self.others,
            Lane::News => &self.news,
        };
        let _ = way.send(outgoing);
    }
}

/// Answers that were handed in and not yet taken.
#[derive(Debug)]
pub(super) struct Outbox {
    grants: UnboundedReceiver<Outgoing>,
    others: UnboundedReceiver<Outgoing>,
    news: UnboundedReceiver<Outgoing>,
    rest: Rest,
}

/// Whether news rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Over,
    /// A full batch with news in it is on its way.
    UntilSent,
    Until(Instant),
}

/// What was taken at once.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) answers: Vec<Outgoing>,
    /// News rest until [`Outbox::sent`] says that it has arrived, and for a while from then on.
    pub(super) is_full_of_news: bool,
}

/// An empty outbox.
pub(super) fn outbox() -> (Senders, Outbox) {
    let [(grants, grants_out), (others, others_out), (news, news_out)] = [(); 3].map(|()| unbounded_channel());
    let outbox = Outbox { grants: grants_out, others: others_out, news: news_out, rest: Rest::Over };
    (Senders { grants, others, news }, outbox)
}

impl Outbox {
    /// Waits for answers, and takes as many as there are and as may be sent at once. Dropped while it waits, it has taken none.
    pub(super) async fn next(&mut self) -> Batch {
        let mut answers = Vec::with_capacity(ANSWERS_MAX);
        let mut has_news = false;
        // Looked at first: where there is always something else to send, nobody waits for the rest to end.
        if matches!(self.rest, Rest::Until(end) if end <= Instant::now()) {
            self.rest = Rest::Over;
        }
        loop {
            let rest = self.rest;
            tokio::select! {
                biased;
                Some(first) = self.grants.recv() => answers.push(first),
                Some(first) = self.others.recv() => answers.push(first),
                Some(first) = self.news.recv(), if rest == Rest::Over => {
                    has_news = true;
                    answers.push(first);
                }
                () = over(rest), if rest != Rest::Over => {
                    self.rest = Rest::Over;
                    continue;
                }
            }
            break;
        }
        let places = if self.rest == Rest::Over { ANSWERS_MAX - NEWS_MIN } else { ANSWERS_MAX };
        while answers.len() < places
            && let Ok(more) = self.grants.try_recv().or_else(|_| self.others.try_recv())
        {
            answers.push(more);
        }
        while answers.len() < ANSWERS_MAX
            && self.rest == Rest::Over
            && let Ok(more) = self.news.try_recv()
        {
            has_news = true;
            answers.push(more);
        }
        while answers.len() < ANSWERS_MAX
            && let Ok(more) = self.grants.try_recv().or_else(|_| self.others.try_recv())
        {
            answers.push(more);
        }
        let is_full_of_news = has_news && answers.len() == ANSWERS_MAX;
        if is_full_of_news {
            self.rest = Rest::UntilSent;
        }
        Batch { answers, is_full_of_news }
    }

    /// A batch that is full of news has arrived; that took so long.
    pub(super) fn sent(&mut self, took: Duration) {
        self.rest = Rest::Until(Instant::now() + (took * NEWS_REST).min(NEWS_REST_MAX));
    }
}

/// Waits until a rest is over, if its end is known.
async fn over(rest: Rest) {
    match rest {
        Rest::Over => {}
        Rest::UntilSent => std::future::pending().await,
        Rest::Until(end) => sleep_until(end).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coordinator::store::CallId;
    use futures_util::FutureExt as _;

    fn outgoing(number: u64) -> Outgoing {
        let caller = "caller".parse().expect("an id");
        Outgoing { answer: (CallId { caller, number }, vec![]), granted: None }
    }

    fn numbers(batch: &Batch) -> Vec<u64> {
        batch.answers.iter().map(|outgoing| outgoing.answer.0.number).collect()
    }

    /// Whether nothing is to be sent now.
    fn rests(outbox: &mut Outbox) -> bool {
        outbox.next().now_or_never().is_none()
    }

    #[tokio::test]
    async fn grants_go_first_and_news_last() {
        let (senders, mut outbox) = outbox();
        senders.hand_in(Lane::News, outgoing(1));
        senders.hand_in(Lane::Others, outgoing(2));
        senders.hand_in(Lane::Grants, outgoing(3));
        let batch = outbox.next().await;
        assert_eq!((numbers(&batch), batch.is_full_of_news), (vec![3, 2, 1], false));
        assert!(rests(&mut outbox));
    }

    #[tokio::test]
    async fn news_rest_after_a_full_batch_and_nothing_else_does() {
        let (senders, mut outbox) = outbox();
        (0..120).for_each(|number| senders.hand_in(Lane::News, outgoing(number)));
        let batch = outbox.next().await;
        assert_eq!((batch.answers.len(), batch.is_full_of_news), (ANSWERS_MAX, true));
        assert!(rests(&mut outbox), "it is on its way");
        senders.hand_in(Lane::Others, outgoing(200));
        senders.hand_in(Lane::Grants, outgoing(201));
        assert_eq!(numbers(&outbox.next().await), [201, 200]);
        let before = Instant::now();
        outbox.sent(Duration::from_secs(10));
        assert!(rests(&mut outbox));
        assert_eq!(outbox.next().await.answers.len(), ANSWERS_MAX);
        assert!(before.elapsed() >= NEWS_REST_MAX);
        outbox.sent(Duration::ZERO);
        let last = outbox.next().await;
        assert_eq!((last.answers.len(), last.is_full_of_news), (20, false));
    }

    #[tokio::test]
    async fn news_come_through_however_much_else_there_is() {
        let (senders, mut outbox) = outbox();
        (0..100).for_each(|number| senders.hand_in(Lane::News, outgoing(number)));
        assert!(outbox.next().await.is_full_of_news);
        outbox.sent(Duration::ZERO);
        let mut news = 0;
        for _ in 0..10 {
            (0..100).for_each(|_| senders.hand_in(Lane::Others, outgoing(1_000)));
            let batch = outbox.next().await;
            assert_eq!(batch.answers.len(), ANSWERS_MAX);
            news += numbers(&batch).iter().filter(|number| **number < 1_000).count();
            if batch.is_full_of_news {
                outbox.sent(Duration::ZERO);
            }
        }
        assert_eq!(news, 50, "five of each batch");
    }

    #[tokio::test]
    async fn a_few_news_rest_not() {
        let (senders, mut outbox) = outbox();
        for number in 0..5 {
            senders.hand_in(Lane::News, outgoing(number));
            assert_eq!(numbers(&outbox.next().await), [number]);
        }
    }
}
