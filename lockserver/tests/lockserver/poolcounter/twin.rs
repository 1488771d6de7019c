//! The same scripts, said to poolcounterd and to our door: every connection must hear the same, in the same order.
//!
//! After each step both must have heard the same, and tell the same figures, before the next one is taken: so nothing is
//! under way any more, and no race decides. A line that comes together with another is lost on poolcounterd, so each is sent
//! to it alone, and the next when something came of it; ours hears them all at once, or in pieces. docs/poolcounter.md lists where the
//! two may differ.

use super::House;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How many scripts are said, unless the variable says otherwise.
const SCRIPTS: u64 = 2_000;
const SCRIPTS_VARIABLE: &str = "STAGGER_POOLCOUNTER_SCRIPTS";
/// The first script's number; a failed one is said alone with its own, and one script.
const FIRST_VARIABLE: &str = "STAGGER_POOLCOUNTER_FIRST";
/// How many pairs of servers hear scripts at the same time.
const LANES: u64 = 8;
/// Connections of a script.
const CONNECTIONS: usize = 5;
/// Every so many scripts one waits until its waits are over.
const SLOW_EVERY: u64 = 100;
/// How long two servers that agree may take to.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer than the waits of a slow script.
const OVER: Duration = Duration::from_millis(1_150);

/// A poolcounterd of our own.
struct Daemon {
    child: Child,
    address: SocketAddr,
}

impl Daemon {
    fn start() -> Daemon {
        // It takes a socket that it is given as its standard input, so any port will do.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let started = Command::new("poolcounterd").stdin(Stdio::from(OwnedFd::from(listener))).spawn();
        let child = started.unwrap_or_else(|error| {
            panic!("poolcounterd cannot be started: {error}; RUNLEVEL=1 apt-get install poolcounter has it")
        });
        Daemon { child, address }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Numbers that are the same for the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        let mut random = Random(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random.below(1);
        random
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % bound as u64).expect("small")
    }

    fn of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[self.below(choice.len())]
    }
}

/// What is done on one connection, or by all.
#[derive(Debug)]
enum Step {
    /// Says lines; ours hears them cut at these places.
    Say {
        connection: usize,
        lines: Vec<Vec<u8>>,
        cuts: Vec<usize>,
    },
    Close {
        connection: usize,
    },
    /// Waits until short waits are over.
    Wait,
}

fn script(seed: u64) -> Vec<Step> {
    let mut random = Random::new(seed);
    let mut steps = Vec::new();
    for _ in 0..6 + random.below(16) {
        let connection = random.below(CONNECTIONS);
        if random.below(9) == 0 {
            steps.push(Step::Close { connection });
            continue;
        }
        let count = random.of(&[1, 1, 1, 2, 2, 6]);
        let lines: Vec<Vec<u8>> = (0..count).map(|_| line(&mut random, seed)).collect();
        let length: usize = lines.iter().map(Vec::len).sum();
        let mut cuts: Vec<usize> = (0..random.of(&[0, 0, 1, 3])).map(|_| random.below(length)).collect();
        cuts.sort_unstable();
        steps.push(Step::Say { connection, lines, cuts });
    }
    if seed.is_multiple_of(SLOW_EVERY) {
        steps.extend((0..CONNECTIONS).map(|connection| Step::Close { connection }));
        for connection in 0..CONNECTIONS {
            let line = format!("{} slow-{seed} 1 9 1\n", random.of(&["ACQ4ME", "ACQ4ANY"]));
            steps.push(Step::Say { connection, lines: vec![line.into_bytes()], cuts: Vec::new() });
        }
        steps.push(Step::Wait);
        let lines = vec![b"RELEASE\n".to_vec()];
        steps.extend((0..CONNECTIONS).map(|connection| Step::Say {
            connection,
            lines: lines.clone(),
            cuts: Vec::new(),
        }));
    }
    steps
}

