//! Whether a rule can mean something: its names and types, held against what events look like.
//!
//! * A rule is refused only for what no event can make right: a name that nothing has, a constant that a field never is, a
//!   comparison or a call that fails or has the same answer whatever the event says. The loader relies on that.
//! * What is not known can be anything, and passes.
//! * A key of `data` is known if any type of event has it, and `null` stands wherever the schema allows it.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators};

use super::constants;
use super::expression::children;
use super::functions::{FUNCTIONS, MACROS, OPTIONAL};
use super::spelling::{operator, spell};
use crate::routing::schema::{EVENT, Fields, Kinds, Type};
use crate::settings::check::unknown;

/// Names that are no variables: those of types.
const TYPES: &[&str] =
    &["bool", "bytes", "double", "dyn", "int", "list", "map", "null_type", "optional_type", "string", "type", "uint"];

const ORDERED: Kinds = Kinds::ANY.without(Kinds::NULL).without(Kinds::LIST).without(Kinds::MAP).without(Kinds::OTHER);
const ADDED: Kinds = ORDERED.without(Kinds::BOOL);

/// Describes what is wrong with a rule.
#[derive(Debug)]
pub struct Fault {
    /// The expression it is about.
    pub id: u64,
    /// If it is about one name in the expression, that name.
    pub name: Option<Name>,
    /// What is wrong with it.
    pub reason: String,
}

/// A name in an expression: the parser says only where the dot or the bracket is.
#[derive(Debug)]
pub enum Name {
    /// It stands behind a dot.
    Field(String),
    /// It stands before a bracket.
    Function(String),
}

type Checked<T> = Result<T, Fault>;

/// Checks a whole rule.
pub fn check(rule: &IdedExpr) -> Checked<()> {
    let answer = Checker { own: Vec::new() }.of(rule)?;
    if answer.kinds.meets(Kinds::BOOL) {
        return Ok(());
    }
    fault(rule, format!("a rule is true or false, and {} is {}", spell(rule), answer.kinds))
}

struct Checker<'a> {
    /// The variables that the rule declares itself, by `all`, `exists` and their like; the innermost last.
    own: Vec<(&'a str, Type)>,
}

fn fault<T>(at: &IdedExpr, reason: String) -> Checked<T> {
    Err(Fault { id: at.id, name: None, reason })
}

fn field<T>(at: &IdedExpr, name: &str, reason: String) -> Checked<T> {
    Err(Fault { id: at.id, name: Some(Name::Field(name.to_owned())), reason })
}

fn function<T>(at: &IdedExpr, name: &str, reason: String) -> Checked<T> {
    Err(Fault { id: at.id, name: Some(Name::Function(name.to_owned())), reason })
}

impl<'a> Checker<'a> {
    /// What an expression can be.
    fn of(&mut self, one: &'a IdedExpr) -> Checked<Type> {
        match &one.expr {
            Expr::Unspecified => Ok(Type::ANY),
            Expr::Literal(literal) => Ok(literal_of(literal, one.id)),
            Expr::Ident(name) => self.variable(one, name.trim_start_matches('.')),
            Expr::Select(select) => self.select(one, select),
            Expr::Call(call) => match &call.target {
                None => self.operation(one, call),
                Some(target) => self.method(one, call, target),
            },
            Expr::List(list) => {
                let items = list.elements.iter().map(|item| self.of(item));
                let items = items.collect::<Checked<Vec<_>>>()?.into_iter().reduce(Type::or);
                let optional = !list.optional_indices.is_empty();
                Ok(if optional { Type::of(Kinds::LIST) } else { Type::list(items.unwrap_or(Type::of(Kinds::NONE))) })
            }
            Expr::Map(map) => {
                let (mut keys, mut values) = (Type::of(Kinds::NONE), Type::of(Kinds::NONE));
                for entry in &map.entries {
                    let EntryExpr::MapEntry(pair) = &entry.expr else { continue };
                    keys = keys.or(self.of(&pair.key)?);
                    let value = self.of(&pair.value)?;
                    values = values.or(if pair.optional { Type::ANY } else { value });
                }
                Ok(Type::map(Fields { keys, named: [].into(), others: Some(values) }))
            }
            Expr::Struct(_) => {
                children(one).into_iter().try_for_each(|child| self.of(child).map(drop))?;
                Ok(Type::ANY)
            }
            Expr::Comprehension(rounds) => self.rounds(rounds),
        }
    }

    fn own(&self, name: &str) -> Option<&Type> {
        self.own.iter().rev().find(|(own, _)| *own == name).map(|(_, known)| known)
    }

