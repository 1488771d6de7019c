//! What must hold of every store. Each case has domains of its own, and a handle for each process that it plays.

use coordinator::random_id;
use coordinator::store::{
    CallId, Heard, MESSAGE_BYTES_MAX, Record, SEAT_KEPT, Seat, Sitting, Store, StoreError, Write,
};
use futures_util::future::join_all;
use model::names::Id;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long a call is kept where that does not matter.
pub(crate) const KEPT: Duration = Duration::from_secs(60);
/// How long something may take that happens at once.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// How long to listen before it is believed that nothing comes.
const QUIET: Duration = Duration::from_millis(300);

/// A server of stores, which can die.
pub(crate) trait Server: Sized {
    /// Whether a steward that sits after the server died and came back is told that something may lack.
    const RESTART_MAY_LACK: bool;

    /// A new server with nothing in it, ready.
    async fn start() -> Self;

    /// A new handle of a domain, as another process has it. Nothing is shared with other handles.
    fn open(&self, domain: &str) -> Arc<dyn Store>;

    /// Ends the server as a crash does.
    async fn kill(&mut self);

    /// Starts it again with what it had, ready.
    async fn restart(&mut self);
}

pub(crate) fn id() -> Id {
    random_id().expect("an id")
}

pub(crate) fn call(caller: &Id, number: u64) -> CallId {
    CallId { caller: caller.clone(), number }
}

pub(crate) fn write(key: &str, text: &str) -> Write {
    (key.to_owned(), Some(text.as_bytes().to_vec()))
}

pub(crate) fn record(key: &str, text: &str) -> Record {
    (key.to_owned(), text.as_bytes().to_vec())
}

/// Sits at once.
pub(crate) async fn sit(store: &Arc<dyn Store>) -> Box<dyn Sitting> {
    store.sit(&id()).await.expect("a store").expect("an empty seat")
}

/// Sits as soon as the seat is empty, and the store is there.
pub(crate) async fn sit_soon(store: &Arc<dyn Store>) -> Box<dyn Sitting> {
    let steward = id();
    let mut sitting = None;
    until(SEAT_KEPT + SOON, async || {
        sitting = store.sit(&steward).await.ok().flatten();
        sitting.is_some()
    })
    .await;
    sitting.expect("a seat")
}

/// Every record, in the order of the keys.
pub(crate) async fn load(sitting: &dyn Sitting) -> Vec<Record> {
    let mut records = sitting.load().await.expect("records");
    records.sort();
    records
}

