//! Which variables a rule speaks of, and which fields of them, outside the scope of those it declares itself.

use std::collections::BTreeSet;

use cel::IdedExpr;
use cel::common::ast::Expr;

use super::expression::children;

/// Names that are no variables: the types, and what functions begin with.
const TYPES: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "dyn",
    "int",
    "list",
    "map",
    "null_type",
    "optional",
    "optional_type",
    "string",
    "type",
    "uint",
];

/// A variable nobody knows.
pub struct Unknown<'a> {
    /// The expression it is.
    pub id: u64,
    /// Its name.
    pub name: &'a str,
}

/// The first unknown variable.
pub fn unknown<'a>(expression: &'a IdedExpr, known: &[&str]) -> Option<Unknown<'a>> {
    Search { known, own: Vec::new() }.search(expression)
}

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

struct Search<'a, 'k> {
    known: &'k [&'k str],
    /// Declared by `all`, `exists`, `map` and their like around the expression.
    own: Vec<&'a str>,
}

impl<'a> Search<'a, '_> {
    fn search(&mut self, expression: &'a IdedExpr) -> Option<Unknown<'a>> {
        match &expression.expr {
            Expr::Ident(name) => {
                let plain = name.trim_start_matches('.');
                let known = self.known.contains(&plain) || self.own.contains(&plain) || TYPES.contains(&plain);
                // The parser's own variables begin with @.
                (!known && !plain.starts_with('@')).then_some(Unknown { id: expression.id, name: plain })
            }
            Expr::Comprehension(one) => {
                if let Some(unknown) = self.search(&one.iter_range).or_else(|| self.search(&one.accu_init)) {
                    return Some(unknown);
                }
                let outer = self.own.len();
                self.own.push(&one.iter_var);
                self.own.extend(one.iter_var2.as_deref());
                self.own.push(&one.accu_var);
                let inner = [&one.loop_cond, &one.loop_step, &one.result];
                let unknown = inner.into_iter().find_map(|one| self.search(one));
                self.own.truncate(outer);
                unknown
            }
            _ => children(expression).into_iter().find_map(|one| self.search(one)),
        }
    }
}