    fn variable(&self, at: &IdedExpr, name: &str) -> Checked<Type> {
        if let Some(known) = self.own(name).or_else(|| EVENT.field(name)) {
            return Ok(known.clone());
        }
        if TYPES.contains(&name) {
            return Ok(Type::of(Kinds::OTHER));
        }
        let what = format!("variable `{name}`");
        if EVENT.field("data").is_some_and(|data| data.field(name).is_some()) {
            return fault(at, format!("unknown {what}; it is a key of `data`: write `data.{name}`"));
        }
        let own = self.own.iter().map(|(own, _)| *own).filter(|own| !own.starts_with(['@', '#']));
        fault(at, unknown(&what, name, EVENT.names().chain(own)))
    }

    fn select(&mut self, at: &'a IdedExpr, select: &'a SelectExpr) -> Checked<Type> {
        let field = self.field(at, &select.operand, &select.field)?;
        Ok(if select.test { Type::of(Kinds::BOOL) } else { field })
    }

    /// Returns the type of the field of this name.
    fn field(&mut self, at: &'a IdedExpr, operand: &'a IdedExpr, name: &str) -> Checked<Type> {
        let of = self.of(operand)?;
        if !of.kinds.meets(Kinds::MAP | Kinds::OTHER) {
            return field(at, name, format!("{} is {} and has no field `{name}`", spell(operand), of.kinds));
        }
        let Some(fields) = of.fields.as_ref().filter(|_| !of.kinds.meets(Kinds::OTHER)) else { return Ok(Type::ANY) };
        match fields.named.get(name).or(fields.others.as_ref()) {
            Some(known) => Ok(known.clone()),
            None => field(at, name, self.unknown_field(operand, name, &of)),
        }
    }

    fn unknown_field(&self, operand: &IdedExpr, name: &str, of: &Type) -> String {
        let what = format!("field `{name}` of {}", spell(operand));
        let whole = matches!(&operand.expr, Expr::Ident(data) if data == "data" && self.own(data).is_none());
        if whole && EVENT.field(name).is_some() {
            return format!("unknown {what}; it is an attribute of the event: write `{name}`");
        }
        unknown(&what, name, of.names())
    }

