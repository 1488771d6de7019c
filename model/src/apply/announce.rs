//! Announces a deploy: freezes its targets, and takes the place of the one before.

use crate::apply::join::has_among;
use crate::apply::restored::generations_below;
use crate::apply::{Draft, bounds};
use crate::change::Change;
use crate::history::EntryKind;
use crate::names::{Host, RolloutName, Scope};
use crate::request::{Admin, Announce, Done};
use crate::rollout::{Ended, Progress, Rollout, RolloutState, Tally, Target};
use crate::settings::{SPAN_MS_MAX, Setting, count};
use crate::time::{Time, millis};
use crate::view::View;
use std::time::Duration;

/// Most scopes that one announcement names.
const ONLY_MAX: usize = 1000;

pub(crate) fn announce(draft: &mut Draft<'_>, admin: &Admin, announce: &Announce) -> Done {
    if let Some(refused) = invalid(announce) {
        return refused;
    }
    let (view, now) = (draft.view, draft.now);
    let hosts: Vec<Host> = view
        .members_with(&announce.service)
        .filter(|member| has_among(&announce.only, &announce.service, member))
        .map(|member| member.host.clone())
        .collect();
    if hosts.is_empty() {
        return for_nobody(view, announce);
    }
    if let Some(full) = bounds::rollout(view) {
        return Done::Refused { why: full.why, hint: full.hint };
    }
    let generation = view.generation(&announce.service).max(generations_below(view.token_floor())) + 1;
    let name = RolloutName { service: announce.service.clone(), generation };
    if let Some(newest) = view.newest(&announce.service) {
        let state = newest.state(down_owing(view, &newest.name, now.time));
        if state.is_under_way() && !announce.supersede {
            return Done::UnderWay {
                rollout: newest.name.clone(),
                state,
                by: newest.by.clone(),
                since_ms: millis(now.wall.since(newest.announced.wall)),
                message: newest.message.clone(),
            };
        }
        supersede(draft, admin, newest, state, &name);
    }
    let rules = view.service_rules(&announce.service);
    let targets = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
    let expires_ms = announce.expires_ms.unwrap_or(rules.expires_ms);
    let text = format!("{name} for {}: {}", count(targets, "host", "hosts"), announce.message);
    draft.note(&admin.by, EntryKind::Announced, vec![Scope::Rollout(name.clone())], text);
    draft.push(Change::GenerationUsed { service: announce.service.clone(), generation });
    draft.push(Change::RolloutAnnounced(Rollout {
        name: name.clone(),
        id: admin.operation.clone(),
        message: announce.message.clone(),
        by: admin.by.clone(),
        announced: now,
        only: announce.only.clone(),
        always: announce.always,
        max_failures: announce.max_failures.unwrap_or(rules.max_failures),
        forgiven: 0,
        strict: announce.strict.unwrap_or(rules.strict),
        expires: now.time.plus(Duration::from_millis(expires_ms)),
        expired: false,
        ended: None,
        halted: None,
        tally: Tally { owes: targets, ..Tally::default() },
    }));
    for host in hosts {
        draft.push(Change::TargetMoved(Target { rollout: name.clone(), host, progress: Progress::Owes, report: None }));
    }
    draft.nudges.all_in(&Scope::Service(announce.service.clone()));
    Done::Announced { rollout: name, targets }
}

/// Its service is mistyped, or its workers have not joined yet: announced again when one has, it is taken.
fn for_nobody(view: &View<'_>, announce: &Announce) -> Done {
    let is_anywhere = view.members_with(&announce.service).next().is_some();
    let only = if is_anywhere { announce.only.clone() } else { Vec::new() };
    Done::ForNobody { service: announce.service.clone(), only }
}

fn invalid(announce: &Announce) -> Option<Done> {
    let refused = |why: String, hint: &str| Some(Done::Refused { why, hint: hint.to_owned() });
    if announce.only.len() > ONLY_MAX {
        return refused(format!("--only names at most {ONLY_MAX} scopes"), "name pools instead of hosts");
    }
    if let Some(scope) = announce.only.iter().find(|scope| matches!(scope, Scope::Rollout(_))) {
        return refused(format!("{scope} is no part of the fleet"), "name a pool/, a host/ or a service/");
    }
    let settings = [
        announce.max_failures.map(Setting::MaxFailures),
        announce.expires_ms.map(|ms| Setting::Expires(ms.min(SPAN_MS_MAX + 1))),
    ];
    let wrong = settings.into_iter().flatten().find_map(|setting| setting.check(&Scope::All).err())?;
    refused(wrong.to_string(), "choose a number within the bounds")
}

/// Ends what is not done of the generation before. What is done stays done.
fn supersede(draft: &mut Draft<'_>, admin: &Admin, old: &Rollout, state: RolloutState, by: &RolloutName) {
    let left = old.tally.owes + old.tally.begun > 0;
    if old.ended.is_some() || !left || state == RolloutState::Expired {
        return;
    }
    if state.is_under_way() {
        let text = format!("{} is superseded by {by}", old.name);
        draft.note(&admin.by, EntryKind::Superseded, vec![Scope::Rollout(old.name.clone())], text);
    }
    draft.push(Change::RolloutMoved(Rollout {
        ended: Some(Ended {
            superseded: true,
            by: admin.by.clone(),
            reason: format!("superseded by {by}"),
            at: draft.now.wall,
        }),
        ..old.clone()
    }));
}

/// How many of a rollout's targets owe it and are down.
pub(crate) fn down_owing(view: &View<'_>, name: &RolloutName, now: Time) -> u32 {
    let owing = view.targets(name).filter(|target| target.progress == Progress::Owes);
    let down = owing.filter(|target| view.member(&target.host).is_none_or(|member| member.is_down(now)));
    u32::try_from(down.count()).unwrap_or(u32::MAX)
}
