//! The connections to a Redis: made when something is asked, made anew after one is lost, and what errors on them mean.

use super::address::{Address, CLUSTER, Found, Place, shown};
use crate::store::StoreError;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError, ServerErrorKind, Value,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long connecting may take.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// How long an answer may take, beyond the time for which it may be held.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Most connections that are kept for the next one that waits.
const IDLE_MAX: usize = 16;
/// The oldest Redis that can do what is asked.
const OLDEST: (u32, u32) = (6, 2);

/// The way to the server of an address.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) address: Address,
    /// Held while it is made, by one for all.
    way: tokio::sync::Mutex<Way>,
}

#[derive(Debug, Default)]
struct Way {
    line: Option<Arc<Line>>,
    /// When it could last not be made, and why: who waited for that need not try again.
    failed: Option<(Instant, StoreError)>,
}

/// What is connected to one server: all of it is given up when any of it is lost, so that nobody waits at the old one.
#[derive(Debug)]
struct Line {
    at: Client,
    shared: MultiplexedConnection,
    /// For what waits: each such command has a connection alone.
    idle: Mutex<Vec<MultiplexedConnection>>,
}

impl Link {
    pub(super) fn new(address: Address) -> Link {
        Link { address, way: tokio::sync::Mutex::default() }
    }

    /// Asks on the connection that all share. With `again`, what was perhaps not done is asked once more on a new one.
    pub(super) async fn ask(&self, command: &Cmd, again: bool) -> Result<Value, Failure> {
        let line = self.line().await?;
        match line.shared.clone().send_packed_command(command).await.and_then(Value::extract_error) {
            Err(error) if again && error.is_connection_dropped() => {
                self.give_up(&line).await;
                let line = self.line().await?;
                let asked = line.shared.clone().send_packed_command(command).await;
                self.judge(&line, asked.and_then(Value::extract_error)).await
            }
            asked => self.judge(&line, asked).await,
        }
    }

    /// Asks several things one after the other on the connection that all share. Every one has an answer, or the first that
    /// failed fails all.
    pub(super) async fn ask_in_turn(&self, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        let line = self.line().await?;
        let asked = line.shared.clone().send_packed_commands(commands, 0, commands.len()).await;
        let asked = asked.and_then(|values| Value::Array(values).extract_error());
        match self.judge(&line, asked).await? {
            Value::Array(values) if values.len() == commands.len() => Ok(values),
            _ => Err(StoreError::Unknown(format!("{} answers what makes no sense", self.address)).into()),
        }
    }

    /// Asks what is held at the server for at most `patience`. Given up, the server stops holding it.
    pub(super) async fn wait(&self, command: &Cmd, patience: Duration) -> Result<Value, Failure> {
        let (line, mut connection) = match self.connection_alone().await {
            // What all share may be lost unseen. Nothing was sent yet.
            Err(Failure::Store(StoreError::Away(_))) => self.connection_alone().await?,
            made => made?,
        };
        match timeout(patience + ANSWER_WAIT, connection.send_packed_command(command)).await {
            Ok(Ok(value)) => {
                let value = self.judge(&line, value.extract_error()).await?;
                let mut idle = line.idle();
                if idle.len() < IDLE_MAX {
                    idle.push(connection);
                }
                Ok(value)
            }
            Ok(failed) => self.judge(&line, failed).await,
            Err(_) => {
                self.give_up(&line).await;
                Err(Failure::Store(StoreError::Unknown(format!("{} is silent", self.address))))
            }
        }
    }

    async fn connection_alone(&self) -> Result<(Arc<Line>, MultiplexedConnection), Failure> {
        let line = self.line().await?;
        let idle = line.idle().pop();
        let made = match idle {
            Some(connection) => Ok(connection),
            None => connect(&line.at, None).await,
        };
        match made {
            Ok(connection) => Ok((line, connection)),
            Err(error) => {
                self.give_up(&line).await;
                Err(not_sent(&self.address, &error).into())
            }
        }
    }

