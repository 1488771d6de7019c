//! etcd by its gRPC: a read of the whole cluster's word, and a transaction that compares the key's revision.

use super::etcd::{Fault, Kept, Replaced, innermost, missing, text};
use super::tls;
use crate::config::etcd::EtcdUrl;
use etcd_client::{Client, Compare, CompareOp, ConnectOptions, Error, PutOptions, Txn, TxnOp};
use std::time::Duration;

/// Reads a key.
pub(super) async fn read(url: &EtcdUrl, member: &str, key: &str, within: Duration) -> Result<Kept, Fault> {
    let mut client = connect(url, member, within).await?;
    let found = client.get(key, None).await.map_err(|error| fault(&error))?;
    let kept = found.kvs().first().ok_or_else(|| missing(key, "v3", "v2"))?;
    Ok(Kept { value: text(kept.value())?, revision: kept.mod_revision() })
}

/// Writes a key that is as it was at `revision`. The lease that it may hang on stays.
pub(super) async fn replace(
    url: &EtcdUrl,
    member: &str,
    key: &str,
    value: &str,
    revision: i64,
    within: Duration,
) -> Result<Replaced, Fault> {
    let mut client = connect(url, member, within).await?;
    let put = TxnOp::put(key, value, Some(PutOptions::new().with_ignore_lease()));
    let txn = Txn::new().when([Compare::mod_revision(key, CompareOp::Equal, revision)]).and_then([put]);
    let done = client.txn(txn).await.map_err(|error| fault(&error))?;
    Ok(if done.succeeded() { Replaced::Done } else { Replaced::Moved })
}

/// A connection for one question: an entry is looked at once a minute, and a member that hung is not kept.
async fn connect(url: &EtcdUrl, member: &str, within: Duration) -> Result<Client, Fault> {
    // A member that lost its cluster says so, instead of answering late.
    let mut options = ConnectOptions::new().with_connect_timeout(within).with_timeout(within).with_require_leader(true);
    if let Some((name, password)) = &url.user {
        options = options.with_user(name, password);
    }
    if let Some(tls) = &url.tls {
        options = options.with_tls(tls::of_grpc(tls).await.map_err(Fault::Final)?);
    }
    let scheme = if url.tls.is_some() { "https" } else { "http" };
    Client::connect([format!("{scheme}://{member}")], Some(options)).await.map_err(|error| fault(&error))
}

fn fault(error: &Error) -> Fault {
    match error {
        Error::GRpcStatus(status) => Fault::Away(match std::error::Error::source(status) {
            Some(cause) => innermost(cause),
            None => status.message().to_owned(),
        }),
        other => Fault::Away(innermost(other)),
    }
}
