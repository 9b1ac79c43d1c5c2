//! Which fields of a variable a rule asks for.

use std::collections::BTreeSet;

use cel::IdedExpr;
use cel::common::ast::Expr;

use super::expression::children;

/// The fields of the variable `name` that a rule asks for by their names; none where it asks for the variable as a whole.
pub fn fields<'a>(expression: &'a IdedExpr, name: &str) -> Option<BTreeSet<&'a str>> {
    let mut fields = BTreeSet::new();
    collect(expression, name, &mut fields).then_some(fields)
}

fn collect<'a>(expression: &'a IdedExpr, name: &str, fields: &mut BTreeSet<&'a str>) -> bool {
    let is_it = |ident: &str| ident.trim_start_matches('.') == name;
    match &expression.expr {
        Expr::Ident(ident) => !is_it(ident),
        Expr::Select(select) if matches!(&select.operand.expr, Expr::Ident(ident) if is_it(ident)) => {
            fields.insert(&select.field);
            true
        }
        _ => children(expression).into_iter().all(|one| collect(one, name, fields)),
    }
}
