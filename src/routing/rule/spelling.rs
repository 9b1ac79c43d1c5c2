//! Expressions and operators as they are written in a rule, for messages.

use cel::IdedExpr;
use cel::common::ast::{Expr, LiteralValue, operators};

/// How much of a text is shown.
const SHOWN: usize = 40;

/// Names an expression in an error: by its full name or its short text, else by its kind.
pub fn spell(one: &IdedExpr) -> String {
    match &one.expr {
        Expr::Literal(LiteralValue::String(text)) => {
            let text = text.inner();
            let more = if text.chars().count() > SHOWN { "…" } else { "" };
            format!("\"{}{more}\"", text.chars().take(SHOWN).collect::<String>())
        }
        Expr::Literal(LiteralValue::Int(number)) => number.inner().to_string(),
        Expr::Literal(LiteralValue::UInt(number)) => format!("{}u", number.inner()),
        Expr::Literal(LiteralValue::Double(number)) => number.inner().to_string(),
        Expr::Literal(LiteralValue::Boolean(flag)) => flag.inner().to_string(),
        Expr::Literal(LiteralValue::Null) => "null".to_owned(),
        Expr::Literal(LiteralValue::Bytes(_)) => "this".to_owned(),
        _ => path(one).map_or_else(|| "this".to_owned(), |path| format!("`{path}`")),
    }
}

fn path(one: &IdedExpr) -> Option<String> {
    match &one.expr {
        Expr::Ident(name) if !name.starts_with(['@', '#']) => Some(name.clone()),
        Expr::Select(select) if !select.test => Some(format!("{}.{}", path(&select.operand)?, select.field)),
        Expr::Call(call) => match (call.func_name.as_str(), &call.target, &call.args[..]) {
            (operators::INDEX, _, [of, index]) => Some(format!("{}[{}]", path(of)?, spell(index).replace('`', ""))),
            (_, Some(target), _) => Some(format!("{}.{}(…)", path(target)?, call.func_name)),
            (name, None, _) if name.starts_with(|c: char| c.is_alphabetic()) => Some(format!("{name}(…)")),
            _ => None,
        },
        _ => None,
    }
}

/// An operator as it is written: the parser calls `==` by the name `_==_`.
pub fn operator(name: &str) -> &str {
    name.trim_matches(['_', '@'])
}
