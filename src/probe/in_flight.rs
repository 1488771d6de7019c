//! What is in flight, in a few words: the numbers of an answer that the drain's expression reads.
//!
//! Owns the words alone; whether it is little enough is the predicate's business. Called by the drain.

use crate::config::Predicate;
use crate::probe::Observation;
use cel::IdedExpr;
use cel::common::ast::{Expr, LiteralValue, operators};
use serde_json::Value as Json;

/// The variable that holds an answer as JSON.
const ANSWER: &str = "answer";

/// `4 in flight` when the expression reads one number of the answer, `active 4, queued 2` when it reads several; otherwise all
/// that was answered, bounded.
pub(super) fn in_flight(observation: &Observation, until: &Predicate) -> String {
    let mut paths = Vec::new();
    read(until.program().expression(), &mut paths);
    paths.sort_unstable();
    paths.dedup();
    let numbers: Option<Vec<(&str, u64)>> = paths
        .iter()
        .map(|path| Some((path.last().copied().unwrap_or(ANSWER), number(observation.answer()?, path)?)))
        .collect();
    match numbers.as_deref() {
        None | Some([]) => observation.figures(),
        Some([(_, count)]) => format!("{count} in flight"),
        Some(several) => several.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", "),
    }
}

fn number(answer: &Json, path: &[&str]) -> Option<u64> {
    path.iter().try_fold(answer, |json, key| json.get(key)).and_then(Json::as_u64)
}

/// The ways into the answer that an expression goes. The depth is bounded by the parser.
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

/// `answer.a['b']` is `a`, `b`; anything else is no way into the answer.
fn path(expression: &IdedExpr) -> Option<Vec<&str>> {
    let (mut path, key) = match &expression.expr {
        Expr::Ident(name) => return (name == ANSWER).then(Vec::new),
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

    fn said(answer: &str, until: &str) -> String {
        let answer = serde_json::from_str(answer).expect("JSON");
        let observation = Observation::Http { status: 200, headers: Default::default(), body: String::new(), answer };
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
    fn anything_else_is_shown_as_it_was_answered() {
        for until in ["status == 200", "answer.state == 'out'", "answer.missing == 0", "answer.list[0] == 1"] {
            assert_eq!(said(r#"{"state":"out"}"#, until), r#"{"state":"out"}"#, "{until}");
        }
    }
}
