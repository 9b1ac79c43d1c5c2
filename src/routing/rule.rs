//! A sink's `when`: a CEL expression over one event.
//!
//! The event's attributes and `data` are the variables. A rule is checked against what events look like when it is
//! compiled (`meaning`). Must not know sinks, queues or where the text came from.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::objects::{Key, Map};
use cel::{Context, Env, ExecutionError, ParseErrors, Program, Value};
use serde_json::Value as Json;

use crate::domain::limits::{RULE_BYTES, RULE_DEPTH, RULE_STEPS};

use super::schema::EVENT;
use meaning::Name;

mod constants;
mod expression;
mod functions;
mod meaning;
mod names;
mod spelling;

/// The variable with most of what an event says.
const DATA: &str = "data";

/// Stack for the parser, which takes dozens of frames for a bracket; used only as far as needed.
const STACK: usize = 64 << 20;

/// The functions and types a rule has.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A compiled rule. Cheap to clone; equal to another of the same text.
#[derive(Clone)]
pub struct Rule(Arc<Compiled>);

struct Compiled {
    text: String,
    program: Program,
    /// The attributes of an event that the rule speaks of, `data` among them; only these are converted.
    variables: Vec<&'static str>,
    /// The fields of `data` it speaks of, where it names each; else all of them are converted.
    fields: Option<Vec<String>>,
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It is not CEL.
    #[error("line {line}, column {column}: {reason}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What the parser says.
        reason: String,
    },
    /// It speaks of what no event has, or compares what is never alike.
    #[error("line {line}, column {column}: {reason}")]
    Meaning {
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What is wrong, and the name that is meant, if one is near.
        reason: String,
    },
    /// It is longer or deeper than a rule may be.
    #[error("is longer than {RULE_BYTES} bytes or nested deeper than {RULE_DEPTH} levels")]
    TooLarge,
    /// Its loops within loops would keep every event waiting.
    #[error(
        "takes too long: its loops (`all`, `exists`, `map`, `filter`) may come to more than {RULE_STEPS} steps for one event"
    )]
    TooSlow,
    /// The parser gave up in disorder.
    #[error("cannot be parsed")]
    Unparsable,
}

/// Why a rule has no answer for an event. The sink does not get it then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleFault {
    /// The expression cannot be evaluated, e.g. compares a text with a number.
    #[error("{0}")]
    Evaluation(String),
    /// The answer is neither true nor false.
    #[error("the answer is {0}, not true or false")]
    NotBoolean(String),
    /// The evaluation gave up in disorder.
    #[error("the evaluation failed")]
    Disorder,
}

impl Rule {
    /// Compiles a CEL expression.
    ///
    /// # Errors
    /// Where and why it is none, or which name in it is unknown.
    pub fn compile(text: &str) -> Result<Self, RuleError> {
        if text.len() > RULE_BYTES {
            return Err(RuleError::TooLarge);
        }
        // The parser is generated code that unwraps here and there: its panic must stay with its thread.
        std::thread::scope(|scope| {
            let parser = std::thread::Builder::new().stack_size(STACK);
            let parser = parser.spawn_scoped(scope, || Self::parse(text)).map_err(|_| RuleError::Unparsable)?;
            parser.join().map_err(|_| RuleError::Unparsable)?
        })
    }

    fn parse(text: &str) -> Result<Self, RuleError> {
        let program = ENV.compile(text).map_err(|faults| syntax(text, &faults))?;
        if expression::depth(program.expression()) > RULE_DEPTH {
            return Err(RuleError::TooLarge);
        }
        if expression::steps(program.expression()) > RULE_STEPS {
            return Err(RuleError::TooSlow);
        }
        meaning::check(program.expression()).map_err(|fault| meant(text, &program, fault))?;
        let references = program.references();
        let variables = EVENT.names().filter(|name| references.has_variable(name)).collect();
        let fields = names::fields(program.expression(), DATA);
        let fields = fields.map(|fields| fields.into_iter().map(str::to_owned).collect());
        Ok(Self(Arc::new(Compiled { text: text.to_owned(), program, variables, fields })))
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Whether `event`, in the form of interface section 3, is meant.
    ///
    /// # Errors
    /// If the rule has no answer for this event.
    pub fn matches(&self, event: &Json) -> Result<bool, RuleFault> {
        let evaluate = || {
            let mut context = Context::with_env(Arc::clone(&ENV));
            for name in &self.0.variables {
                context.add_variable_from_value(*name, self.0.variable(name, event));
            }
            self.0.program.execute(&context)
        };
        match catch_unwind(AssertUnwindSafe(evaluate)).map_err(|_| RuleFault::Disorder)? {
            Ok(Value::Bool(answer)) => Ok(answer),
            Ok(other) => Err(RuleFault::NotBoolean(other.type_of().to_string())),
            Err(fault) => Err(RuleFault::Evaluation(reason(&fault))),
        }
    }
}

impl Compiled {
    fn variable(&self, name: &str, event: &Json) -> Value {
        match (event.get(name), &self.fields) {
            (None, _) => Value::Null,
            (Some(Json::Object(data)), Some(fields)) if name == DATA => {
                map(fields.iter().filter_map(|field| data.get_key_value(field)))
            }
            (Some(whole), _) => value(whole),
        }
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.0.text).finish()
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Rule {}

/// JSON knows one kind of number; a whole one must compare with `5`, not only with `5u`.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::Int(whole),
            (None, Some(float)) => Value::Float(float),
            (None, None) => Value::Null,
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::from(items.iter().map(value).collect::<Vec<_>>()),
        Json::Object(fields) => map(fields.iter()),
    }
}

