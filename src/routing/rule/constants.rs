//! The constants in a rule, held against the only texts that a field can be.

use cel::common::ast::{CallExpr, Expr, LiteralValue};
use cel::{Context, IdedExpr, Value};

use super::ENV;
use crate::routing::schema::Type;
use crate::settings::check::unknown;

/// The first text written in the rule that `known` can never be, and why; `name` is what `known` is called.
pub fn stranger(name: &str, known: &Type, written: &Type) -> Option<(u64, String)> {
    let possible = known.words.as_ref().filter(|words| words.values().any(Option::is_none))?;
    let (text, place) = written.words.as_ref()?.iter().find_map(|(text, place)| {
        let place = (*place)?;
        (!possible.contains_key(text)).then_some((text, place))
    })?;
    let what = format!("value \"{text}\": {name} is never that");
    Some((place, unknown(&what, text, possible.keys().map(String::as_str))))
}

/// Why a test of texts by `function` (`startsWith`, `matches`, …) can never be true; the place is that of the pattern.
pub fn never(function: &str, name: &str, of: &Type, pattern: &Type) -> Option<(u64, String)> {
    let (pattern, place) = pattern.words.as_ref()?.iter().find_map(|(text, place)| Some((text, (*place)?)))?;
    let test = |text: &str| try_out(function, text, pattern);
    if test("").is_none() && function == "matches" {
        return Some((place, format!("\"{pattern}\" is no regular expression")));
    }
    let possible = of.words.as_ref().filter(|words| words.values().all(Option::is_none))?;
    if possible.keys().any(|text| test(text) != Some(false)) {
        return None;
    }
    let how = match function {
        "startsWith" => "begins with",
        "endsWith" => "ends with",
        "contains" => "contains",
        "matches" => "matches",
        _ => return None,
    };
    let is: Vec<_> = possible.keys().map(|text| format!("`{text}`")).collect();
    Some((place, format!("{name} never {how} \"{pattern}\"; it is one of {}", is.join(", "))))
}

/// Returns the answer of the rule itself; none where it would have no answer.
fn try_out(function: &str, text: &str, pattern: &str) -> Option<bool> {
    let literal = |text: &str| IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::String(text.to_owned().into())) };
    let call = CallExpr {
        func_name: function.to_owned(),
        target: Some(Box::new(literal(text))),
        args: vec![literal(pattern)],
    };
    let call = IdedExpr { id: 0, expr: Expr::Call(call) };
    match Value::resolve(&call, &Context::with_env(ENV.clone())) {
        Ok(Value::Bool(answer)) => Some(answer),
        Ok(_) | Err(_) => None,
    }
}