/// A line with its end, at most as long as both take.
fn line(random: &mut Random, seed: u64) -> Vec<u8> {
    let mut line = match random.below(100) {
        0..55 => acquire(random, seed),
        55..80 => random.of(&["RELEASE", "RELEASE", "RELEASE key", "RELEASED", "RELEASE  a  b c", "RELEASE\0x"]).into(),
        80..90 => stats(random).into(),
        _ => odd(random),
    };
    line.truncate(1_022);
    line.extend_from_slice(random.of(&[b"\n", b"\n", b"\n", b"\r\n"]));
    line
}

fn acquire(random: &mut Random, seed: u64) -> Vec<u8> {
    let form = random.of(&["ACQ4ME", "ACQ4ME", "ACQ4ANY"]);
    let key = format!("{}{seed}", random.of(&["a", "b", "c:_", "\u{fc}"]));
    let (workers, queue, timeout) =
        (random.of(&[1, 1, 2, 3]), random.of(&[1, 2, 3, 4, 9]), random.of(&[0, 60, 60, 60]));
    let numbers = [
        "0",
        "00",
        "01",
        "-1",
        "+1",
        "1x",
        "x",
        "1.5",
        "4294967295",
        "4294967296",
        "4294967297",
        "2147483648",
        "99999999999999999999",
        "18446744073709551617",
        "1\r",
        "\t1",
        "1\t",
        "\u{661}",
    ];
    let text = match random.below(12) {
        0 => format!("{form}   {key}  {workers}    {queue} {timeout}   "),
        1 => format!("{form} {key} {workers} {queue} {timeout} more words"),
        2 => format!("{form} {key} {} {queue} {timeout}", random.of(&numbers)),
        3 => format!("{form} {key} {workers} {} {timeout}", random.of(&numbers)),
        // A wait of a few seconds would end at some moment, and never on poolcounterd when something is said meanwhile.
        4 => format!(
            "{form} {key} {workers} {queue} {}",
            random.of(&["0", "-1", "60x", "x", "4294967296", "4294967295"])
        ),
        5 => {
            let cut = 6 + random.below(20);
            format!("{form} {key} {workers} {queue} {timeout}").chars().take(cut).collect()
        }
        6 => format!("{form} {key}\0 {workers} {queue} {timeout}\0"),
        7 => format!("{form} {}{key} {workers} {queue} {timeout}", "k".repeat(random.of(&[1, 200, 980]))),
        _ => format!("{form} {key} {workers} {queue} {timeout}"),
    };
    text.into_bytes()
}

fn stats(random: &mut Random) -> &'static str {
    random.of(&[
        "STATS FULL",
        "STATS full",
        "STATS uptime",
        "STATS total_acquired",
        "STATS Total_Releases",
        "STATS FULL ",
        "STATS hashtable_entries",
        "STATS processing_workers",
        "STATS waiting_workers",
        "STATS  FULL",
        "STATS",
        "STATS ",
        "STATS full_queues",
        "STATS lock_mismatch",
        "STATS lock_while_waiting",
        "STATS release_mismatch",
        "STATSX",
        "STATS processed_count",
        "STATS connect_errors",
        "STATS failed_sends",
        "STATS waiting time",
        "stats full",
    ])
}

fn odd(random: &mut Random) -> Vec<u8> {
    let words =
        ["", " ", "\0", "\r", "acq4me a 1 1 1", "ACQ4ME", "ACQ4ANY", "ACQ4MEa 1 1 1", "ACQ4ANYX a 1 1 1", " RELEASE"];
    match random.below(4) {
        0 => random.of(&words).into(),
        1 => vec![b'x'; random.of(&[1, 100, 1_000, 1_022])],
        _ => (0..random.below(40))
            .map(|_| u8::try_from(random.below(256)).expect("a byte"))
            .filter(|byte| *byte != b'\n')
            .collect(),
    }
}

/// One connection, and what it has heard since the last step.
struct Client {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Client {
    fn new(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        stream.set_nonblocking(true).expect("a socket");
        Client { stream, heard: Vec::new() }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("a server that hears");
    }

