//! What each path and method needs: one table. Pure.
//!
//! A path that is not in it needs everything, so that a new one is closed until somebody thinks about it; a test holds the table
//! against the router's own. What the doors do is theirs.

use super::tokens::Role;
use http::Method;
use percent_encoding::percent_decode_str;

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: a balancer or a service manager asks.
    Nothing,
    /// A role that may look; nothing from this machine.
    Figures,
    /// A role that may look.
    Read,
    /// A worker's, for a host that it may act for.
    Work(Whose),
    /// With a claim what a worker needs for the holder in the path; without one a person releases, which needs everything.
    End,
    /// A deployer's.
    Deploy,
    /// Everything.
    Admin,
}

/// Where a request says for whom it acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// In its path: the first of its variable parts.
    Path,
    /// There too; and it is the host itself, not one of its commands.
    Host,
    /// In its body: `holder`.
    Ask,
    /// In its body: `holder` of `waiter`, or `host` of `member`.
    Quiet,
    /// In its body, as FleetLock has it.
    FleetLock,
}

/// The table, below the version: method, path, need. `{…}` is one part, `{*…}` all that follow.
pub(super) const ROUTES: &[(&str, &str, Need)] = &[
    ("GET", "/leases", Need::Read),
    ("POST", "/leases", Need::Work(Whose::Ask)),
    ("PUT", "/leases/{holder}", Need::Work(Whose::Path)),
    ("DELETE", "/leases/{holder}", Need::End),
    ("POST", "/leases/{holder}/begin", Need::Work(Whose::Path)),
    ("POST", "/quiet", Need::Work(Whose::Quiet)),
    ("GET", "/members", Need::Read),
    ("PUT", "/members/{host}", Need::Work(Whose::Host)),
    ("GET", "/pools", Need::Read),
    ("GET", "/pools/{pool}", Need::Read),
    ("GET", "/rollouts", Need::Read),
    ("POST", "/rollouts", Need::Deploy),
    ("GET", "/rollouts/{service}/{generation}", Need::Read),
    ("POST", "/rollouts/{service}/{generation}/abort", Need::Deploy),
    ("GET", "/rollouts/{service}/{generation}/reports/{host}", Need::Read),
    ("GET", "/pauses", Need::Read),
    ("GET", "/pauses/{*scope}", Need::Read),
    ("PUT", "/pauses/{*scope}", Need::Deploy),
    ("DELETE", "/pauses/{*scope}", Need::Deploy),
    ("GET", "/settings/{*scope}", Need::Read),
    ("PATCH", "/settings/{*scope}", Need::Admin),
    ("GET", "/why", Need::Read),
    ("GET", "/why/{*scope}", Need::Read),
    ("GET", "/history", Need::Read),
    ("GET", "/poolcounter", Need::Read),
    ("GET", "/events", Need::Read),
    ("GET", "/backup", Need::Admin),
    ("GET", "/defaults", Need::Read),
    ("PUT", "/defaults", Need::Admin),
    ("GET", "/move", Need::Admin),
    ("POST", "/move", Need::Admin),
    ("GET", "/domain", Need::Read),
    ("GET", "/records", Need::Admin),
    ("POST", "/pre-reboot", Need::Work(Whose::FleetLock)),
    ("POST", "/steady-state", Need::Work(Whose::FleetLock)),
];

/// The same outside of the version.
pub(super) const TOP: &[(&str, &str, Need)] =
    &[("GET", "/healthz", Need::Nothing), ("GET", "/readyz", Need::Nothing), ("GET", "/metrics", Need::Figures)];

impl Need {
    /// Whether a role is enough, where it does not depend on what the body says.
    pub(super) fn is_met_by(self, role: Role) -> bool {
        match self {
            Need::Nothing | Need::Figures | Need::Read => true,
            Need::Work(_) | Need::End => matches!(role, Role::Worker | Role::Admin),
            Need::Deploy => matches!(role, Role::Deploy | Role::Admin),
            Need::Admin => role == Role::Admin,
        }
    }

    /// The least role that it takes; of a lease's end, what a person's takes.
    pub(super) fn role(self) -> Role {
        match self {
            Need::Nothing | Need::Figures | Need::Read => Role::Read,
            Need::Work(_) => Role::Worker,
            Need::Deploy => Role::Deploy,
            Need::End | Need::Admin => Role::Admin,
        }
    }
}

/// What a request needs, and the first variable part of its path as it is meant. `domain` is the domain's name in paths.
pub(super) fn need(method: &Method, path: &str, domain: &str) -> (Need, Option<String>) {
    // HEAD is answered as GET is, without the body.
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let below =
        path.strip_prefix("/v1/").or_else(|| path.strip_prefix('/')?.strip_prefix(domain)?.strip_prefix("/v1/"));
    let (table, path) = match below {
        Some(below) => (ROUTES, below),
        None => (TOP, path.strip_prefix('/').unwrap_or(path)),
    };
    let found = table.iter().filter(|(of, _, _)| *of == method).find_map(|(_, pattern, need)| {
        let first = matched(pattern.strip_prefix('/').unwrap_or(pattern), path)?;
        Some((*need, first))
    });
    match found {
        Some((need, first)) => (need, first.map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())),
        None => (Need::Admin, None),
    }
}

