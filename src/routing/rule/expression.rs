//! The tree of a parsed rule.

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, operators};

use crate::domain::limits::RULE_LOOP;

/// What an expression is made of.
pub fn children(expression: &IdedExpr) -> Vec<&IdedExpr> {
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(parts).collect(),
        Expr::Struct(fields) => fields.entries.iter().flat_map(parts).collect(),
        Expr::Comprehension(one) => {
            vec![&one.iter_range, &one.accu_init, &one.loop_cond, &one.loop_step, &one.result]
        }
    }
}

fn parts(entry: &IdedEntryExpr) -> Vec<&IdedExpr> {
    match &entry.expr {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(pair) => vec![&pair.key, &pair.value],
    }
}

/// How many expressions lie within one another at most.
pub fn depth(expression: &IdedExpr) -> usize {
    1 + children(expression).into_iter().map(depth).max().unwrap_or(0)
}

/// How many expressions an evaluation takes, as far as the text tells: the body of a loop counts once for each round.
pub fn steps(expression: &IdedExpr) -> usize {
    let Expr::Comprehension(one) = &expression.expr else {
        return children(expression).into_iter().map(steps).fold(1, usize::saturating_add);
    };
    let round = steps(&one.loop_cond).saturating_add(steps(&one.loop_step));
    [&one.iter_range, &one.accu_init, &one.result]
        .into_iter()
        .map(steps)
        .fold(rounds(&one.iter_range).saturating_mul(round), usize::saturating_add)
}

/// How many rounds a loop over this makes.
fn rounds(range: &IdedExpr) -> usize {
    match &range.expr {
        Expr::List(list) => list.elements.len(),
        Expr::Map(map) => map.entries.len(),
        // As many as the loop that made it; what only says yes or no is nothing to go through.
        Expr::Comprehension(one) => rounds(&one.iter_range),
        Expr::Call(call) if call.func_name == operators::ADD => call.args.iter().map(rounds).sum(),
        Expr::Call(call) if call.func_name == operators::CONDITIONAL => {
            call.args.iter().skip(1).map(rounds).max().unwrap_or(RULE_LOOP)
        }
        _ => RULE_LOOP,
    }
}
