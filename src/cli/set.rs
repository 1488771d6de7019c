//! `stagger set`: changes a setting, or takes it back.
//!
//! Owns how a setting is typed: the words after `=`. Its bounds are the model's.

use super::context::Context;
use super::failure::Failure;
use super::scope::Typed;
use super::{changed, client, known, scope};
use crate::config::duration;
use model::names::Scope;
use model::request::Act;
use model::settings::{Setting, SettingKind, Slots};
use model::time::millis;
use std::time::Duration;

/// Change a setting
///
/// It takes effect at once, and nothing that is held is revoked.
///
/// Of a pool: slots (a number, or a percentage of its members), max_queue, wait, ttl, lost_after (or "never").
/// Of a service: max_failures, strict (true or false), expires. Of `all`: any of them.
///
/// Example: stagger set pool/app-eqiad slots=5% --reason "peak hours" --for 2h
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SetArgs {
    /// Where: all, pool/P or service/S; a bare name when only one thing has it
    #[arg(value_parser = scope::typed)]
    scope: Typed,
    /// Which, and to what; `KEY=` takes it back
    #[arg(value_name = "KEY=VALUE")]
    setting: String,
    /// Why, for those who will wonder
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// For how long; then it goes back by itself
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse, conflicts_with = "unset")]
    lasting: Option<Duration>,
    /// Take it back: KEY is then given alone
    #[arg(long)]
    unset: bool,
}

/// Sets it.
pub(crate) async fn run(args: SetArgs, context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    let scope = known::the_one(&client, args.scope.clone()).await?;
    let act = act(args, scope.clone())?;
    if matches!(act, Act::Set { .. }) {
        known::warn(&client, &scope).await?;
    }
    let done = client.admin("set", act).await?;
    changed(&client::did(done)?, context)
}

fn act(args: SetArgs, scope: Scope) -> Result<Act, Failure> {
    let SetArgs { scope: _, setting, reason, lasting, unset } = args;
    let (key, value) = setting.split_once('=').map_or((setting.as_str(), None), |(key, value)| (key, Some(value)));
    let kind = kind(key)?;
    match value {
        Some(value) if unset && !value.is_empty() => Err(Failure::usage(
            format!("--unset takes {key} back, and {value:?} would set it"),
            format!("write {key} alone"),
        )),
        None if !unset => {
            Err(Failure::usage(format!("{key} of what value?"), format!("write {key}=VALUE, or --unset")))
        }
        None | Some("") => Ok(Act::Unset { scope, kind, reason }),
        Some(value) => {
            let setting = setting_of(kind, value)?;
            setting.check(&scope).map_err(|error| Failure::Refused {
                why: error.to_string(),
                hint: "stagger set --help names what fits where".to_owned(),
            })?;
            Ok(Act::Set { scope, setting, reason, for_ms: lasting.map(millis) })
        }
    }
}

fn kind(word: &str) -> Result<SettingKind, Failure> {
    let known = SettingKind::ALL.map(SettingKind::word).join(", ");
    let found = SettingKind::ALL.into_iter().find(|kind| kind.word() == word);
    found.ok_or_else(|| Failure::usage(format!("there is no setting {word:?}"), format!("there are {known}")))
}

