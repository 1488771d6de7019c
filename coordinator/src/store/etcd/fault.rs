//! What an error of etcd means: whether it was done, whether another member may do better, and what a person must change.

use super::super::StoreError;
use etcd_client::Error;
use tonic::{Code, ConnectError, Status};

/// Why a member did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It was certainly not done, and another member may do it.
    NotDone(String),
    /// It was sent, and no answer came.
    Lost(String),
    /// The lease that a key was to hang on is none any more.
    NoLease,
    /// That revision is forgotten.
    Compacted,
    /// No member can do better.
    Final(StoreError),
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> StoreError {
        match fault {
            Fault::NotDone(why) => StoreError::Away(why),
            Fault::Lost(why) => StoreError::Unknown(why),
            Fault::NoLease => StoreError::Away("etcd forgot the lease that calls hang on; try again".to_owned()),
            Fault::Compacted => StoreError::Away("etcd is compacted faster than it can be read; try again".to_owned()),
            Fault::Final(error) => error,
        }
    }
}

/// The innermost cause, which says most.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}

fn is_connecting(status: &Status) -> bool {
    let mut at: Option<&(dyn std::error::Error + 'static)> = Some(status);
    while let Some(error) = at {
        if error.is::<ConnectError>() {
            return true;
        }
        at = error.source();
    }
    false
}

impl Fault {
    /// What `error` of the member at `endpoint` means.
    pub(super) fn of(error: &Error, endpoint: &str) -> Fault {
        match error {
            Error::GRpcStatus(status) => Fault::of_status(status, endpoint),
            Error::LeaseKeepAliveError(_) => Fault::NoLease,
            // Streams that did not even begin.
            Error::WatchError(why) => Fault::NotDone(format!("etcd at {endpoint}: {why}")),
            _ => {
                let why = innermost(error);
                Fault::Final(StoreError::Unfit(format!("cannot make a connection to etcd at {endpoint}: {why}")))
            }
        }
    }

    fn of_status(status: &Status, endpoint: &str) -> Fault {
        let said = status.message();
        let unfit = |why: String| Fault::Final(StoreError::Unfit(why));
        match status.code() {
            _ if is_connecting(status) => {
                Fault::NotDone(format!("etcd at {endpoint} cannot be reached: {}", innermost(status)))
            }
            Code::Unavailable if said.contains("no leader") => {
                Fault::NotDone(format!("etcd at {endpoint} has no leader: most members of its cluster must run"))
            }
            // The first write that is over the quota is done all the same.
            Code::ResourceExhausted if said.contains("space exceeded") => Fault::Final(StoreError::Unknown(format!(
                "etcd at {endpoint} is full: compact and defragment it or raise --quota-backend-bytes, then say \
                 `etcdctl alarm disarm`"
            ))),
            Code::ResourceExhausted if said.contains("too many requests") => {
                Fault::NotDone(format!("etcd at {endpoint} has too much to do"))
            }
            Code::PermissionDenied => unfit(format!(
                "etcd at {endpoint} does not let this user do it: grant its role read and write of the domain's keys"
            )),
            Code::InvalidArgument if said.contains("authentication failed") => {
                unfit(format!("etcd at {endpoint} does not know this user and password"))
            }
            Code::InvalidArgument if said.contains("user name is empty") => {
                unfit(format!("etcd at {endpoint} wants a user and a password: write etcd://USER:PASSWORD@HOST:PORT"))
            }
            Code::FailedPrecondition if said.contains("authentication is not enabled") => unfit(format!(
                "etcd at {endpoint} knows no users: leave user and password out, or say `etcdctl auth enable`"
            )),
            Code::InvalidArgument if said.contains("too large") => unfit(format!(
                "etcd at {endpoint} takes no long requests: set --max-request-bytes to 1572864, as it is by default"
            )),
            Code::InvalidArgument if said.contains("too many operations") => unfit(format!(
                "etcd at {endpoint} takes no large transactions: set --max-txn-ops to 128, as it is by default"
            )),
            // The next connection brings a token that is valid.
            Code::Unauthenticated => Fault::NotDone(format!("etcd at {endpoint}: {said}")),
            Code::InvalidArgument if said.contains("auth store is old") => {
                Fault::NotDone(format!("etcd at {endpoint}: {said}"))
            }
            Code::NotFound if said.contains("lease not found") => Fault::NoLease,
            Code::OutOfRange if said.contains("compacted") => Fault::Compacted,
            Code::DataLoss => unfit(format!("etcd at {endpoint} is damaged: {said}")),
            _ => Fault::Lost(format!("etcd at {endpoint}: {}", innermost(status))),
        }
    }
}