/// Waits until it is so.
pub(crate) async fn until(patience: Duration, mut is: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !is().await {
        assert!(Instant::now() < deadline, "not so within {patience:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Hears until it has heard so much.
pub(crate) async fn hear(sitting: &dyn Sitting, count: usize) -> Vec<Heard> {
    let mut heard = Vec::new();
    let deadline = Instant::now() + SOON;
    while heard.len() < count {
        assert!(Instant::now() < deadline, "heard {} of {count}", heard.len());
        heard.extend(sitting.hear(Duration::from_secs(1)).await.expect("heard"));
    }
    heard
}

async fn hear_nothing(sitting: &dyn Sitting) {
    assert_eq!(sitting.hear(QUIET).await, Ok(vec![]));
}

fn asked(id: CallId, request: &[u8]) -> Heard {
    Heard::Call { id, request: request.to_vec() }
}

pub(crate) async fn answer(store: &Arc<dyn Store>, caller: &Id) -> (u64, Vec<u8>) {
    let (call, text) = store.answer(caller, SOON).await.expect("a store").expect("an answer");
    assert_eq!(&call.caller, caller);
    (call.number, text)
}

pub(crate) async fn no_answer(store: &Arc<dyn Store>, caller: &Id) {
    assert_eq!(store.answer(caller, QUIET).await, Ok(None));
}

pub(crate) async fn records_are_written_read_and_deleted(server: &mut impl Server) {
    let (one, other) = (server.open("d"), server.open("d"));
    let sitting = sit(&one).await;
    assert!(!sitting.may_lack(), "a new store lacks nothing");
    assert_eq!(load(&*sitting).await, vec![]);
    sitting.commit(vec![]).await.expect("nothing is written");
    sitting
        .commit(vec![write("lease/web01", "1"), write("lease/web02", "2"), write("pool/app", "{}")])
        .await
        .expect("1");
    let last = vec![write("lease/web01", "one"), ("lease/web02".to_owned(), None), ("lease/never".to_owned(), None)];
    sitting.commit(last).await.expect("2");
    let expected = vec![record("lease/web01", "one"), record("pool/app", "{}")];
    assert_eq!(load(&*sitting).await, expected);
    sitting.leave(Vec::new()).await.expect("left");
    let sitting = sit(&other).await;
    assert!(!sitting.may_lack());
    assert_eq!(load(&*sitting).await, expected);
}

pub(crate) async fn records_of_odd_names_are_kept_apart(server: &mut impl Server) {
    let (one, other) = (server.open("odd.name-_:+"), server.open("odd.name-_:+"));
    let keys = [
        "form",
        "lease/.",
        "lease/+",
        "lease/-a",
        "lease/A",
        "lease/a",
        "lease/a.b_c-d:e+f",
        "lease/web01",
        "lease/web01:80",
        "leases/a",
        "pause/all",
        "pause/rollout/php-fpm@42",
        "setting/rollout/php-fpm@42/hold",
        "target/php-fpm@42/web01",
    ];
    let texts = [Vec::new(), (0..=255).collect(), "{\"name\": \"ü\"}\r\n".into()];
    let mut records: Vec<Record> =
        keys.iter().zip(texts.iter().cycle()).map(|(key, text)| ((*key).to_owned(), text.clone())).collect();
    records.sort();
    let sitting = sit(&one).await;
    let writes = records.iter().map(|(key, text)| (key.clone(), Some(text.clone()))).collect();
    sitting.commit(writes).await.expect("written");
    sitting.leave(Vec::new()).await.expect("left");
    let sitting = sit(&other).await;
    assert_eq!(load(&*sitting).await, records);
    sitting.commit(records.iter().skip(1).map(|(key, _)| (key.clone(), None)).collect()).await.expect("deleted");
    assert_eq!(load(&*sitting).await, records[..1]);
}

pub(crate) async fn large_commits_are_whole(server: &mut impl Server) {
    for count in [1000, 3000] {
        let domain = format!("d{count}");
        let (one, other) = (server.open(&domain), server.open(&domain));
        let records: Vec<Record> =
            (0..count).map(|at| record(&format!("target/php-fpm@42/web{at:05}"), &"x".repeat(300))).collect();
        let sitting = sit(&one).await;
        let writes = records.iter().map(|(key, text)| (key.clone(), Some(text.clone()))).collect();
        sitting.commit(writes).await.expect("written");
        sitting.leave(Vec::new()).await.expect("left");
        let sitting = sit(&other).await;
        assert!(load(&*sitting).await == records, "{count} records are not what they were");
        // As large, and half of it deletes.
        let deletes = records.iter().map(|(key, _)| (key.clone(), None));
        let writes = records.iter().map(|(key, _)| (key.replace("@42", "@43"), Some(b"y".to_vec())));
        sitting.commit(deletes.chain(writes).collect()).await.expect("written");
        sitting.leave(Vec::new()).await.expect("left");
        let expected: Vec<Record> = records.iter().map(|(key, _)| record(&key.replace("@42", "@43"), "y")).collect();
        assert!(load(&*sit(&one).await).await == expected, "{count} records are not what they became");
    }
}

pub(crate) async fn one_of_many_sits(server: &mut impl Server) {
    let handles: Vec<_> = (0..8).map(|_| server.open("d")).collect();
    let steward = id();
    let results = join_all(handles.iter().map(|store| store.sit(&steward))).await;
    let mut sitting: Vec<_> = results.into_iter().filter_map(|result| result.expect("a store")).collect();
    assert_eq!(sitting.len(), 1);
    for store in &handles {
        assert!(store.sit(&steward).await.expect("a store").is_none(), "the seat is taken, by the same name too");
        assert_eq!(store.seat().await, Ok(Seat::Taken));
    }
    let sitting = sitting.remove(0);
    sitting.commit(vec![write("lease/a", "1")]).await.expect("it still sits");
}

pub(crate) async fn a_seat_that_says_nothing_is_empty_soon(server: &mut impl Server) {
    let (one, other) = (server.open("d"), server.open("d"));
    assert_eq!(other.seat().await, Ok(Seat::Empty));
    let since = Instant::now();
    let silent = sit(&one).await;
    let mut next = None;
    until(SEAT_KEPT + Duration::from_secs(3), async || {
        let seat = other.seat().await.expect("a store");
        let asked_at = since.elapsed();
        next = other.sit(&id()).await.expect("a store");
        let early = asked_at + Duration::from_secs(1) < SEAT_KEPT;
        assert!(!early || (seat == Seat::Taken && next.is_none()), "empty after {asked_at:?}");
        next.is_some()
    })
    .await;
    assert_eq!(one.seat().await, Ok(Seat::Taken));
    assert_eq!(silent.stay().await, Err(StoreError::Deposed));
    next.expect("a seat").stay().await.expect("it sits");
}

pub(crate) async fn who_stays_or_commits_keeps_the_seat(server: &mut impl Server) {
    let (staying, committing) = (sit(&server.open("stay")).await, sit(&server.open("commit")).await);
    let others = [server.open("stay"), server.open("commit")];
    let since = Instant::now();
    while since.elapsed() < SEAT_KEPT + Duration::from_secs(2) {
        staying.stay().await.expect("it stays");
        committing.commit(vec![write("lease/a", "1")]).await.expect("it stays");
        sleep(Duration::from_secs(1)).await;
        for other in &others {
            assert_eq!(other.seat().await, Ok(Seat::Taken));
            assert!(other.sit(&id()).await.expect("a store").is_none());
        }
    }
}

pub(crate) async fn who_leaves_empties_the_seat_at_once(server: &mut impl Server) {
    let (one, other) = (server.open("d"), server.open("d"));
    for _ in 0..3 {
        for store in [&one, &other] {
            let sitting = sit(store).await;
            assert_eq!(other.seat().await, Ok(Seat::Taken));
            sitting.leave(Vec::new()).await.expect("left");
            assert_eq!(other.seat().await, Ok(Seat::Empty));
        }
    }
}

/// Whatever a steward can do is refused to this one.
async fn is_deposed(deposed: &dyn Sitting, open: &CallId, answered: &CallId) {
    let writes = vec![write("lease/a", "wrong"), ("lease/b".to_owned(), None), write("lease/c", "wrong")];
    assert_eq!(deposed.commit(writes).await, Err(StoreError::Deposed));
    assert_eq!(deposed.reply(vec![(open.clone(), b"wrong".to_vec())]).await, Err(StoreError::Deposed));
    assert_eq!(deposed.hear(QUIET).await, Err(StoreError::Deposed));
    assert_eq!(deposed.stay().await, Err(StoreError::Deposed));
    assert_eq!(deposed.take_back_answer(answered).await, Err(StoreError::Deposed));
    assert_eq!(deposed.load().await, Err(StoreError::Deposed));
    assert_eq!(deposed.leave(Vec::new()).await, Err(StoreError::Deposed));
}

pub(crate) async fn a_deposed_steward_changes_nothing(server: &mut impl Server) {
    let (one, other, caller) = (server.open("d"), server.open("d"), id());
    let (answered, open) = (call(&caller, 1), call(&caller, 2));
    let deposed = sit(&one).await;
    deposed.commit(vec![write("lease/a", "1"), write("lease/b", "2")]).await.expect("written");
    let sitting = sit_soon(&other).await;
    other.post(&answered, b"one?".to_vec(), KEPT).await.expect("posted");
    sitting.reply(vec![(answered.clone(), b"one".to_vec())]).await.expect("answered");
    assert_eq!(other.post(&open, b"two?".to_vec(), KEPT).await, Ok(Seat::Taken));

    is_deposed(&*deposed, &open, &answered).await;

    sitting.stay().await.expect("it still sits");
    assert_eq!(load(&*sitting).await, vec![record("lease/a", "1"), record("lease/b", "2")]);
    let heard = until_heard(&*sitting, &open).await;
    assert_eq!(heard, b"two?");
    assert_eq!(answer(&one, &caller).await, (1, b"one".to_vec()));
    no_answer(&one, &caller).await;
}

/// Hears until this call comes; says what it asks.
async fn until_heard(sitting: &dyn Sitting, call: &CallId) -> Vec<u8> {
    loop {
        for heard in hear(sitting, 1).await {
            match heard {
                Heard::Call { id, request } if &id == call => return request,
                _ => {}
            }
        }
    }
}

pub(crate) async fn a_steward_after_whom_another_sat_is_deposed_though_nobody_sits(server: &mut impl Server) {
    let (one, other, caller) = (server.open("d"), server.open("d"), id());
    let deposed = sit(&one).await;
    let between = sit_soon(&other).await;
    between.commit(vec![write("lease/a", "1"), write("lease/b", "2")]).await.expect("written");
    let (answered, open) = (call(&caller, 1), call(&caller, 2));
    other.post(&answered, b"one?".to_vec(), KEPT).await.expect("posted");
    between.reply(vec![(answered.clone(), b"one".to_vec())]).await.expect("answered");
    between.leave(Vec::new()).await.expect("left");
    assert_eq!(other.post(&open, b"two?".to_vec(), KEPT).await, Ok(Seat::Empty));

    is_deposed(&*deposed, &open, &answered).await;

    assert_eq!(other.seat().await, Ok(Seat::Empty));
    let sitting = sit(&other).await;
    assert_eq!(load(&*sitting).await, vec![record("lease/a", "1"), record("lease/b", "2")]);
    assert_eq!(hear(&*sitting, 1).await, vec![asked(open, b"two?")]);
    assert_eq!(answer(&one, &caller).await, (1, b"one".to_vec()));
    no_answer(&one, &caller).await;
}

pub(crate) async fn a_call_waits_for_a_steward(server: &mut impl Server) {
    let (caller, steward, who) = (server.open("d"), server.open("d"), id());
    for number in 1..=3 {
        assert_eq!(caller.post(&call(&who, number), vec![b'?'], KEPT).await, Ok(Seat::Empty));
    }
    let sitting = sit(&steward).await;
    let mut heard = hear(&*sitting, 3).await;
    heard.sort_by_key(|heard| match heard {
        Heard::Call { id, .. } | Heard::Gone(id) => id.number,
    });
    assert_eq!(heard, (1..=3).map(|number| asked(call(&who, number), b"?")).collect::<Vec<_>>());
    hear_nothing(&*sitting).await;
}

pub(crate) async fn a_call_is_heard_at_once(server: &mut impl Server) {
    let (caller, steward, who) = (server.open("d"), server.open("d"), id());
    let sitting = sit(&steward).await;
    hear_nothing(&*sitting).await;
    let mut quickest = SOON;
    for number in 1..=10 {
        let asked_at = async {
            sleep(Duration::from_millis(50)).await;
            let at = Instant::now();
            assert_eq!(caller.post(&call(&who, number), vec![b'?'], KEPT).await, Ok(Seat::Taken));
            at
        };
        let heard_at = async { (hear(&*sitting, 1).await, Instant::now()) };
        let (asked_at, (heard, heard_at)) = tokio::join!(asked_at, heard_at);
        assert_eq!(heard, vec![asked(call(&who, number), b"?")]);
        quickest = quickest.min(heard_at - asked_at);
    }
    assert!(quickest < Duration::from_millis(100), "the quickest took {quickest:?}");
}

pub(crate) async fn waiting_ends_with_patience(server: &mut impl Server) {
    let (caller, steward, who) = (server.open("d"), server.open("d"), id());
    let sitting = sit(&steward).await;
    hear_nothing(&*sitting).await;
    let patience = Duration::from_secs(1);
    let since = Instant::now();
    let (heard, answer) = tokio::join!(sitting.hear(patience), caller.answer(&who, patience));
    assert_eq!((heard, answer), (Ok(vec![]), Ok(None)));
    let took = since.elapsed();
    assert!(took > patience * 9 / 10 && took < patience * 3, "{took:?}");
    for _ in 0..2 {
        let none =
            timeout(SOON, async { (sitting.hear(Duration::ZERO).await, caller.answer(&who, Duration::ZERO).await) });
        assert_eq!(none.await.expect("no patience, no wait"), (Ok(vec![]), Ok(None)));
    }
}

pub(crate) async fn answers_reach_their_caller_once(server: &mut impl Server) {
    let (one, other, steward) = (server.open("d"), server.open("d"), server.open("d"));
    let (who, another) = (id(), id());
    let sitting = sit(&steward).await;
    one.post(&call(&who, 1), b"one?".to_vec(), KEPT).await.expect("posted");
    other.post(&call(&another, 1), b"other?".to_vec(), KEPT).await.expect("posted");
    hear(&*sitting, 2).await;
    let waiting = async { tokio::join!(answer(&one, &who), answer(&other, &another)) };
    let replying = async {
        sleep(Duration::from_millis(50)).await;
        let answers = vec![(call(&another, 1), b"other".to_vec()), (call(&who, 1), b"one".to_vec())];
        sitting.reply(answers).await.expect("answered");
        sitting.reply(vec![(call(&who, 1), b"again".to_vec())]).await.expect("it is none any more");
    };
    let (answers, ()) = tokio::join!(waiting, replying);
    assert_eq!(answers, ((1, b"one".to_vec()), (1, b"other".to_vec())));
    no_answer(&one, &who).await;
    no_answer(&other, &another).await;
    // One that nobody waited for lies there, also when its caller looks from elsewhere.
    one.post(&call(&who, 2), b"two?".to_vec(), KEPT).await.expect("posted");
    sitting.reply(vec![(call(&who, 2), b"two".to_vec())]).await.expect("answered");
    assert_eq!(answer(&other, &who).await, (2, b"two".to_vec()));
    no_answer(&other, &who).await;
}

pub(crate) async fn many_calls_of_one_caller_are_answered_in_any_order(server: &mut impl Server) {
    const MANY: u64 = 200;
    let (caller, steward, who) = (server.open("d"), server.open("d"), id());
    let sitting = sit(&steward).await;
    let posts = (1..=MANY).map(|number| {
        let (caller, who) = (&caller, &who);
        async move { caller.post(&call(who, number), number.to_string().into_bytes(), KEPT).await }
    });
    assert!(join_all(posts).await.into_iter().all(|posted| posted == Ok(Seat::Taken)));
    let heard = hear(&*sitting, MANY as usize).await;
    let mut answers: Vec<_> = heard
        .into_iter()
        .map(|heard| match heard {
            Heard::Call { id, request } => (id, [b"re: ".as_slice(), &request].concat()),
            Heard::Gone(id) => panic!("{id} is not gone"),
        })
        .collect();
    answers.sort_by_key(|(id, _)| id.number % 7);
    for some in answers.chunks(40) {
        sitting.reply(some.to_vec()).await.expect("answered");
    }
    let mut numbers = Vec::new();
    for _ in 0..MANY {
        let (number, text) = answer(&caller, &who).await;
        assert_eq!(text, format!("re: {number}").into_bytes());
        numbers.push(number);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=MANY).collect::<Vec<_>>());
    no_answer(&caller, &who).await;
}

pub(crate) async fn a_call_taken_back_is_none_any_more(server: &mut impl Server) {
    let (caller, steward, who) = (server.open("d"), server.open("d"), id());
    caller.take_back(&call(&who, 9)).await.expect("there is none, and that is nothing");
    caller.post(&call(&who, 1), b"?".to_vec(), KEPT).await.expect("posted");
    caller.take_back(&call(&who, 1)).await.expect("taken back");
    let sitting = sit(&steward).await;
    hear_nothing(&*sitting).await;
    caller.post(&call(&who, 2), b"?".to_vec(), KEPT).await.expect("posted");
    assert_eq!(hear(&*sitting, 1).await, vec![asked(call(&who, 2), b"?")]);
    caller.take_back(&call(&who, 2)).await.expect("taken back");
    assert_eq!(hear(&*sitting, 1).await, vec![Heard::Gone(call(&who, 2))]);
    sitting.reply(vec![(call(&who, 2), b"late".to_vec())]).await.expect("nothing is answered");
    no_answer(&caller, &who).await;
    // What is over cannot be taken back.
    caller.post(&call(&who, 3), b"?".to_vec(), KEPT).await.expect("posted");
    hear(&*sitting, 1).await;
    sitting.reply(vec![(call(&who, 3), b"three".to_vec())]).await.expect("answered");
    answer(&caller, &who).await;
    caller.take_back(&call(&who, 3)).await.expect("there is none, and that is nothing");
    hear_nothing(&*sitting).await;
}

pub(crate) async fn an_answer_is_taken_back_unless_its_caller_goes_on(server: &mut impl Server) {
    let (caller, steward, who) = (server.open("d"), server.open("d"), id());
    let sitting = sit(&steward).await;
    for number in 1..=3 {
        caller.post(&call(&who, number), b"?".to_vec(), KEPT).await.expect("posted");
        assert_eq!(sitting.take_back_answer(&call(&who, number)).await, Ok(false), "not answered yet");
        sitting.reply(vec![(call(&who, number), number.to_string().into_bytes())]).await.expect("answered");
    }
    assert_eq!(sitting.take_back_answer(&call(&who, 2)).await, Ok(true));
    assert_eq!(sitting.take_back_answer(&call(&who, 2)).await, Ok(false), "it is back already");
    let mut answers = vec![answer(&caller, &who).await, answer(&caller, &who).await];
    answers.sort();
    assert_eq!(answers, vec![(1, b"1".to_vec()), (3, b"3".to_vec())]);
    no_answer(&caller, &who).await;
    caller.post(&call(&who, 4), b"and now?".to_vec(), KEPT).await.expect("posted");
    for number in 1..=3 {
        assert_eq!(sitting.take_back_answer(&call(&who, number)).await, Ok(false), "its caller has it, and goes on");
    }
}

pub(crate) async fn what_one_steward_left_the_next_one_hears(server: &mut impl Server) {
    let (caller, one, other, who) = (server.open("d"), server.open("d"), server.open("d"), id());
    let sitting = sit(&one).await;
    for number in 1..=2 {
        caller.post(&call(&who, number), b"?".to_vec(), KEPT).await.expect("posted");
    }
    hear(&*sitting, 2).await;
    sitting.reply(vec![(call(&who, 1), b"one".to_vec())]).await.expect("answered");
    sitting.leave(Vec::new()).await.expect("left");
    let sitting = sit(&other).await;
    assert_eq!(hear(&*sitting, 1).await, vec![asked(call(&who, 2), b"?")]);
    hear_nothing(&*sitting).await;
    sitting.reply(vec![(call(&who, 2), b"two".to_vec())]).await.expect("answered");
    let mut answers = vec![answer(&caller, &who).await, answer(&caller, &who).await];
    answers.sort();
    assert_eq!(answers, vec![(1, b"one".to_vec()), (2, b"two".to_vec())]);
}

pub(crate) async fn a_call_out_of_time_is_gone(server: &mut impl Server) {
    let (caller, steward, who) = (server.open("d"), server.open("d"), id());
    caller.post(&call(&who, 1), b"?".to_vec(), Duration::from_secs(1)).await.expect("posted");
    caller.post(&call(&who, 2), b"?".to_vec(), KEPT).await.expect("posted");
    until(Duration::from_secs(15), async || {
        let sitting = sit(&steward).await;
        let mut numbers = Vec::new();
        while !numbers.contains(&2) {
            for heard in hear(&*sitting, 1).await {
                match heard {
                    Heard::Call { id, .. } => numbers.push(id.number),
                    Heard::Gone(id) => panic!("{id} was not taken back"),
                }
            }
        }
        let more = sitting.hear(Duration::from_millis(100)).await.expect("heard");
        sitting.leave(Vec::new()).await.expect("left");
        numbers.len() == 1 && more.is_empty()
    })
    .await;
}

pub(crate) async fn hearing_that_is_given_up_loses_no_call(server: &mut impl Server) {
    let (caller, steward, who) = (server.open("d"), server.open("d"), id());
    let sitting = sit(&steward).await;
    for number in 1..=40 {
        let post = caller.post(&call(&who, number), b"?".to_vec(), KEPT);
        let given_up = timeout(Duration::from_micros(number * 100), sitting.hear(SOON));
        let (posted, heard) = tokio::join!(post, given_up);
        posted.expect("posted");
        let is_it = |heard: &Heard| matches!(heard, Heard::Call { id, .. } if id.number == number);
        if heard.is_ok_and(|heard| heard.expect("heard").iter().any(is_it)) {
            continue;
        }
        until_heard(&*sitting, &call(&who, number)).await;
    }
}

pub(crate) async fn long_messages_arrive(server: &mut impl Server) {
    let (caller, steward, who) = (server.open("d"), server.open("d"), id());
    let long = |of: u8| -> Vec<u8> { (0..MESSAGE_BYTES_MAX).map(|at| (at % 251) as u8 ^ of).collect() };
    let sitting = sit(&steward).await;
    for number in 1..=5 {
        caller.post(&call(&who, number), long(number as u8), KEPT).await.expect("posted");
    }
    for heard in hear(&*sitting, 5).await {
        let Heard::Call { id, request } = heard else { panic!("nothing is gone") };
        assert!(request == long(id.number as u8), "call {id} is not what it was");
        sitting.reply(vec![(id.clone(), long(0x80 | id.number as u8))]).await.expect("answered");
    }
    for _ in 1..=5 {
        let (number, text) = answer(&caller, &who).await;
        assert!(text == long(0x80 | number as u8), "answer {number} is not what it was");
    }
}

pub(crate) async fn domains_do_not_see_each_other(server: &mut impl Server) {
    let who = id();
    // One's name begins as the other's does.
    let (one, other) = (server.open("d"), server.open("d.x"));
    let (sitting, another) = (sit(&one).await, sit(&other).await);
    sitting.commit(vec![write("lease/a", "one")]).await.expect("written");
    another.commit(vec![write("lease/a", "other"), write("lease/b", "other")]).await.expect("written");
    assert_eq!(load(&*sitting).await, vec![record("lease/a", "one")]);
    one.post(&call(&who, 1), b"one?".to_vec(), KEPT).await.expect("posted");
    assert_eq!(hear(&*sitting, 1).await, vec![asked(call(&who, 1), b"one?")]);
    hear_nothing(&*another).await;
    another.reply(vec![(call(&who, 1), b"wrong".to_vec())]).await.expect("there is none, and that is nothing");
    sitting.reply(vec![(call(&who, 1), b"one".to_vec())]).await.expect("answered");
    no_answer(&other, &who).await;
    assert_eq!(another.take_back_answer(&call(&who, 1)).await, Ok(false));
    sitting.leave(Vec::new()).await.expect("left");
    assert_eq!((one.seat().await, other.seat().await), (Ok(Seat::Empty), Ok(Seat::Taken)));
    assert_eq!(answer(&one, &who).await, (1, b"one".to_vec()));
    assert_ne!(one.name(), other.name());
}

/// What it must be when the server is not there.
pub(crate) async fn is_away<T: std::fmt::Debug>(doing: impl Future<Output = Result<T, StoreError>>) {
    match timeout(SOON, doing).await.expect("it is said soon") {
        Err(StoreError::Away(_) | StoreError::Unknown(_)) => {}
        wrong => panic!("{wrong:?} of a server that is dead"),
    }
}

pub(crate) async fn a_dead_server_never_does_anything(server: &mut impl Server) {
    let (caller, steward, who) = (server.open("d"), server.open("d"), id());
    let sitting = sit(&steward).await;
    sitting.commit(vec![write("lease/a", "1")]).await.expect("written");
    caller.post(&call(&who, 1), b"?".to_vec(), KEPT).await.expect("posted");
    hear(&*sitting, 1).await;
    // Some wait while it dies, and some come when it is dead.
    let patience = Duration::from_secs(4);
    let dying = async {
        sleep(Duration::from_millis(200)).await;
        server.kill().await;
    };
    let waiting = async { tokio::join!(is_away(sitting.hear(patience)), is_away(caller.answer(&who, patience))) };
    tokio::join!(dying, waiting);
    for _ in 0..2 {
        is_away(sitting.commit(vec![write("lease/a", "2")])).await;
        is_away(sitting.reply(vec![(call(&who, 1), b"one".to_vec())])).await;
        is_away(sitting.take_back_answer(&call(&who, 1))).await;
        is_away(sitting.stay()).await;
        is_away(sitting.hear(QUIET)).await;
        is_away(sitting.load()).await;
        is_away(caller.post(&call(&who, 2), b"?".to_vec(), KEPT)).await;
        is_away(caller.take_back(&call(&who, 1))).await;
        is_away(caller.answer(&who, QUIET)).await;
        is_away(caller.seat()).await;
        is_away(caller.sit(&id())).await;
    }
    is_away(server.open("d").seat()).await;
    // Who asked while it was dead is heard when it is back.
    server.restart().await;
    until(SOON, async || caller.seat().await.is_ok()).await;
    caller.post(&call(&who, 3), b"?".to_vec(), KEPT).await.expect("posted");
}

pub(crate) async fn what_was_committed_outlives_the_server<S: Server>(server: &mut S) {
    let (caller, steward, who) = (server.open("d"), server.open("d"), id());
    let before = sit(&steward).await;
    before.commit(vec![write("lease/a", "1"), write("lease/b", "2"), write("lease/c", "3")]).await.expect("written");
    before.commit(vec![write("lease/a", "one"), ("lease/b".to_owned(), None)]).await.expect("written");
    caller.post(&call(&who, 1), b"?".to_vec(), KEPT).await.expect("posted");
    server.kill().await;
    server.restart().await;
    let sitting = sit_soon(&server.open("d")).await;
    assert_eq!(sitting.may_lack(), S::RESTART_MAY_LACK);
    assert_eq!(load(&*sitting).await, vec![record("lease/a", "one"), record("lease/c", "3")]);
    assert_eq!(hear(&*sitting, 1).await, vec![asked(call(&who, 1), b"?")]);
    sitting.reply(vec![(call(&who, 1), b"one".to_vec())]).await.expect("answered");
    assert_eq!(answer(&caller, &who).await, (1, b"one".to_vec()));
    // It may have to notice first that its connection is gone.
    until(SOON, async || match before.commit(vec![write("lease/a", "wrong")]).await {
        Err(StoreError::Away(_) | StoreError::Unknown(_)) => false,
        refused => refused == Err(StoreError::Deposed) || panic!("{refused:?}"),
    })
    .await;
    // Who has written since knows what there is.
    sitting.commit(vec![write("lease/d", "4")]).await.expect("written");
    sitting.leave(Vec::new()).await.expect("left");
    let sitting = sit(&steward).await;
    assert!(!sitting.may_lack());
    assert_eq!(load(&*sitting).await, vec![record("lease/a", "one"), record("lease/c", "3"), record("lease/d", "4")]);
}

pub(crate) async fn who_leaves_tells_those_who_wait<S: Server>(server: &mut S) {
    let (store, who, other) = (server.open("d"), id(), id());
    let sitting = sit(&store).await;
    for caller in [&who, &other] {
        store.post(&call(caller, 1), b"?".to_vec(), KEPT).await.expect("posted");
    }
    hear(&*sitting, 2).await;
    sitting.leave(vec![(call(&who, 1), b"go on".to_vec())]).await.expect("left");
    assert_eq!(store.seat().await, Ok(Seat::Empty));
    assert_eq!(answer(&store, &who).await, (1, b"go on".to_vec()));
    // The other call waits for whoever sits next.
    let next = sit(&store).await;
    let heard = hear(&*next, 1).await;
    assert!(matches!(&heard[0], Heard::Call { id, .. } if *id == call(&other, 1)), "{heard:?}");
}

pub(crate) async fn an_erased_domain_is_a_new_one<S: Server>(server: &mut S) {
    let (store, who) = (server.open("d"), id());
    let sitting = sit(&store).await;
    sitting.commit(vec![write("lease/a", "1"), write("meta/format", "1")]).await.expect("written");
    store.post(&call(&who, 1), b"?".to_vec(), KEPT).await.expect("posted");
    sitting.erase().await.expect("erased");
    assert_eq!(sitting.commit(vec![write("lease/a", "2")]).await, Err(StoreError::Deposed));
    assert_eq!(store.seat().await, Ok(Seat::Empty));
    let next = sit(&store).await;
    assert!(!next.may_lack());
    assert_eq!(load(&*next).await, []);
    assert_eq!(next.hear(Duration::from_millis(200)).await, Ok(vec![]));
}