    /// Hears what there is. Returns how much that is by now.
    fn hear(&mut self) -> usize {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the server closed a connection"),
                Ok(bytes) => {
                    self.heard.extend_from_slice(&buffer[..bytes]);
                    if bytes < buffer.len() {
                        return self.heard.len();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.heard.len(),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// One of the two servers, and the connections to it.
struct Side {
    address: SocketAddr,
    /// Where the figures are asked for.
    control: TcpStream,
    clients: Vec<Option<Client>>,
    /// Whether lines may come together, and in pieces.
    takes_any: bool,
    /// How many wait, when that is known.
    known_waiting: Option<i64>,
}

/// What a server tells of itself.
#[derive(Debug, PartialEq, Eq)]
struct Figures {
    /// All that must be the same.
    same: String,
    /// How many wait. poolcounterd loses count of those who give up.
    waiting: i64,
}

impl Side {
    fn new(address: SocketAddr, takes_any: bool) -> Side {
        let control = TcpStream::connect(address).expect("a connection");
        control.set_nodelay(true).expect("a socket");
        control.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let clients = (0..CONNECTIONS).map(|_| None).collect();
        Side { address, control, clients, takes_any, known_waiting: None }
    }

    /// Asks on the connection that is there for it.
    fn ask(&mut self, line: &str, end: &str) -> String {
        self.control.write_all(line.as_bytes()).expect("a server that hears");
        let (mut answer, mut buffer) = (Vec::new(), [0; 2048]);
        while !answer.ends_with(end.as_bytes()) {
            let bytes = self.control.read(&mut buffer).expect("a server that answers");
            assert!(bytes > 0, "the server is gone");
            answer.extend_from_slice(&buffer[..bytes]);
        }
        String::from_utf8(answer).expect("text")
    }

    fn figures(&mut self) -> Figures {
        let full = self.ask("STATS FULL\n", "\n\n");
        self.known_waiting = Some(waiting(&full));
        Figures { same: same(full.as_bytes()), waiting: waiting(&full) }
    }

    fn waiting(&mut self) -> i64 {
        waiting(&self.ask("STATS waiting_workers\n", "\n"))
    }

    fn client(&mut self, number: usize) -> &mut Client {
        let address = self.address;
        self.clients[number].get_or_insert_with(|| Client::new(address))
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Close { connection } => drop(self.clients[*connection].take()),
            // The lane waits, for both.
            Step::Wait => {}
            Step::Say { connection, lines, cuts } if self.takes_any => {
                let whole: Vec<u8> = lines.concat();
                let mut from = 0;
                for to in cuts.iter().copied().chain([whole.len()]) {
                    self.client(*connection).say(&whole[from..to]);
                    from = to;
                }
            }
            Step::Say { connection, lines, .. } => lines.iter().for_each(|line| self.say_alone(*connection, line)),
        }
    }

    /// Says a line, and waits until it is answered, or stands in a queue.
    fn say_alone(&mut self, connection: usize, line: &[u8]) {
        let before = self.known_waiting.unwrap_or_else(|| self.waiting());
        // Everything was heard before this step, and nobody else says anything in it.
        let heard = self.client(connection).heard.len();
        self.client(connection).say(line);
        let start = Instant::now();
        loop {
            let now = self.waiting();
            // Only a release changes how many wait and is answered too; how many that were may not be known yet.
            self.known_waiting = Some(now).filter(|_| !line.starts_with(b"RELEASE"));
            if self.client(connection).hear() > heard || now != before && line.starts_with(b"ACQ4") {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "nothing comes of {:?}", String::from_utf8_lossy(line));
        }
    }

    /// What each connection has heard since the last step.
    fn heard(&mut self) -> Vec<String> {
        let heard = |client: &mut Option<Client>| {
            let Some(client) = client else { return String::new() };
            client.hear();
            same(&client.heard)
        };
        self.clients.iter_mut().map(heard).collect()
    }

    /// Forgets what was heard.
    fn go_on(&mut self) {
        self.clients.iter_mut().flatten().for_each(|client| client.heard.clear());
    }
}

fn waiting(figures: &str) -> i64 {
    let count = figures.lines().find_map(|line| line.strip_prefix("waiting_workers: "));
    count.and_then(|count| count.parse().ok()).expect("a count")
}

/// What must be the same of what is heard: no times, and nothing where the list says that the two differ.
fn same(heard: &[u8]) -> String {
    let heard = String::from_utf8_lossy(heard).replace("ERROR WRONG_STAT\n", "ERROR WRONG_STAT");
    let lines = heard.split_inclusive('\n').map(|line| match line.split_once(": ") {
        Some((name, _)) if name.ends_with("time") || name.contains(" time for ") => format!("{name}: so long\n"),
        Some((name, _)) if name.ends_with("waiting_workers") || name.ends_with("failed_sends") => {
            format!("{name}: some\n")
        }
        _ => line.to_owned(),
    });
    lines.collect()
}

/// Takes a step on both sides, and waits until they agree. Returns the last that they said when they do not.
fn agree(sides: &mut [Side; 2], step: &Step, lost_count: &mut i64) -> Result<(), String> {
    if let Step::Wait = step {
        let start = Instant::now();
        while start.elapsed() < OVER {
            std::thread::park_timeout(OVER);
        }
    }
    sides.iter_mut().for_each(|side| side.take(step));
    let may_lose_count =
        matches!(step, Step::Say { lines, .. } if lines.iter().any(|line| line.starts_with(b"RELEASE")));
    let start = Instant::now();
    loop {
        let [theirs, ours] = sides.each_mut().map(|side| (side.figures(), side.heard()));
        let lost = theirs.0.waiting - ours.0.waiting;
        let counts = lost == *lost_count || may_lose_count && lost > *lost_count;
        if (&theirs.0.same, &theirs.1) == (&ours.0.same, &ours.1) && counts {
            *lost_count = lost;
            sides.iter_mut().for_each(Side::go_on);
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("theirs: {theirs:#?}\nours: {ours:#?}"));
        }
    }
}

/// Says the scripts of one lane to both.
fn lane(door: SocketAddr, scripts: impl Iterator<Item = u64>) {
    let daemon = Daemon::start();
    let mut sides = [Side::new(daemon.address, false), Side::new(door, true)];
    let mut lost_count = 0;
    for seed in scripts {
        let mut steps = script(seed);
        steps.extend((0..CONNECTIONS).map(|connection| Step::Close { connection }));
        for (count, step) in steps.iter().enumerate() {
            // What is closed already is no step.
            let is_closed = |connection: &usize| sides.iter().all(|side| side.clients[*connection].is_none());
            if matches!(step, Step::Close { connection } if is_closed(connection)) {
                continue;
            }
            if let Err(said) = agree(&mut sides, step, &mut lost_count) {
                let transcript = transcript(&steps[..=count]);
                panic!(
                    "the two differ at the end of script {seed}; {FIRST_VARIABLE}={seed} {SCRIPTS_VARIABLE}=1 says it alone\n\
                     {transcript}\n{said}"
                );
            }
        }
        for side in &mut sides {
            for figure in ["processing_workers", "hashtable_entries"] {
                assert_eq!(side.ask(&format!("STATS {figure}\n"), "\n"), format!("{figure}: 0\n"), "script {seed}");
            }
        }
    }
}

fn transcript(steps: &[Step]) -> String {
    let line = |step: &Step| match step {
        Step::Say { connection, lines, cuts } => {
            let text = lines.iter().map(|line| String::from_utf8_lossy(line).escape_debug().take(80).collect());
            format!("{connection}: {} (cut at {cuts:?})", text.collect::<Vec<String>>().join(" "))
        }
        Step::Close { connection } => format!("{connection} closes"),
        Step::Wait => "all wait".to_owned(),
    };
    steps.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[tokio::test]
async fn both_say_the_same() {
    let (first, count) = (variable(FIRST_VARIABLE, 0), variable(SCRIPTS_VARIABLE, SCRIPTS));
    let mut lanes = Vec::new();
    for number in 0..LANES.min(count) {
        let house = House::open().await;
        let (door, step) = (house.door, usize::try_from(LANES).expect("small"));
        let scripts = (first + number..first + count).step_by(step);
        lanes.push((house, tokio::task::spawn_blocking(move || lane(door, scripts))));
    }
    for (house, lane) in lanes {
        lane.await.expect("a lane without a difference");
        house.server.stop().await.expect("a clean end");
    }
}
