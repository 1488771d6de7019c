//! A look at the setup of an etcd: what may lose leases, or stop them.

use super::domain::Domain;
use super::fault::Fault;
use crate::store::finding::is_loopback;
use crate::store::{Finding, StoreError};
use etcd_client::{AlarmAction, AlarmType, Client, Error, GetOptions, ResponseHeader, StatusResponse};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tonic::Code;

/// How long a member may take to answer.
const MEMBER_WAIT: Duration = Duration::from_secs(4);
/// How large the database may be before somebody should look: three quarters of the quota that etcd has unless told otherwise,
/// 2 GiB.
const DATABASE_BYTES_LOOK: i64 = 1_536 * 1024 * 1024;
/// What is done about a database that has become too large.
const MAKE_ROOM: &str =
    "run etcd with --auto-compaction-retention=1h; now: etcdctl compact REVISION, etcdctl defrag, etcdctl alarm disarm";

/// Looks at everything; fails only when nothing can be asked.
pub(super) async fn examine(domain: &Domain) -> Result<Vec<Finding>, StoreError> {
    let (endpoints, options) = domain.link.endpoints();
    let mut found = Vec::new();
    let mut reached = None;
    for endpoint in endpoints {
        let looking = async {
            let client = Client::connect([endpoint], Some(options.clone())).await?;
            let start = Instant::now();
            let status = client.maintenance_client().status().await?;
            Ok::<_, Error>((client, status, start.elapsed()))
        };
        match timeout(MEMBER_WAIT, looking).await {
            Ok(Ok((client, status, took))) => {
                found.push(member(endpoint, &status, took));
                reached.get_or_insert((client, status));
            }
            Ok(Err(cause)) => found.push(gone(endpoint, &said(&cause, endpoint))),
            Err(_) => found.push(gone(endpoint, "it is silent")),
        }
    }
    let Some((client, status)) = reached else {
        let whys: Vec<_> = found.into_iter().map(|finding| finding.seen).collect();
        return Err(StoreError::Away(whys.join("; ")));
    };
    let is_own = is_loopback(endpoints.iter().filter_map(|endpoint| host_of(endpoint)));
    found.extend([members(&client, endpoints.len()).await, database(&status), alarms(&client).await]);
    found.extend([rights(domain, &client).await, width(domain, &client, is_own).await]);
    if !is_own && endpoints.iter().any(|endpoint| endpoint.starts_with("http://")) {
        let advice = "TLS: etcds://…, and --cert-file, --key-file and --client-cert-auth of etcd";
        found.push(Finding::look("encryption", "none, and it is not this machine", advice));
    }
    Ok(found)
}

/// What an error means, in the words that every command has for it.
fn said(cause: &Error, endpoint: &str) -> String {
    StoreError::from(Fault::of(cause, endpoint)).to_string()
}

/// The host of `http://HOST:PORT`.
fn host_of(endpoint: &str) -> Option<&str> {
    endpoint.split("://").nth(1)?.rsplit_once(':').map(|(host, _)| host)
}

fn gone(endpoint: &str, why: &str) -> Finding {
    Finding::wrong(
        "member",
        if why.contains(endpoint) { why.to_owned() } else { format!("{endpoint}: {why}") },
        "start it, or leave it out of the URL on every host",
    )
}

fn member(endpoint: &str, status: &StatusResponse, took: Duration) -> Finding {
    let role = match status.header().map(ResponseHeader::member_id) {
        Some(own) if own == status.leader() => "leads",
        _ if status.is_learner() => "learns",
        _ => "follows",
    };
    let seen = format!("{endpoint}: etcd {}, {role}, {:.1} ms", status.version(), took.as_secs_f64() * 1e3);
    if status.leader() == 0 {
        let advice = "start the others: most members must be there";
        return Finding::wrong("member", format!("{seen}, and knows no leader"), advice);
    }
    match status.errors() {
        [] => Finding::fine("member", seen),
        errors => Finding::wrong("member", format!("{seen}: {}", errors.join(", ")), MAKE_ROOM),
    }
}

