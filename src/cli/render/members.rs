//! The members: who is known, alive or down, and who is out of a balancer, by whose doing.

use super::table::table;
use super::text::{age, clean};
use model::lease::LeaseState;
use model::member::{Presence, Sighting};
use model::names::Scope;
use model::read::MemberRow;

/// Which members are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Filter {
    /// Only those that are down.
    pub(crate) down: bool,
    /// Only those that are not in rotation everywhere, as far as is known.
    pub(crate) out: bool,
}

impl Filter {
    /// Whether a member is shown.
    pub(crate) fn keeps(self, row: &MemberRow) -> bool {
        (!self.down || row.down) && (!self.out || row.presence != Presence::In || !row.in_although.is_empty())
    }
}

/// One line per member within a scope, and how many there are.
pub(crate) fn members(rows: &[MemberRow], filter: Filter, scope: Option<&Scope>) -> String {
    if rows.is_empty() {
        let none = match (filter.down, filter.out) {
            (false, false) if scope.is_some() => "no member",
            (false, false) => "no member: no worker has joined",
            (true, false) => "no member is down",
            (false, true) => "no member is out of a balancer",
            (true, true) => "no member is down and out of a balancer",
        };
        return match scope {
            Some(scope) if !filter.down && !filter.out => format!("{none} of {scope}"),
            Some(scope) => format!("{none}, of {scope}"),
            None => none.to_owned(),
        };
    }
    let down = rows.iter().filter(|row| row.down).count();
    let troubled: Vec<&MemberRow> = rows.iter().filter(|row| !row.trouble.is_empty()).collect();
    let text =
        table(&["HOST", "STATE", "SEEN", "VERSION", "LEASE", "SERVICES", "OUT OF"], rows.iter().map(cells).collect());
    let mut lines = vec![text];
    lines.extend(troubled.iter().map(|row| format!("{}: {}", row.host, clean(&row.trouble))));
    let trouble = if troubled.is_empty() { String::new() } else { format!(", {} in trouble", troubled.len()) };
    lines.push(format!("{}, {down} down{trouble}", super::text::count(rows.len(), "member")));
    lines.join("\n")
}

fn state(row: &MemberRow) -> &'static str {
    match (row.down, row.trouble.is_empty()) {
        (true, _) => "down",
        (false, true) => "alive",
        (false, false) => "trouble",
    }
}

fn cells(row: &MemberRow) -> Vec<String> {
    let services = row.services.keys().map(ToString::to_string).collect::<Vec<_>>();
    vec![
        row.host.to_string(),
        state(row).to_owned(),
        age(row.heard_ms),
        clean(&row.version),
        lease(row),
        services.join(","),
        out(row),
    ]
}

/// How its lease stands, in the words of `leases`.
fn lease(row: &MemberRow) -> String {
    match row.lease {
        Some(LeaseState::Failed) if row.stuck => "stuck".to_owned(),
        Some(state) => state.to_string(),
        None => "–".to_owned(),
    }
}

/// What a host is out of, as far as anybody can tell, and how long ago it looked.
fn out(row: &MemberRow) -> String {
    if row.presence == Presence::In && row.in_although.is_empty() {
        return "–".to_owned();
    }
    let exposed = row.in_although.iter().map(|balancer| format!("IN at {}, although it failed", clean(balancer)));
    let because = match (row.presence, row.because.as_str()) {
        (_, "") => None,
        (Presence::Unknown, because) => Some(format!("nobody can tell: {}", clean(because))),
        (_, because) => Some(clean(because)),
    };
    // One that is at work is out by its lease, which says more than what it saw before.
    let is_at_work = row.lease == Some(LeaseState::Held) && !row.down && because.is_some();
    let told = |seen: &&Sighting| seen.presence != Presence::In && !(is_at_work && seen.by_stagger);
    let seen = row.sightings.iter().filter(told).map(out_of);
    let looked = row.looked_ms.map(|ms| format!("looked {} ago", age(ms)));
    exposed.chain(because).chain(seen).chain(looked).collect::<Vec<_>>().join("; ")
}

