//! What is in flight, in a few words: the numbers that the drain's expression reads, of an answer or of the kernel's count.
//!
//! Owns the words alone; whether it is little enough is the predicate's business. Called by the drain.

use crate::config::Predicate;
use crate::probe::Observation;
use cel::IdedExpr;
use cel::common::ast::{Expr, LiteralValue, operators};

/// The variables that hold what can be in flight: an answer as JSON, and the kernel's counts.
const COUNTED: [&str; 3] = ["answer", "connections", "close_wait"];

/// `4 in flight` when the expression reads one number of the answer, `active 4, queued 2` when it reads several; otherwise all
/// that was answered, bounded.
pub(super) fn in_flight(observation: &Observation, until: &Predicate) -> String {
    let mut paths = Vec::new();
    read(until.program().expression(), &mut paths);
    paths.sort_unstable();
    paths.dedup();
    let numbers: Option<Vec<(&str, u64)>> =
        paths.iter().map(|path| Some((path.last().copied().unwrap_or_default(), observation.number(path)?))).collect();
    match numbers.as_deref() {
        None | Some([]) => observation.figures(),
        Some([(_, count)]) => format!("{count} in flight"),
        Some(several) => several.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", "),
    }
}

/// The ways to what is counted that an expression goes. The depth is bounded by the parser.
fn read<'e>(expression: &'e IdedExpr, paths: &mut Vec<Vec<&'e str>>) {
    if let Some(path) = path(expression) {
        return paths.push(path);
    }
    match &expression.expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).for_each(|part| read(part, paths)),
        Expr::Select(select) => read(&select.operand, paths),
        _ => {}
    }
}

/// `answer.a['b']` is `answer`, `a`, `b`; anything but such a way, or one of the counts, is none.
fn path(expression: &IdedExpr) -> Option<Vec<&str>> {
    let (mut path, key) = match &expression.expr {
        Expr::Ident(name) => return COUNTED.contains(&name.as_str()).then(|| vec![name.as_str()]),
        Expr::Select(select) if !select.test => (self::path(&select.operand)?, select.field.as_str()),
        Expr::Call(call) if call.func_name == operators::INDEX => match &call.args[..] {
            [operand, IdedExpr { expr: Expr::Literal(LiteralValue::String(key)), .. }] => {
                (self::path(operand)?, key.inner())
            }
            _ => return None,
        },
        _ => return None,
    };
    path.push(key);
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::observation::Connections;

    fn said(answer: &str, until: &str) -> String {
        let answer = serde_json::from_str(answer).expect("JSON");
        let (body, complaint) = (String::new(), String::new());
        let observation = Observation::Http { status: 200, headers: Default::default(), body, answer, complaint };
        in_flight(&observation, &Predicate::compile(until, &["answer", "status"]).expect("an expression"))
    }

    #[test]
    fn the_numbers_that_the_expression_reads_are_said() {
        assert_eq!(said("4", "answer <= 1"), "4 in flight");
        assert_eq!(said(r#"{"current":4,"state":"out"}"#, "answer.current == 0"), "4 in flight");
        let pool = r#"{"active processes":4,"listen queue":2,"pool":{"name":"www","idle":7}}"#;
        assert_eq!(said(pool, "answer['active processes'] <= 1 || answer[\"active processes\"] == 2"), "4 in flight");
        let both = "answer['active processes'] <= 1 && answer['listen queue'] == 0";
        assert_eq!(said(pool, both), "active processes 4, listen queue 2");
        assert_eq!(said(pool, "answer.pool.idle > 3"), "7 in flight");
    }

    #[test]
    fn connections_are_counted_in_flight() {
        let observation = Observation::Connections(Connections { established: 4, close_wait: 1, listeners: 1 });
        let said = |until: &str| {
            let variables = ["connections", "close_wait", "listeners"];
            in_flight(&observation, &Predicate::compile(until, &variables).expect("an expression"))
        };
        assert_eq!(said("connections <= 1"), "4 in flight");
        assert_eq!(said("connections == 0 && listeners >= 0"), "4 in flight");
        assert_eq!(said("connections == 0 && close_wait == 0"), "close_wait 1, connections 4");
        assert_eq!(said("listeners == 0"), "connections 4, close_wait 1");
    }

    #[test]
    fn anything_else_is_shown_as_it_was_answered() {
        for until in ["status == 200", "answer.state == 'out'", "answer.missing == 0", "answer.list[0] == 1"] {
            assert_eq!(said(r#"{"state":"out"}"#, until), r#"{"state":"out"}"#, "{until}");
        }
    }
}