async fn members(client: &Client, named: usize) -> Finding {
    let list = match client.cluster_client().member_list().await {
        Ok(list) => list,
        Err(cause) => {
            return Finding::look("members", cause.to_string(), "look with a user that may: etcdctl member list");
        }
    };
    match list.members().len() {
        count if count < 3 => Finding::look(
            "members",
            format!("{count}: while one is gone nothing is decided"),
            "three or five, on machines of their own",
        ),
        count if count > named => Finding::look(
            "members",
            format!("{count}, and the URL names {named}"),
            "name all of them: when one does not serve, the next is asked",
        ),
        count => Finding::fine("members", format!("{count}, all named in the URL")),
    }
}

fn database(status: &StatusResponse) -> Finding {
    let mib = |bytes: i64| bytes / 1024 / 1024;
    let seen = format!("{} MiB, {} in use", mib(status.db_size()), mib(status.raft_used_db_size()));
    match status.db_size() >= DATABASE_BYTES_LOOK {
        true => Finding::look("database", format!("{seen}; the quota is 2 GiB unless set"), MAKE_ROOM),
        false => Finding::fine("database", seen),
    }
}

async fn alarms(client: &Client) -> Finding {
    let alarms = client.maintenance_client().alarm(AlarmAction::Get, AlarmType::None, None).await;
    let alarms = match alarms {
        Ok(alarms) => alarms,
        Err(cause) => {
            return Finding::look("alarms", cause.to_string(), "look with a user that may: etcdctl alarm list");
        }
    };
    let mut kinds: Vec<&str> = (alarms.alarms().iter())
        .map(|alarm| match alarm.alarm() {
            AlarmType::Nospace => "NOSPACE",
            AlarmType::Corrupt => "CORRUPT",
            AlarmType::None => "unknown",
        })
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    match kinds.is_empty() {
        true => Finding::fine("alarms", "none"),
        false => Finding::wrong("alarms", format!("{}: nothing is decided", kinds.join(", ")), MAKE_ROOM),
    }
}

/// Whether this user may do what is needed.
async fn rights(domain: &Domain, client: &Client) -> Finding {
    let (prefix, key) = (domain.whole(), domain.try_key());
    let mut kv = client.kv_client();
    let tried = async {
        let any = GetOptions::new().with_prefix().with_keys_only().with_limit(1);
        kv.get(prefix.as_str(), Some(any)).await?;
        kv.put(key.as_str(), "", None).await?;
        kv.delete(key.as_str(), None).await
    };
    match tried.await {
        Ok(_) => Finding::fine("rights", "all that are needed"),
        Err(Error::GRpcStatus(status)) if status.code() == Code::PermissionDenied => {
            Finding::wrong("rights", "this user may not read and write its domain", grant(&prefix))
        }
        Err(cause) => {
            let seen = said(&cause, &prefix).replace(&format!(" at {prefix}"), "");
            Finding::wrong("writing", seen, "what refuses it stands in this line: put that right")
        }
    }
}

fn grant(prefix: &str) -> String {
    format!("etcdctl role grant-permission ROLE --prefix=true readwrite {prefix}")
}

/// Whether this user, or anybody, may do more.
async fn width(domain: &Domain, client: &Client, is_own: bool) -> Finding {
    let all = GetOptions::new().with_all_keys().with_keys_only().with_limit(1);
    let may_do_more = match client.kv_client().get("", Some(all)).await {
        Ok(_) => true,
        Err(Error::GRpcStatus(status)) if status.code() == Code::PermissionDenied => false,
        Err(cause) => return Finding::look("who may ask", format!("unknown: {cause}"), "ask again"),
    };
    match may_do_more {
        false => Finding::fine("who may ask", "a user with no more rights than are needed"),
        true if is_own => Finding::fine("who may ask", "this machine, as far as the URL says"),
        true => {
            let advice = format!("a user of its own: {}", grant(&domain.whole()));
            Finding::look("who may ask", "whoever asks so may read every key", advice)
        }
    }
}