fn setting_of(kind: SettingKind, value: &str) -> Result<Setting, Failure> {
    let wrong =
        |right: &str| Failure::usage(format!("{value:?} is no value for {}", kind.word()), format!("write {right}"));
    let number = |right: &str| value.parse::<u32>().map_err(|_| wrong(right));
    let span = |right: &str| duration::parse(value).map(millis).map_err(|_| wrong(right));
    Ok(match kind {
        SettingKind::Slots => match value.strip_suffix('%') {
            Some(percent) => {
                Setting::Slots(Slots::Percent(percent.parse().map_err(|_| wrong("slots=10% or slots=2"))?))
            }
            None => Setting::Slots(Slots::Count(number("slots=10% or slots=2")?)),
        },
        SettingKind::MaxQueue => Setting::MaxQueue(number("max_queue=10000")?),
        SettingKind::Wait => Setting::Wait(span("wait=10m")?),
        SettingKind::Ttl => Setting::Ttl(span("ttl=30s")?),
        SettingKind::LostAfter if value == "never" => Setting::LostAfter(None),
        SettingKind::LostAfter => Setting::LostAfter(Some(span("lost_after=1h, or lost_after=never")?)),
        SettingKind::MaxFailures => Setting::MaxFailures(number("max_failures=3")?),
        SettingKind::Strict => Setting::Strict(value.parse().map_err(|_| wrong("strict=true or strict=false"))?),
        SettingKind::Expires => Setting::Expires(span("expires=24h")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(scope: &str, setting: &str, unset: bool) -> Result<Act, Failure> {
        let scope: Scope = scope.parse().expect("a scope");
        let typed = Typed::Scope(scope.clone());
        act(SetArgs { scope: typed, setting: setting.to_owned(), reason: "r".to_owned(), lasting: None, unset }, scope)
    }

    #[test]
    fn settings_are_typed_as_they_are_shown() {
        for (scope, text, setting) in [
            ("pool/a", "slots=10%", Setting::Slots(Slots::Percent(10))),
            ("pool/a", "slots=2", Setting::Slots(Slots::Count(2))),
            ("all", "max_queue=7", Setting::MaxQueue(7)),
            ("pool/a", "wait=1m30s", Setting::Wait(90_000)),
            ("pool/a", "ttl=2s", Setting::Ttl(2_000)),
            ("pool/a", "lost_after=never", Setting::LostAfter(None)),
            ("pool/a", "lost_after=0s", Setting::LostAfter(Some(0))),
            ("service/s", "max_failures=3", Setting::MaxFailures(3)),
            ("service/s", "strict=true", Setting::Strict(true)),
            ("service/s", "expires=1d", Setting::Expires(86_400_000)),
        ] {
            let act = typed(scope, text, false).expect(text);
            assert!(
                matches!(&act, Act::Set { setting: found, for_ms: None, .. } if *found == setting),
                "{text}: {act:?}"
            );
        }
    }

    #[test]
    fn a_setting_is_taken_back_in_either_way() {
        for (text, unset) in [("slots=", false), ("slots", true), ("slots=", true)] {
            let act = typed("pool/a", text, unset).expect(text);
            assert!(matches!(act, Act::Unset { kind: SettingKind::Slots, .. }), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (scope, text, unset, said) in [
            (
                "pool/a",
                "slotz=2",
                false,
                "hint: there are slots, max_queue, wait, ttl, lost_after, max_failures, strict, expires",
            ),
            ("pool/a", "slots", false, "hint: write slots=VALUE, or --unset"),
            ("pool/a", "slots=2", true, "hint: write slots alone"),
            ("pool/a", "slots=many", false, "hint: write slots=10% or slots=2"),
            ("pool/a", "slots=-1", false, "hint: write slots=10% or slots=2"),
            ("pool/a", "wait=10", false, "hint: write wait=10m"),
        ] {
            let failure = typed(scope, text, unset).expect_err(text);
            assert_eq!(failure.exit_code(), 64, "{text}");
            assert!(failure.render().contains(said), "{text}: {}", failure.render());
        }
    }

    #[test]
    fn what_can_be_read_and_may_not_be_is_refused() {
        for (scope, text, said) in [
            ("pool/a", "slots=0", "error: slots lies between 1 and 100000, and this is 0"),
            ("pool/a", "strict=true", "error: strict is a setting of a service, and pool/a is none"),
            ("service/s", "slots=2", "error: slots is a setting of a pool, and service/s is none"),
        ] {
            let failure = typed(scope, text, false).expect_err(text);
            assert_eq!(failure.exit_code(), 1, "{text}");
            assert!(failure.render().contains(said), "{text}: {}", failure.render());
        }
    }
}