/// The first variable part of a path that fits a pattern.
fn matched<'p>(pattern: &str, path: &'p str) -> Option<Option<&'p str>> {
    let mut parts = path.split('/');
    let mut first = None;
    for wanted in pattern.split('/') {
        let part = parts.next()?;
        if wanted.starts_with("{*") {
            return (!part.is_empty()).then_some(first);
        }
        if wanted.starts_with('{') {
            if part.is_empty() {
                return None;
            }
            first.get_or_insert(part);
        } else if wanted != part {
            return None;
        }
    }
    parts.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The files that say `.route("…", …)`, and whether their paths are below the version.
    const ROUTERS: [&str; 3] =
        [include_str!("../doors.rs"), include_str!("../doors/fleetlock.rs"), include_str!("../relay.rs")];

    /// Every method and path that the doors serve, as their sources say it.
    fn served() -> BTreeSet<(String, String)> {
        let mut served = BTreeSet::new();
        for source in ROUTERS {
            for route in source.split(".route(\"").skip(1) {
                let (path, rest) = route.split_once('"').expect("a path");
                // The handlers stand before the next route, or the end of the statement.
                let handlers = rest.split(".route(").next().unwrap_or_default();
                let handlers = handlers.split(['\n', ';']).next().unwrap_or_default();
                for method in ["get", "post", "put", "patch", "delete"] {
                    if handlers.contains(&format!("{method}(")) {
                        served.insert((method.to_uppercase(), path.to_owned()));
                    }
                }
            }
        }
        served
    }

    #[test]
    fn every_path_that_is_served_is_in_the_table_and_no_other() {
        let served = served();
        let listed: BTreeSet<_> =
            ROUTES.iter().chain(TOP).map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
        assert!(served.len() >= 30, "the doors were not found: {served:?}");
        let missing: Vec<_> = served.difference(&listed).collect();
        assert!(missing.is_empty(), "say in lockserver/src/access/routes.rs what these need: {missing:?}");
        let gone: Vec<_> = listed.difference(&served).collect();
        assert!(gone.is_empty(), "nobody serves these: {gone:?}");
    }

    #[test]
    fn what_a_request_needs_is_read_from_its_path_as_the_router_reads_it() {
        let of = |method: &str, path: &str| need(&method.parse().expect("a method"), path, "web");
        let plain = |method, path| of(method, path).0;
        assert_eq!(of("PUT", "/v1/leases/mw1"), (Need::Work(Whose::Path), Some("mw1".to_owned())));
        assert_eq!(of("PUT", "/web/v1/leases/m%771"), (Need::Work(Whose::Path), Some("mw1".to_owned())));
        assert_eq!(of("POST", "/v1/leases/mw1/begin"), (Need::Work(Whose::Path), Some("mw1".to_owned())));
        assert_eq!(plain("HEAD", "/v1/leases"), Need::Read);
        assert_eq!(plain("GET", "/v1/pauses/pool/app"), Need::Read);
        assert_eq!(plain("PUT", "/v1/pauses/pool/app"), Need::Deploy);
        assert_eq!(plain("GET", "/healthz"), Need::Nothing);
        assert_eq!(plain("GET", "/metrics"), Need::Figures);
        for (method, path) in [
            ("GET", "/v1/nothing"),
            ("GET", "/v1/leases/"),
            ("GET", "/v1//leases"),
            ("GET", "/v1/le%61ses"),
            ("GET", "/other/v1/leases"),
            ("GET", "/v1"),
            ("GET", "/"),
            ("DELETE", "/v1/history"),
            ("PATCH", "/v1/leases"),
            ("POST", "/healthz"),
            ("GET", "/v1/healthz"),
            ("GET", "/v1/pauses/"),
            ("TRACE", "/v1/leases"),
        ] {
            assert_eq!(of(method, path), (Need::Admin, None), "{method} {path}");
        }
    }

    #[test]
    fn each_role_may_what_it_is_for() {
        let may = |role: Role| {
            let all = [Need::Read, Need::Work(Whose::Path), Need::End, Need::Deploy, Need::Admin];
            all.map(|need| need.is_met_by(role))
        };
        assert_eq!(may(Role::Read), [true, false, false, false, false]);
        assert_eq!(may(Role::Worker), [true, true, true, false, false]);
        assert_eq!(may(Role::Deploy), [true, false, false, true, false]);
        assert_eq!(may(Role::Admin), [true; 5]);
    }
}
