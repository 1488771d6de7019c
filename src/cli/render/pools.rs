//! The pools: how many may be out, where that number comes from, how many are, and what is paused.

use super::table::table;
use super::text::{age, clean, day_and_time, span};
use model::read::{OverrideRow, PauseRow, PoolRow};
use model::settings::{Override, Setting};
use std::collections::BTreeSet;

/// One line per pool, then every pause.
pub(crate) fn pools(rows: &[PoolRow], pauses: &[PauseRow]) -> String {
    let mut parts = Vec::new();
    match rows {
        [] => parts.push(
            "no pool is known yet: one exists once a worker that names it joins, or `stagger set pool/NAME slots=…`"
                .to_owned(),
        ),
        rows => {
            parts.push(table(&["POOL", "OUT", "WAITING", "MEMBERS", "SLOTS", "FROM"], rows.iter().map(cells).collect()))
        }
    }
    parts.extend(pauses.iter().map(pause));
    parts.join("\n")
}

fn cells(row: &PoolRow) -> Vec<String> {
    vec![
        row.pool.to_string(),
        out(row),
        row.waiting.to_string(),
        members(row),
        row.rules.slots.to_string(),
        clean(&row.rules.source),
    ]
}

/// How many are out, of how many: `14/35`, with what does not move by itself.
fn out(row: &PoolRow) -> String {
    let mut text = format!("{}/{}", row.held + row.failed + row.lost, row.slots);
    let kept = [(row.failed, "failed"), (row.lost, "lost")].into_iter().filter(|(count, _)| *count > 0);
    let kept = kept.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>();
    if !kept.is_empty() {
        text.push_str(&format!(" ({})", kept.join(", ")));
    }
    text
}

fn members(row: &PoolRow) -> String {
    match row.down {
        0 => row.members.to_string(),
        down => format!("{} ({down} down)", row.members),
    }
}

/// A pause in a line, with what ends it.
pub(crate) fn pause(row: &PauseRow) -> String {
    format!(
        "{} is paused by {} {} ago, {} more: {}; ends with: stagger resume {}",
        row.scope,
        clean(&row.by),
        age(row.since_ms),
        span(row.left_ms),
        clean(&row.reason),
        row.scope
    )
}

/// Everything about one pool.
pub(crate) fn pool(row: &PoolRow) -> String {
    let rules = &row.rules;
    let mut lines = vec![
        format!(
            "{}: {} out, {} waiting, {} members, token {}",
            row.pool,
            out(row),
            row.waiting,
            members(row),
            row.token
        ),
        format!(
            "  slots       {} of {}, which makes {}   {}",
            rules.slots,
            members(row),
            row.slots,
            clean(&rules.source)
        ),
    ];
    if let model::settings::Slots::Count(count) = rules.slots {
        lines[1] = format!("  slots       {count}   {}", clean(&rules.source));
    }
    let others = [
        Setting::MaxQueue(rules.max_queue),
        Setting::Wait(rules.wait_ms),
        Setting::Ttl(rules.ttl_ms),
        Setting::LostAfter(rules.lost_after_ms),
    ];
    lines
        .extend(others.map(|setting| format!("  {:<10}  {setting}   {}", setting.kind().word(), source(row, setting))));
    lines.extend(row.overrides.iter().map(change));
    let pauses: BTreeSet<String> = row.pauses.iter().map(pause).collect();
    lines.extend(pauses);
    lines.join("\n")
}

/// Whether somebody set it, and for what, which is told below; else the line of the lock server's file that says it.
fn source(row: &PoolRow, setting: Setting) -> String {
    if let Some(from) = row.overrides.iter().find(|from| from.set.setting.kind() == setting.kind()) {
        return format!("set for {}", from.set.scope);
    }
    let from = row.from_file.iter().find(|from| from.setting.kind() == setting.kind());
    from.map_or_else(|| "default".to_owned(), |from| clean(&from.place))
}