    /// Whether the server is fit for use, as it is now.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let info = self.ask(&redis::cmd("INFO"), true).await.map_err(|failure| failure.of(&self.address))?;
        fit(&self.address, &read::<String>(&self.address, info)?)
    }

    /// The connections there are, or new ones.
    async fn line(&self) -> Result<Arc<Line>, Failure> {
        let since = Instant::now();
        let mut way = self.way.lock().await;
        if let Some(line) = &way.line {
            return Ok(line.clone());
        }
        match &way.failed {
            Some((at, error)) if *at >= since => return Err(error.clone().into()),
            _ => {}
        }
        match self.connect_to_it().await {
            Ok(line) => Ok(way.line.insert(Arc::new(line)).clone()),
            Err(error) => {
                way.failed = Some((Instant::now(), error.clone()));
                Err(error.into())
            }
        }
    }

    async fn connect_to_it(&self) -> Result<Line, StoreError> {
        let place = match &self.address.found {
            Found::At(place) => place.clone(),
            Found::By { sentinels, master } => self.ask_sentinels(sentinels, master).await?,
        };
        let not_sent = |error: RedisError| not_sent(&self.address, &error);
        let login = (self.address.user.as_deref(), self.address.password.as_deref());
        let at = client(&place, self.address.tls, login).map_err(not_sent)?;
        let mut shared = connect(&at, Some(ANSWER_WAIT)).await.map_err(not_sent)?;
        let info: String = redis::cmd("INFO").query_async(&mut shared).await.map_err(not_sent)?;
        fit(&self.address, &info)?;
        Ok(Line { at, shared, idle: Mutex::default() })
    }

    /// Where the master is, as the first sentinel says that knows it.
    async fn ask_sentinels(&self, sentinels: &[Place], master: &str) -> Result<Place, StoreError> {
        let mut whys = Vec::new();
        let mut unknown = 0;
        for sentinel in sentinels {
            match ask_sentinel(sentinel, master).await {
                Ok(Some(place)) => return Ok(place),
                Ok(None) => unknown += 1,
                Err(error) => whys.push(format!("{}: {error}", shown(sentinel))),
            }
        }
        if unknown > 0 && whys.is_empty() {
            return Err(StoreError::Unfit(format!("no sentinel of {} knows a master {master:?}", self.address)));
        }
        Err(StoreError::Away(format!("no sentinel of {} says where its master is ({})", self.address, whys.join("; "))))
    }

    /// What each of these sentinels says of where the master is; none of one that is silent or does not know.
    pub(super) async fn each_sentinel(&self, sentinels: &[Place], master: &str) -> Vec<(Place, Option<Place>)> {
        let mut said = Vec::with_capacity(sentinels.len());
        for sentinel in sentinels {
            said.push((sentinel.clone(), ask_sentinel(sentinel, master).await.ok().flatten()));
        }
        said
    }

    /// What an answer means, and whether the connections are still good for anything.
    async fn judge(&self, line: &Arc<Line>, asked: Result<Value, RedisError>) -> Result<Value, Failure> {
        let error = match asked {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let failure = meaning(&self.address, &error);
        if !matches!(failure, Failure::NoScript) {
            self.give_up(line).await;
        }
        Err(failure)
    }

    async fn give_up(&self, lost: &Arc<Line>) {
        let mut way = self.way.lock().await;
        if way.line.as_ref().is_some_and(|line| Arc::ptr_eq(line, lost)) {
            way.line = None;
        }
    }
}

/// Asks one sentinel where a master is; none when it does not know.
async fn ask_sentinel(sentinel: &Place, master: &str) -> Result<Option<Place>, RedisError> {
    let mut connection = connect(&client(sentinel, false, (None, None))?, Some(CONNECT_WAIT)).await?;
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    ask.query_async::<Option<Place>>(&mut connection).await
}

impl Line {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<MultiplexedConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a command has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server does not have the script; nothing was done.
    NoScript,
    Store(StoreError),
}

impl Failure {
    /// The failure of what is no script.
    pub(super) fn of(self, address: &Address) -> StoreError {
        match self {
            Failure::NoScript => StoreError::Away(format!("{address} does not have the script")),
            Failure::Store(error) => error,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Store(error)
    }
}

/// Reads an answer as what it must be.
pub(super) fn read<T: FromRedisValue>(address: &Address, value: Value) -> Result<T, StoreError> {
    redis::from_redis_value(value)
        .map_err(|cause| StoreError::Unknown(format!("{address} answers what makes no sense: {cause}")))
}

fn client(
    (host, port): &Place,
    tls: bool,
    (user, password): (Option<&str>, Option<&str>),
) -> Result<Client, RedisError> {
    let (host, port) = (host.clone(), *port);
    let address = if tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(user) = user {
        settings = settings.set_username(user);
    }
    if let Some(password) = password {
        settings = settings.set_password(password);
    }
    Client::open(address.into_connection_info()?.set_redis_settings(settings))
}

async fn connect(client: &Client, answer_wait: Option<Duration>) -> Result<MultiplexedConnection, RedisError> {
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_WAIT)).set_response_timeout(answer_wait);
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// A failure before anything was sent that could change something.
fn not_sent(address: &Address, error: &RedisError) -> StoreError {
    match meaning(address, error) {
        Failure::Store(StoreError::Unfit(why)) => StoreError::Unfit(why),
        _ if error.to_string().contains("peer certificate") => StoreError::Unfit(format!(
            "{address} is not trusted ({error}); SSL_CERT_FILE names the certificates that are"
        )),
        _ => StoreError::Away(format!("{address} cannot be reached: {error}")),
    }
}