    fn operation(&mut self, at: &'a IdedExpr, call: &'a CallExpr) -> Checked<Type> {
        let boolean = Type::of(Kinds::BOOL);
        match (call.func_name.as_str(), &call.args[..]) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, args) => {
                args.iter().try_for_each(|arg| self.truth(arg))?;
                Ok(boolean)
            }
            (operators::NOT_STRICTLY_FALSE, [arg]) => self.of(arg).map(|_| boolean),
            (operators::CONDITIONAL, [condition, then, otherwise]) => {
                self.truth(condition)?;
                Ok(self.of(then)?.or(self.of(otherwise)?))
            }
            (operators::EQUALS | operators::NOT_EQUALS, [left, right]) => {
                let types = (self.of(left)?, self.of(right)?);
                alike(at, (left, &types.0), (right, &types.1))?;
                Ok(boolean)
            }
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                [one, other],
            ) => {
                let (left, right) = (self.of(one)?, self.of(other)?);
                let common = left.kinds.with_all_numbers().and(right.kinds.with_all_numbers());
                if common.meets(ORDERED) { Ok(boolean) } else { unlike(at, (one, &left), (other, &right)) }
            }
            (operators::IN, [one, place]) => {
                let (item, of) = (self.of(one)?, self.of(place)?);
                if !of.kinds.meets(Kinds::LIST | Kinds::MAP) {
                    return fault(place, format!("`in` wants a list or a map, and {} is {}", spell(place), of.kinds));
                }
                if let Some(inside) = elements(&of) {
                    alike(at, (one, &item), (place, &inside))?;
                }
                Ok(boolean)
            }
            (operators::INDEX, [of, index]) => self.index(at, of, index),
            (operators::OPT_INDEX, [of, index]) => self.index(at, of, index).map(|_| Type::of(Kinds::OTHER)),
            (operators::OPT_SELECT, [of, IdedExpr { expr: Expr::Literal(LiteralValue::String(name)), .. }]) => {
                self.field(at, of, name.inner()).map(|_| Type::of(Kinds::OTHER))
            }
            (operators::ADD, [one, other]) => {
                let (left, right) = (self.of(one)?, self.of(other)?);
                let common = left.kinds.and(right.kinds).and(ADDED | Kinds::LIST | Kinds::OTHER);
                if common == Kinds::NONE {
                    return unlike(at, (one, &left), (other, &right));
                }
                let items = left.items.zip(right.items).map(|(one, other)| Box::new(one.or(*other)));
                Ok(Type { items, ..Type::of(common) })
            }
            (operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO, [one, other]) => {
                let (left, right) = (self.of(one)?, self.of(other)?);
                let common = left.kinds.and(right.kinds).and(Kinds::NUMBER | Kinds::OTHER);
                if common == Kinds::NONE { unlike(at, (one, &left), (other, &right)) } else { Ok(Type::of(common)) }
            }
            (operators::NEGATE, [arg]) => {
                let of = self.of(arg)?;
                if !of.kinds.meets(Kinds::NUMBER) {
                    return fault(arg, format!("{} is {} and has no negative", spell(arg), of.kinds));
                }
                Ok(Type::of(of.kinds.and(Kinds::NUMBER)))
            }
            (name, args) => self.call(at, name, None, args),
        }
    }

    fn truth(&mut self, one: &'a IdedExpr) -> Checked<()> {
        let of = self.of(one)?;
        if of.kinds.meets(Kinds::BOOL) {
            return Ok(());
        }
        fault(one, format!("{} is {}, not true or false", spell(one), of.kinds))
    }

    fn index(&mut self, at: &'a IdedExpr, of: &'a IdedExpr, index: &'a IdedExpr) -> Checked<Type> {
        let (known, by) = (self.of(of)?, self.of(index)?);
        if !known.kinds.meets(Kinds::LIST | Kinds::MAP | Kinds::OTHER) {
            return fault(at, format!("{} is {}: nothing in it can be asked for", spell(of), known.kinds));
        }
        if known.kinds.meets(Kinds::OTHER) {
            return Ok(Type::ANY);
        }
        let mut found = Type::of(Kinds::NONE);
        if known.kinds.meets(Kinds::LIST) {
            if !known.kinds.meets(Kinds::MAP) && !by.kinds.meets(Kinds::NUMBER) {
                let index = (spell(index), by.kinds);
                return fault(
                    at,
                    format!("{} is a list, and {} is {}, not a place in it", spell(of), index.0, index.1),
                );
            }
            found = found.or(known.items.as_deref().map_or(Type::ANY, Type::clone));
        }
        if known.kinds.meets(Kinds::MAP) {
            let Some(fields) = &known.fields else { return Ok(Type::ANY) };
            if let Expr::Literal(LiteralValue::String(name)) = &index.expr
                && fields.others.is_none()
                && known.kinds == Kinds::MAP
            {
                let Some(field) = fields.named.get(name.inner()) else {
                    return fault(index, self.unknown_field(of, name.inner(), &known));
                };
                return Ok(field.clone());
            }
            if !known.kinds.meets(Kinds::LIST) {
                alike(at, (index, &by), (of, &fields.keys))?;
            }
            found = found.or(fields.any());
        }
        Ok(found)
    }

    fn method(&mut self, at: &'a IdedExpr, call: &'a CallExpr, target: &'a IdedExpr) -> Checked<Type> {
        if matches!(&target.expr, Expr::Ident(name) if name == OPTIONAL) {
            call.args.iter().try_for_each(|arg| self.of(arg).map(drop))?;
            return Ok(Type::of(Kinds::OTHER));
        }
        self.call(at, &call.func_name, Some(target), &call.args)
    }

    fn call(
        &mut self,
        at: &'a IdedExpr,
        name: &str,
        target: Option<&'a IdedExpr>,
        args: &'a [IdedExpr],
    ) -> Checked<Type> {
        let ways = || FUNCTIONS.iter().filter(|way| way.name == name);
        if MACROS.contains(&name) {
            return function(at, name, format!("`{name}` is not called like this: it is {}", how_macro(name)));
        }
        if ways().next().is_none() {
            let known = FUNCTIONS.iter().map(|way| way.name).chain(MACROS.iter().copied());
            return function(at, name, unknown(&format!("function `{name}`"), name, known));
        }
        let given: Vec<_> = target.into_iter().chain(args).collect();
        let Some(way) = ways().find(|way| way.on == target.is_some() && way.takes.len() == given.len()) else {
            let how: Vec<_> = ways().map(|way| usage(way.name, way.on, way.takes.len())).collect();
            return function(at, name, format!("the function `{name}` is called as {}", how.join(" or ")));
        };
        let types = given.iter().map(|arg| self.of(arg)).collect::<Checked<Vec<_>>>()?;
        for ((arg, known), wanted) in given.iter().zip(&types).zip(way.takes) {
            if !known.kinds.meets(*wanted) {
                let text = format!("`{name}` takes {wanted}, and {} is {}", spell(arg), known.kinds);
                return fault(arg, text);
            }
        }
        if let ([of, pattern], [what, _]) = (&types[..], &given[..])
            && let Some((place, reason)) = constants::never(name, &spell(what), of, pattern)
        {
            return Err(Fault { id: place, name: None, reason });
        }
        Ok(Type::of(way.gives))
    }

    /// A loop: what it goes through, what it gathers, and what it gives.
    fn rounds(&mut self, one: &'a ComprehensionExpr) -> Checked<Type> {
        let range = self.of(&one.iter_range)?;
        if !range.kinds.meets(Kinds::LIST | Kinds::MAP) {
            let over = (spell(&one.iter_range), range.kinds);
            return fault(&one.iter_range, format!("{} is {}: there is nothing to go through", over.0, over.1));
        }
        let item = elements(&range).filter(|item| item.kinds != Kinds::NONE).unwrap_or(Type::ANY);
        let begin = self.of(&one.accu_init)?;
        let outer = self.own.len();
        self.own.push((&one.iter_var, item));
        self.own.extend(one.iter_var2.as_deref().map(|second| (second, Type::ANY)));
        self.own.push((&one.accu_var, begin.clone()));
        self.of(&one.loop_cond)?;
        let gathered = self.of(&one.loop_step)?;
        if let Some((_, accumulator)) = self.own.last_mut() {
            *accumulator = begin.or(gathered);
        }
        let result = self.of(&one.result);
        self.own.truncate(outer);
        result
    }
}

