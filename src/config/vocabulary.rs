//! The words of an expression: which variables and functions it may speak of, and what was meant by one that there is not.
//!
//! Owns the list of functions. What the variables are is the probe's business. Called when an expression is compiled, so that a
//! mistyped word is found when the file is read and not in the middle of a restart.

use super::nearest::nearest;
use super::predicate::ExpressionError;
use cel::common::ast::{EntryExpr, Expr, LiteralValue, operators};
use cel::{Context, IdedExpr, Program};

/// The functions of this build; a test holds them against it.
const FUNCTIONS: [&str; 11] =
    ["bytes", "contains", "double", "dyn", "endsWith", "int", "size", "startsWith", "string", "type", "uint"];
/// What looks like a function and is a form of its own, with how it is written.
const FORMS: [(&str, &str); 6] = [
    ("has", "has(answer.key)"),
    ("all", "list.all(x, x > 3)"),
    ("exists", "list.exists(x, x > 3)"),
    ("exists_one", "list.exists_one(x, x > 3)"),
    ("filter", "list.filter(x, x > 3)"),
    ("map", "list.map(x, x * 2)"),
];

/// Refuses the first word that there is not.
///
/// # Errors
/// It speaks of a variable that is not among `variables`, or of an unknown function.
pub(super) fn check(program: &Program, text: &str, variables: &[&str]) -> Result<(), ExpressionError> {
    let mut words = Words::default();
    words.gather(program.expression());
    let is_known = |name: &&str| variables.contains(name) || words.own.contains(name);
    let variable = words.variables.iter().filter(|name| !is_known(name)).map(|name| (*name, false));
    let function = words.functions.iter().filter(|name| !is_function(name)).map(|name| (*name, true));
    let unknown = variable.chain(function).map(|(name, called)| (place(text, name, called), name, called));
    let Some((at, name, called)) = unknown.min_by_key(|(at, _, _)| at.unwrap_or(usize::MAX)) else {
        return truth(program.expression()).map_err(|message| ExpressionError { message, at: None });
    };
    let message = if called { no_function(name) } else { no_variable(name, variables) };
    Err(ExpressionError { message, at })
}

/// What a variable is, where that is always the same, and a question about it.
fn kind(variable: &str) -> Option<(&'static str, &'static str)> {
    Some(match variable {
        "status" => ("a number", "status == 200"),
        "exit" => ("a number", "exit == 0"),
        "connections" => ("a number", "connections == 0"),
        "close_wait" => ("a number", "close_wait == 0"),
        "listeners" => ("a number", "listeners > 0"),
        "body" => ("a text", "body.contains('ok')"),
        "stdout" => ("a text", "stdout.contains('ok')"),
        "stderr" => ("a text", "stderr == ''"),
        "headers" => ("a table", "'content-type' in headers"),
        _ => return None,
    })
}

/// Refuses an expression, or an operand of `&&`, `||` and `!`, that is certainly neither yes nor no, whatever is answered.
fn truth(expression: &IdedExpr) -> Result<(), String> {
    let is = |what: &str| Err(format!("{what} is neither yes nor no: compare it"));
    match &expression.expr {
        Expr::Literal(LiteralValue::Boolean(_)) => Ok(()),
        Expr::Literal(_) => is("a number or a text"),
        Expr::List(_) => is("a list"),
        Expr::Map(_) | Expr::Struct(_) => is("a table"),
        Expr::Ident(name) => match kind(name) {
            Some((what, question)) => {
                is(&format!("`{name}`, {what},")).map_err(|why| format!("{why}, such as {question}"))
            }
            None => Ok(()),
        },
        Expr::Call(call) => match call.func_name.as_str() {
            operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT => {
                call.args.iter().try_for_each(truth)
            }
            operators::CONDITIONAL => call.args.iter().try_for_each(truth),
            operators::ADD
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO
            | operators::NEGATE => is("what is calculated"),
            name @ ("bytes" | "double" | "int" | "size" | "string" | "type" | "uint") => {
                is(&format!("what `{name}` gives"))
            }
            _ => Ok(()),
        },
        Expr::Unspecified | Expr::Select(_) | Expr::Comprehension(_) => Ok(()),
    }
}