fn map<'a>(fields: impl Iterator<Item = (&'a String, &'a Json)>) -> Value {
    let fields: HashMap<Key, Value> = fields.map(|(key, item)| (Key::from(key.as_str()), value(item))).collect();
    Value::Map(Map { map: Arc::new(fields) })
}

fn syntax(text: &str, faults: &ParseErrors) -> RuleError {
    let Some(fault) = faults.errors.first() else { return RuleError::Unparsable };
    let line = usize::try_from(fault.pos.0).unwrap_or(1).max(1);
    let column = usize::try_from(fault.pos.1).unwrap_or(1).max(1);
    // The end of the text may be said to lie beyond it.
    let end = position(text, text.len());
    let (line, column) = (line, column).min(end);
    RuleError::Syntax { line, column, reason: fault.msg.clone() }
}

/// The line and column, in characters, of the byte `at` this offset.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before: Vec<char> = text.char_indices().take_while(|(offset, _)| *offset < at).map(|(_, c)| c).collect();
    let line = before.iter().filter(|c| **c == '\n').count() + 1;
    (line, before.iter().rev().take_while(|c| **c != '\n').count() + 1)
}

/// Puts a fault at its line and column. What a macro was made into stands where the macro does.
fn meant(text: &str, program: &Program, fault: meaning::Fault) -> RuleError {
    let begin = program.source_info().offset_for(fault.id).map_or(0, |(start, _)| start as usize);
    let (before, after) = text.split_at_checked(begin).unwrap_or((text, ""));
    let found = match &fault.name {
        None => None,
        Some(Name::Field(name)) => after.find(name).map(|at| begin + at),
        Some(Name::Function(name)) => before.rfind(name).or_else(|| after.find(name).map(|at| begin + at)),
    };
    let (line, column) = position(text, found.unwrap_or(begin));
    RuleError::Meaning { line, column, reason: fault.reason }
}

/// Why a rule has no answer: types and names, never what the event says.
fn reason(fault: &ExecutionError) -> String {
    const LONG: usize = 200;
    let text = match fault {
        ExecutionError::NoSuchKey(key) => format!("the event has no `{key}`"),
        ExecutionError::NoSuchOverload(call) => {
            let types = call.argument_types().join(" and ").replace("null_type", "null");
            format!("`{}` cannot be applied to {types}", spelling::operator(call.function()))
        }
        ExecutionError::UnsupportedBinaryOperator(name, one, other) => {
            format!("`{name}` cannot be applied to {} and {}", one.type_of(), other.type_of())
        }
        ExecutionError::ValuesNotComparable(one, other) => {
            format!("{} and {} cannot be compared", one.type_of(), other.type_of())
        }
        ExecutionError::UnsupportedTargetType { target } => format!("cannot be done with {}", target.type_of()),
        ExecutionError::NotSupportedAsMethod { method, target } => {
            format!("`{method}` cannot be applied to {}", target.type_of())
        }
        ExecutionError::UnsupportedKeyType(key) => format!("{} is no key", key.type_of()),
        ExecutionError::UnsupportedIndex(index, of) => {
            format!("{} cannot be looked up in {}", index.type_of(), of.type_of())
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "division by zero".to_owned(),
        ExecutionError::Overflow(name, ..) => format!("`{name}` overflows"),
        other => other.to_string(),
    };
    if text.chars().count() <= LONG { text } else { text.chars().take(LONG).chain(['…']).collect() }
}

#[cfg(test)]
mod tests;