fn literal_of(literal: &LiteralValue, id: u64) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::of(Kinds::BOOL),
        LiteralValue::Bytes(_) => Type::of(Kinds::BYTES),
        LiteralValue::Double(_) => Type::of(Kinds::FLOAT),
        LiteralValue::Int(_) => Type::of(Kinds::INT),
        LiteralValue::Null => Type::of(Kinds::NULL),
        LiteralValue::String(text) => Type::word(text.inner(), Some(id)),
        LiteralValue::UInt(_) => Type::of(Kinds::UINT),
    }
}

/// Returns the type that a loop over a list or map goes through: of the items, or of the keys.
fn elements(of: &Type) -> Option<Type> {
    match (of.kinds.meets(Kinds::LIST), of.kinds.meets(Kinds::MAP)) {
        (true, false) => of.items.as_deref().cloned(),
        (false, true) => of.fields.as_ref().map(|fields| fields.keys.clone()),
        (true, true) | (false, false) => None,
    }
}

type Operand<'a, 'b> = (&'a IdedExpr, &'b Type);

/// Refuses what can never be equal: unlike types, and a text that is none of those the other side can be.
fn alike(at: &IdedExpr, left: Operand<'_, '_>, right: Operand<'_, '_>) -> Checked<()> {
    let kinds = |of: &Type| of.kinds.with_all_numbers().without(Kinds::NULL);
    let (one, other) = (kinds(left.1), kinds(right.1));
    // What is null and nothing else, or what is in an empty list, is compared with anything.
    if one != Kinds::NONE && other != Kinds::NONE && !one.meets(other) {
        return unlike(at, left, right);
    }
    for (known, written, of) in [(left.1, right.1, left.0), (right.1, left.1, right.0)] {
        if let Some((place, reason)) = constants::stranger(&spell(of), known, written) {
            return Err(Fault { id: place, name: None, reason });
        }
    }
    match (&left.1.items, &right.1.items) {
        (Some(one), Some(other)) => alike(at, (left.0, one), (right.0, other)),
        _ => Ok(()),
    }
}

fn unlike<T>(at: &IdedExpr, left: Operand<'_, '_>, right: Operand<'_, '_>) -> Checked<T> {
    let how = match &at.expr {
        Expr::Call(call) => operator(&call.func_name),
        _ => "==",
    };
    let ((one, is), (other, but)) = ((spell(left.0), left.1.kinds), (spell(right.0), right.1.kinds));
    let hint = hint(left, right).or_else(|| hint(right, left)).unwrap_or_default();
    fault(at, format!("`{how}` between unlike types: {one} is {is}, {other} is {but}{hint}"))
}

/// Suggests a correction where a number is written as a text, or a whole number beside one with a fraction.
fn hint(number: Operand<'_, '_>, written: Operand<'_, '_>) -> Option<String> {
    let Expr::Literal(literal) = &written.0.expr else { return None };
    match literal {
        LiteralValue::String(text) if number.1.kinds.meets(Kinds::NUMBER) && text.inner().parse::<f64>().is_ok() => {
            Some(format!("; write {} without quotes", text.inner()))
        }
        LiteralValue::Int(whole) if number.1.kinds.meets(Kinds::FLOAT) => Some(format!("; write {}.0", whole.inner())),
        _ => None,
    }
}

fn how_macro(name: &str) -> String {
    match name {
        "has" => "`has(data.KEY)`".to_owned(),
        name => format!("`LIST.{name}(NAME, …)`"),
    }
}

fn usage(name: &str, on: bool, takes: usize) -> String {
    let args = |n: usize| vec!["…"; n].join(", ");
    if on { format!("`….{name}({})`", args(takes.saturating_sub(1))) } else { format!("`{name}({})`", args(takes)) }
}