/// Who set something, when and why; for how much longer it holds, and what then does.
fn change(from: &OverrideRow) -> String {
    let set = |from: &Override| {
        format!("{}={} for {} by {}", from.setting.kind().word(), from.setting, from.scope, clean(&from.by))
    };
    let at = |from: &Override| format!("at {}", day_and_time(from.at));
    let OverrideRow { set: this, left_ms, then } = from;
    let end = match (left_ms, &this.before) {
        (None, _) => String::new(),
        (Some(ms), None) => format!("; {} more, then {}", span(*ms), clean(then)),
        (Some(ms), Some(before)) => {
            format!("; {} more, then {} {}: {}", span(*ms), set(before), at(before), clean(&before.reason))
        }
    };
    format!("  set: {} {}: {}{end}", set(this), at(this), clean(&this.reason))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{AT, pause as sample_pause, pool as sample};
    use super::*;
    use model::Time;
    use model::defaults::FromFile;
    use model::settings::Slots;

    #[test]
    fn each_pool_says_where_its_number_comes_from() {
        let mut rack = sample("rack.b4", 1, 1, 2);
        rack.rules.slots = Slots::Count(2);
        rack.rules.source = "set pool/rack.b4 slots=2 by ann@ops1: one switch".to_owned();
        (rack.waiting, rack.members, rack.down, rack.lost) = (4, 20, 1, 1);
        let text = pools(&[sample("app-eqiad", 14, 0, 35), rack], &[sample_pause("host/mw1")]);
        let expected = "\
POOL       OUT                     WAITING  MEMBERS      SLOTS  FROM
app-eqiad  14/35                   0        352          10%    default
rack.b4    3/2 (1 failed, 1 lost)  4        20 (1 down)  2      set pool/rack.b4 slots=2 by ann@ops1: one switch
host/mw1 is paused by ann@ops1 5m ago, 1h55m more: switch is being replaced; ends with: stagger resume host/mw1";
        assert_eq!(text, expected);
        assert!(pools(&[], &[]).starts_with("no pool is known yet"));
    }

    #[test]
    fn one_pool_is_told_in_full() {
        let mut row = sample("app", 1, 0, 2);
        row.members = 20;
        row.rules.lost_after_ms = None;
        let set = |scope: &str, setting, until, before| Override {
            scope: scope.parse().expect("a scope"),
            setting,
            by: "ann@ops1".to_owned(),
            reason: "slow disks".to_owned(),
            at: AT,
            until,
            before,
        };
        row.from_file = vec![FromFile { setting: Setting::MaxQueue(50), place: "lockserver.toml:9".to_owned() }];
        row.rules.max_queue = 50;
        let before = set("pool/app", Setting::Wait(300_000), None, None);
        let left_ms = Some(119_000);
        row.overrides = vec![
            OverrideRow {
                set: set("pool/app", Setting::Wait(600_000), Some(Time(1)), Some(Box::new(before))),
                left_ms,
                then: "5m".to_owned(),
            },
            OverrideRow { set: set("all", Setting::Ttl(30_000), None, None), left_ms: None, then: String::new() },
        ];
        row.pauses.push(sample_pause("all"));
        let expected = "\
app: 1/2 out, 0 waiting, 20 members, token 9127
  slots       10% of 20, which makes 2   default
  max_queue   50   lockserver.toml:9
  wait        10m   set for pool/app
  ttl         30s   set for all
  lost_after  never   default
  set: wait=10m for pool/app by ann@ops1 at 2026-11-24 14:02:51Z: slow disks; 1m59s more, then wait=5m for pool/app by ann@ops1 at 2026-11-24 14:02:51Z: slow disks
  set: ttl=30s for all by ann@ops1 at 2026-11-24 14:02:51Z: slow disks
all is paused by ann@ops1 5m ago, 1h55m more: switch is being replaced; ends with: stagger resume all";
        assert_eq!(pool(&row), expected);
        row.rules.slots = Slots::Count(2);
        assert!(pool(&row).contains("\n  slots       2   default\n"));
        (row.overrides[0].set.before, row.overrides[0].then) = (None, "10m (default)".to_owned());
        assert!(pool(&row).contains("slow disks; 1m59s more, then 10m (default)\n"), "{}", pool(&row));
    }
}