fn no_variable(name: &str, variables: &[&str]) -> String {
    let there = variables.join(", ");
    match nearest(name, variables) {
        Some(near) => format!("no variable `{name}` here, did you mean `{near}`? There are {there}"),
        None => format!("no variable `{name}` here; there are {there}"),
    }
}

fn no_function(name: &str) -> String {
    if let Some((_, form)) = FORMS.iter().find(|(form, _)| *form == name) {
        return format!("`{name}` is written in another way: {form}");
    }
    let known: Vec<&str> = FORMS.iter().map(|(form, _)| *form).chain(FUNCTIONS).collect();
    match nearest(name, &known) {
        Some(near) => format!("no function `{name}`, did you mean `{near}`?"),
        None => format!("no function `{name}`; there are {}", known.join(", ")),
    }
}

/// Whether this build has a function of this name. A name that is taken cannot be given again: so it is asked.
fn is_function(name: &str) -> bool {
    Context::default().add_function(name, || true).is_err()
}

/// The words of an expression. The depth is bounded by the parser.
#[derive(Default)]
struct Words<'e> {
    variables: Vec<&'e str>,
    functions: Vec<&'e str>,
    /// The variables that comprehensions (`exists`, `all`, `map` …) bring along themselves.
    own: Vec<&'e str>,
}

impl<'e> Words<'e> {
    fn gather(&mut self, expression: &'e IdedExpr) {
        match &expression.expr {
            Expr::Comprehension(inner) => {
                self.own.push(&inner.iter_var);
                self.own.extend(inner.iter_var2.as_deref());
                for part in [&inner.iter_range, &inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result] {
                    self.gather(part);
                }
            }
            Expr::Call(call) => {
                // Operators are calls too, of names that nobody can write.
                if call.func_name.starts_with(|letter: char| letter.is_alphabetic()) {
                    self.functions.push(&call.func_name);
                }
                call.target.as_deref().into_iter().chain(&call.args).for_each(|part| self.gather(part));
            }
            Expr::Ident(name) if !name.starts_with('@') => self.variables.push(name),
            Expr::List(list) => list.elements.iter().for_each(|part| self.gather(part)),
            Expr::Select(select) => self.gather(&select.operand),
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.gather(&entry.key);
                        self.gather(&entry.value);
                    }
                }
            }
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
        }
    }
}

/// Where a word stands as a variable, or as what is called: outside of quotes, and no part of another word.
fn place(text: &str, word: &str, called: bool) -> Option<usize> {
    let is_of_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(word).map(|(at, _)| at).find(|at| {
        let (before, after) = (&text[..*at], &text[at + word.len()..]);
        let is_whole = !before.ends_with(is_of_word) && !after.starts_with(is_of_word);
        let is_called = after.trim_start().starts_with('(');
        let is_field = !called && before.trim_end().ends_with('.');
        is_whole && is_called == called && !is_field && !is_quoted(before)
    })
}

/// Whether a quote is open behind this beginning of an expression.
fn is_quoted(beginning: &str) -> bool {
    let mut open = None;
    let mut letters = beginning.chars();
    while let Some(letter) = letters.next() {
        match (letter, open) {
            ('\\', Some(_)) => drop(letters.next()),
            (quote, Some(with)) if quote == with => open = None,
            ('"' | '\'', None) => open = Some(letter),
            _ => {}
        }
    }
    open.is_some()
}

#[cfg(test)]
mod tests {
    use super::super::Predicate;
    use super::*;

    const VARIABLES: [&str; 4] = ["status", "body", "answer", "headers"];

    fn refused(text: &str) -> (String, Option<usize>) {
        let error = Predicate::compile(text, &VARIABLES).expect_err(text);
        (error.message, error.at)
    }

