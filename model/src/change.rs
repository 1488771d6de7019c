//! Changes: the only language of writing. Applied in memory, put into a store, told to whoever watches.
//!
//! Every change touches exactly one record, named by its [`Key`]; so a store needs to know nothing else.

use crate::defaults::Defaults;
use crate::history::Entry;
use crate::lease::{Lease, Ticket};
use crate::member::{Member, Pause};
use crate::names::{Generation, Holder, Host, Id, Pool, RolloutName, Scope, Service, Token};
use crate::passage::Passage;
use crate::request::{Act, Done};
use crate::rollout::{Rollout, Target};
use crate::settings::{Override, SettingKind};
use crate::state::Stored;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One thing that became different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A waiter took a ticket, or got its old one back.
    TicketTaken(Ticket),
    /// A waiter asked again. Not worth a disk: a coordinator that starts again hears of it soon.
    TicketHeard(Ticket),
    /// A younger waiter went first.
    TicketPassed(Ticket),
    /// A waiter left the queue.
    TicketDropped(Holder),
    /// A pool's fencing token was used.
    TokenUsed {
        /// The pool.
        pool: Pool,
        /// The highest token ever granted in it.
        token: Token,
    },
    /// No pool's next token is this or a lower one any more.
    TokensRaised(Token),
    /// A lease was granted.
    LeaseGranted(Lease),
    /// A holder is still there. Not worth a disk: a coordinator that starts again grants everyone a fresh time to live.
    LeaseRenewed(Lease),
    /// A holder came back in time.
    LeaseReturned(Lease),
    /// A restart act was allowed to begin.
    LeaseBegun(Lease),
    /// A host failed and keeps its slot.
    LeaseFailed(Lease),
    /// A holder stopped renewing.
    LeaseLost(Lease),
    /// A lease ended; its slots are free.
    LeaseEnded(Holder),
    /// A worker joined, or told something new.
    MemberJoined(Member),
    /// A worker is still there, or fell silent. Not worth a disk.
    MemberHeard(Member),
    /// A host is gone for good.
    MemberForgotten(Host),
    /// Something is to stand still.
    Paused(Pause),
    /// A pause ended.
    Resumed(Scope),
    /// A setting changed.
    Configured(Override),
    /// The lock server's file says something else now.
    DefaultsLoaded(Defaults),
    /// A setting went back.
    Reverted {
        /// Where.
        scope: Scope,
        /// Which.
        kind: SettingKind,
    },
    /// A service's newest generation.
    GenerationUsed {
        /// The service.
        service: Service,
        /// Its newest generation.
        generation: Generation,
    },
    /// A rollout was announced.
    RolloutAnnounced(Rollout),
    /// A rollout ended, halted, went on, or its tally moved.
    RolloutMoved(Rollout),
    /// A rollout and its reports are no longer kept.
    RolloutForgotten(RolloutName),
    /// A target's progress, or its report.
    TargetMoved(Target),
    /// A target is none any more.
    TargetForgotten {
        /// Of which rollout.
        rollout: RolloutName,
        /// Which host.
        host: Host,
    },
    /// A person's change was carried out; the same again answers the same.
    OperationDone(Operation),
    /// An operation is too old to be repeated.
    OperationForgotten(Id),
    /// Something for the history.
    Noted(Entry),
    /// A history entry is too old to be kept.
    EntryForgotten(u64),
    /// The domain's passage is a step further.
    PassageMoved(Passage),
    /// A record came from the domain's old coordinator.
    Brought(Box<Stored>),
    /// A record of before the domain came here is gone.
    Cleared(Box<Stored>),
}

/// A person's change that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its random name.
    pub id: Id,
    /// What was asked; nothing in records of versions that did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Act>,
    /// What was answered.
    pub answer: Done,
    /// When.
    pub at: Time,
}

/// The name of one record, readable as a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each names the record of the same name")]
pub enum Key {
    Ticket(Holder),
    Token(Pool),
    TokenFloor,
    Lease(Holder),
    Member(Host),
    Pause(Scope),
    Setting(Scope, SettingKind),
    Defaults,
    Generation(Service),
    Rollout(RolloutName),
    Target(RolloutName, Host),
    Operation(Id),
    Entry(u64),
    Passage,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Ticket(holder) => write!(f, "ticket/{holder}"),
            Key::Token(pool) => write!(f, "token/{pool}"),
            Key::TokenFloor => f.write_str("token_floor"),
            Key::Lease(holder) => write!(f, "lease/{holder}"),
            Key::Member(host) => write!(f, "member/{host}"),
            Key::Pause(scope) => write!(f, "pause/{scope}"),
            Key::Setting(scope, kind) => write!(f, "setting/{scope}/{}", kind.word()),
            Key::Defaults => f.write_str("defaults"),
            Key::Generation(service) => write!(f, "generation/{service}"),
            Key::Rollout(name) => write!(f, "rollout/{name}"),
            Key::Target(name, host) => write!(f, "target/{name}/{host}"),
            Key::Operation(id) => write!(f, "operation/{id}"),
            Key::Entry(number) => write!(f, "history/{number:020}"),
            Key::Passage => f.write_str("passage"),
        }
    }
}

impl Change {
    /// The record that it touches.
    pub fn key(&self) -> Key {
        use Change as C;
        match self {
            C::TicketTaken(ticket) | C::TicketHeard(ticket) | C::TicketPassed(ticket) => {
                Key::Ticket(ticket.holder.clone())
            }
            C::TicketDropped(holder) => Key::Ticket(holder.clone()),
            C::TokenUsed { pool, .. } => Key::Token(pool.clone()),
            C::TokensRaised(_) => Key::TokenFloor,
            C::LeaseGranted(lease)
            | C::LeaseRenewed(lease)
            | C::LeaseReturned(lease)
            | C::LeaseBegun(lease)
            | C::LeaseFailed(lease)
            | C::LeaseLost(lease) => Key::Lease(lease.holder.clone()),
            C::LeaseEnded(holder) => Key::Lease(holder.clone()),
            C::MemberJoined(member) | C::MemberHeard(member) => Key::Member(member.host.clone()),
            C::MemberForgotten(host) => Key::Member(host.clone()),
            C::Paused(pause) => Key::Pause(pause.scope.clone()),
            C::Resumed(scope) => Key::Pause(scope.clone()),
            C::Configured(from) => Key::Setting(from.scope.clone(), from.setting.kind()),
            C::DefaultsLoaded(_) => Key::Defaults,
            C::Reverted { scope, kind } => Key::Setting(scope.clone(), *kind),
            C::GenerationUsed { service, .. } => Key::Generation(service.clone()),
            C::RolloutAnnounced(rollout) | C::RolloutMoved(rollout) => Key::Rollout(rollout.name.clone()),
            C::RolloutForgotten(name) => Key::Rollout(name.clone()),
            C::TargetMoved(target) => Key::Target(target.rollout.clone(), target.host.clone()),
            C::TargetForgotten { rollout, host } => Key::Target(rollout.clone(), host.clone()),
            C::OperationDone(operation) => Key::Operation(operation.id.clone()),
            C::OperationForgotten(id) => Key::Operation(id.clone()),
            C::Noted(entry) => Key::Entry(entry.number),
            C::EntryForgotten(number) => Key::Entry(*number),
            C::PassageMoved(_) => Key::Passage,
            C::Brought(record) | C::Cleared(record) => record.key(),
        }
    }

    /// Whether it must be on disk before anyone is answered.
    pub fn is_durable(&self) -> bool {
        !matches!(self, Change::TicketHeard(_) | Change::LeaseRenewed(_) | Change::MemberHeard(_))
    }
}