/// Which balancer a host is out of, and by whose doing; or that nobody can tell.
fn out_of(seen: &Sighting) -> String {
    let (balancer, detail) = (clean(&seen.balancer), clean(&seen.detail));
    let detail = if detail.is_empty() { detail } else { format!(" ({detail})") };
    match (seen.presence, seen.by_stagger) {
        (Presence::Unknown, _) => format!("{} unknown at {balancer}{detail}", seen.service),
        (_, true) => format!("{balancer} for {}, by Stagger", seen.service),
        (_, false) => format!("{balancer} for {}, not by Stagger{detail}", seen.service),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn member(host: &str, down: bool, sightings: Vec<Sighting>) -> MemberRow {
        let presence = sightings.iter().map(|seen| seen.presence).max().unwrap_or(Presence::In);
        MemberRow {
            looked_ms: Some(40_000),
            presence,
            because: String::new(),
            in_although: Vec::new(),
            host: host.parse().expect("a host"),
            down,
            heard_ms: 4_000,
            version: "0.1.0".to_owned(),
            services: BTreeMap::from([("php-fpm".parse().expect("a service"), Default::default())]),
            metrics: None,
            sightings,
            trouble: String::new(),
            lease: None,
            stuck: false,
        }
    }

    fn seen(balancer: &str, presence: Presence, by_stagger: bool, detail: &str) -> Sighting {
        Sighting {
            service: "php-fpm".parse().expect("a service"),
            balancer: balancer.to_owned(),
            presence,
            by_stagger,
            detail: detail.to_owned(),
            remedy: Default::default(),
        }
    }

    #[test]
    fn a_failed_host_that_takes_traffic_is_shown_though_it_is_in() {
        let exposed = MemberRow {
            in_although: vec!["lb1 app/mw1".to_owned()],
            lease: Some(LeaseState::Failed),
            ..member("mw1", false, vec![seen("lb1 app/mw1", Presence::In, false, "UP")])
        };
        assert!(Filter { out: true, down: false }.keeps(&exposed));
        let text = members(&[exposed], Filter::default(), None);
        assert!(text.contains("php-fpm   IN at lb1 app/mw1, although it failed; looked 40s ago"), "{text}");
    }

    #[test]
    fn a_host_at_work_is_out_by_its_lease_and_that_is_said_once() {
        let at_work = MemberRow {
            because: "by Stagger, at verify, for php-fpm@4".to_owned(),
            lease: Some(LeaseState::Held),
            ..member(
                "mw1",
                false,
                vec![seen("lb1", Presence::Out, true, ""), seen("lb2", Presence::Out, false, "MAINT")],
            )
        };
        let text = members(&[at_work], Filter::default(), None);
        let expected = "by Stagger, at verify, for php-fpm@4; lb2 for php-fpm, not by Stagger (MAINT); looked 40s ago";
        assert!(text.contains(expected) && !text.contains("lb1"), "{text}");
    }

    #[test]
    fn a_host_left_out_says_where_and_by_whom() {
        let well = member("mw1", false, vec![seen("lb1", Presence::In, false, "")]);
        let mut out = member(
            "mw1316",
            false,
            vec![seen("lb1", Presence::Out, true, ""), seen("lb2", Presence::Out, false, "by hand")],
        );
        out.lease = Some(LeaseState::Failed);
        let unknown = member("mw3", true, vec![seen("lb1", Presence::Unknown, false, "timed out")]);
        let lost = MemberRow {
            presence: Presence::Unknown,
            because: "its worker is down; lost at drain".to_owned(),
            ..member("mw4", true, vec![seen("lb1", Presence::In, false, "")])
        };
        let rows = [well, out, unknown, lost];
        let expected = "\
HOST    STATE  SEEN  VERSION  LEASE   SERVICES  OUT OF
mw1     alive  4s    0.1.0    –       php-fpm   –
mw1316  alive  4s    0.1.0    failed  php-fpm   lb1 for php-fpm, by Stagger; lb2 for php-fpm, not by Stagger (by hand); looked 40s ago
mw3     down   4s    0.1.0    –       php-fpm   php-fpm unknown at lb1 (timed out); looked 40s ago
mw4     down   4s    0.1.0    –       php-fpm   nobody can tell: its worker is down; lost at drain; looked 40s ago
4 members, 2 down";
        assert_eq!(members(&rows, Filter::default(), None), expected);
        let kept = |filter: Filter| {
            rows.iter().filter(|row| filter.keeps(row)).map(|row| row.host.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(kept(Filter { out: true, down: false }), ["mw1316", "mw3", "mw4"]);
        assert_eq!(kept(Filter { out: true, down: true }), ["mw3", "mw4"]);
        assert_eq!(kept(Filter { out: false, down: true }), ["mw3", "mw4"]);
        assert_eq!(kept(Filter::default()).len(), 4);
    }

    #[test]
    fn a_worker_in_trouble_says_why() {
        let mut stuck = member("mw2", false, Vec::new());
        stuck.trouble = "a journal is damaged:\u{1b} line 3".to_owned();
        let expected = "\
HOST  STATE    SEEN  VERSION  LEASE  SERVICES  OUT OF
mw1   alive    4s    0.1.0    –      php-fpm   –
mw2   trouble  4s    0.1.0    –      php-fpm   –
mw2: a journal is damaged: line 3
2 members, 0 down, 1 in trouble";
        let rows = [member("mw1", false, Vec::new()), stuck];
        assert_eq!(members(&rows, Filter::default(), None), expected);
        let gone = MemberRow { down: true, ..rows[1].clone() };
        assert!(members(&[gone], Filter::default(), None).contains("mw2   down   4s"), "being down comes first");
    }

    #[test]
    fn an_empty_list_says_what_there_is_none_of() {
        assert_eq!(members(&[], Filter { out: true, down: false }, None), "no member is out of a balancer");
        assert_eq!(members(&[], Filter { out: false, down: true }, None), "no member is down");
        assert_eq!(members(&[], Filter::default(), None), "no member: no worker has joined");
        let scope = "pool/app".parse().expect("a scope");
        assert_eq!(members(&[], Filter::default(), Some(&scope)), "no member of pool/app");
    }
}