    #[test]
    fn an_unknown_variable_is_refused_with_the_nearest_and_its_place() {
        let (message, at) = refused("1 < statsu");
        assert_eq!(
            message,
            "no variable `statsu` here, did you mean `status`? There are status, body, answer, headers"
        );
        assert_eq!(at, Some(4));
        let (message, at) = refused("answer.foo == 'foo' && foo");
        assert_eq!(message, "no variable `foo` here; there are status, body, answer, headers");
        assert_eq!(at, Some(23), "neither the field nor the text of that name");
        assert_eq!(refused("answer.list.exists(x, y > 3)").1, Some(22));
        for ok in ["answer.list.exists(x, x > 3)", "!answer.map(y, [y]).all(z, {'k': z.filter(q, q == 1)}.size() == 1)"]
        {
            assert!(Predicate::compile(ok, &VARIABLES).is_ok(), "{ok}");
        }
    }

    #[test]
    fn an_unknown_function_is_refused_with_the_nearest_and_its_place() {
        for (text, message, at) in [
            ("body.startWith('ok')", "no function `startWith`, did you mean `startsWith`?", 5),
            ("status == 200 && siez(answer) > 0", "no function `siez`, did you mean `size`?", 17),
            ("answer.list.exist(x, 3)", "no function `exist`, did you mean `exists`?", 12),
            ("haz(answer.free)", "no function `haz`, did you mean `has`?", 0),
            ("answer.exists(x)", "`exists` is written in another way: list.exists(x, x > 3)", 7),
        ] {
            assert_eq!(refused(text), (message.to_owned(), Some(at)), "{text}");
        }
        assert!(
            refused("answer.list.exists(x, frobnicate(x))").0.starts_with("no function `frobnicate`; there are has, ")
        );
    }

    #[test]
    fn every_function_and_every_form_can_be_written() {
        for text in [
            "size(answer) > 0 && answer.size() > 0",
            "body.startsWith('a') && body.endsWith('b') && body.contains('c')",
            "int('1') == 1 && double('1') == 1.0 && string(1) == '1' && uint(1) == 1u && bytes('a') == b'a'",
            "type(1) == type(2) && dyn(1) == 1",
            "has(answer.key) && 1 in answer.list && answer.list.exists_one(x, x > 3)",
            "(status > 1 ? -status : 3) + 1 * 2 - 4 / 2 % 3 != 0 || !(answer['a b'][0] <= 3)",
        ] {
            let compiled = Predicate::compile(text, &VARIABLES);
            assert!(compiled.is_ok(), "{text}: {compiled:?}");
        }
        for form in FORMS {
            assert!(Predicate::compile(form.1, &["answer", "list"]).is_ok(), "{form:?}");
        }
    }

    #[test]
    fn what_is_certainly_neither_yes_nor_no_is_refused() {
        for (text, message) in [
            ("status", "`status`, a number, is neither yes nor no: compare it, such as status == 200"),
            ("!body", "`body`, a text, is neither yes nor no: compare it, such as body.contains('ok')"),
            ("status == 200 && size(body)", "what `size` gives is neither yes nor no: compare it"),
            ("status - 200", "what is calculated is neither yes nor no: compare it"),
            ("status > 1 ? 'in' : 'out'", "a number or a text is neither yes nor no: compare it"),
            ("[status]", "a list is neither yes nor no: compare it"),
        ] {
            assert_eq!(refused(text), (message.to_owned(), None), "{text}");
        }
        for fine in ["answer", "answer.ok && true", "!answer.ok", "dyn(answer)", "has(answer.ok)", "answer[0] || false"]
        {
            assert!(Predicate::compile(fine, &VARIABLES).is_ok(), "{fine}");
        }
        let own = "answer.list.exists(status, status)";
        assert!(Predicate::compile(own, &VARIABLES).is_ok(), "a name of its own");
    }

    #[test]
    fn the_functions_offered_are_those_of_this_build() {
        let missing: Vec<_> = FUNCTIONS.into_iter().filter(|name| !is_function(name)).collect();
        assert_eq!(missing, [""; 0]);
    }
}