/// What an error means for what was asked.
fn meaning(address: &Address, error: &RedisError) -> Failure {
    let unfit = || StoreError::Unfit(format!("{address} refuses: {error}")).into();
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoScript) => Failure::NoScript,
        ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => unfit(),
        ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot) => {
            StoreError::Unfit(CLUSTER.to_owned()).into()
        }
        ErrorKind::Server(_) | ErrorKind::Extension => match error.code() {
            Some("WRONGPASS" | "NOAUTH" | "NOPERM" | "WRONGTYPE") => unfit(),
            // So says Redis 7.0, and later ones, of a command in a script that the user may not use.
            _ if error
                .detail()
                .is_some_and(|why| why.contains("executing the script") || why.contains("ACL failure")) =>
            {
                unfit()
            }
            // Also READONLY, NOREPLICAS, LOADING, MASTERDOWN, OOM, MISCONF, BUSY, UNBLOCKED: the script's first write was refused.
            _ => StoreError::Away(format!("{address} refuses for now: {error}")).into(),
        },
        ErrorKind::InvalidClientConfig => unfit(),
        _ => StoreError::Unknown(format!("{address}: {error}")).into(),
    }
}

/// Whether a server that says this of itself is fit for use.
fn fit(address: &Address, info: &str) -> Result<(), StoreError> {
    let said = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).unwrap_or_default()
    };
    let unfit = |why: String| Err(StoreError::Unfit(why));
    let version = said("redis_version");
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < OLDEST {
        let (major, minor) = OLDEST;
        return unfit(format!("{address} is Redis {version:?}, and {major}.{minor} is the oldest that will do"));
    }
    if said("redis_mode") == "sentinel" {
        return unfit(format!("{address} is a sentinel: write redis+sentinel://HOST:PORT,HOST:PORT/MASTER"));
    }
    if said("redis_mode") == "cluster" {
        return unfit(CLUSTER.to_owned());
    }
    match said("maxmemory_policy") {
        "noeviction" => {}
        policy => {
            return unfit(format!(
                "{address} may throw leases away when its memory is full (maxmemory-policy {policy}); set it to noeviction"
            ));
        }
    }
    match (said("role"), said("loading")) {
        ("master", "0") => Ok(()),
        ("master", _) => Err(StoreError::Away(format!("{address} is still loading"))),
        (role, _) => Err(StoreError::Away(format!("{address} is no master but a {role}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_of_itself_decides_whether_it_is_used() {
        let address = Address::read("redis://h").expect("an address");
        let good = "redis_version:6.2.0\r\nredis_mode:standalone\r\nmaxmemory_policy:noeviction\r\nrole:master\r\nloading:0\r\n";
        let fit = |from: &str, to: &str| fit(&address, &good.replace(from, to));
        assert_eq!(fit("", ""), Ok(()));
        assert_eq!(fit("6.2.0", "10.0.1"), Ok(()));
        for (from, to, says) in [
            ("6.2.0", "6.0.16", "6.2 is the oldest"),
            ("redis_version:6.2.0", "", "6.2 is the oldest"),
            ("standalone", "cluster", "Redis Cluster"),
            ("standalone", "sentinel", "write redis+sentinel:"),
            ("noeviction", "volatile-lru", "set it to noeviction"),
        ] {
            let error = fit(from, to).expect_err(to);
            assert!(matches!(&error, StoreError::Unfit(why) if why.contains(says)), "{error}");
        }
        for (from, to) in [("master", "slave"), ("loading:0", "loading:1")] {
            assert!(matches!(fit(from, to), Err(StoreError::Away(_))), "{to}");
        }
    }
}
