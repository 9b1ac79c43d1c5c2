//! The functions that rules have: what each takes and what it gives.

use crate::routing::schema::Kinds;

/// One way to call a function.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Whether it is called on something: `text.startsWith(other)`.
    pub on: bool,
    /// What it takes, beginning with what it is called on.
    pub takes: &'static [Kinds],
    /// What it gives.
    pub gives: Kinds,
}

const SIZED: Kinds = Kinds::ANY.without(Kinds::NUMBER).without(Kinds::BOOL).without(Kinds::NULL).without(Kinds::OTHER);
const READABLE: Kinds = Kinds::ANY.without(Kinds::LIST).without(Kinds::MAP).without(Kinds::NULL).without(Kinds::OTHER);

const fn global(name: &'static str, takes: &'static [Kinds], gives: Kinds) -> Function {
    Function { name, on: false, takes, gives }
}

const fn on(name: &'static str, takes: &'static [Kinds], gives: Kinds) -> Function {
    Function { name, on: true, takes, gives }
}

/// Every function of the standard library in this build; a test tries each. A macro (`has`, `exists`, …) is none.
pub const FUNCTIONS: &[Function] = &[
    global("bool", &[READABLE], Kinds::BOOL),
    global("bytes", &[READABLE], Kinds::BYTES),
    global("double", &[READABLE], Kinds::FLOAT),
    global("dyn", &[Kinds::ANY], Kinds::ANY),
    global("int", &[READABLE], Kinds::INT),
    global("matches", &[Kinds::TEXT, Kinds::TEXT], Kinds::BOOL),
    global("size", &[SIZED], Kinds::INT),
    global("string", &[READABLE], Kinds::TEXT),
    global("type", &[Kinds::ANY], Kinds::OTHER),
    global("uint", &[READABLE], Kinds::UINT),
    on("contains", &[Kinds::TEXT, Kinds::TEXT], Kinds::BOOL),
    on("endsWith", &[Kinds::TEXT, Kinds::TEXT], Kinds::BOOL),
    on("hasValue", &[Kinds::OTHER], Kinds::BOOL),
    on("matches", &[Kinds::TEXT, Kinds::TEXT], Kinds::BOOL),
    on("or", &[Kinds::OTHER, Kinds::OTHER], Kinds::OTHER),
    on("orValue", &[Kinds::OTHER, Kinds::ANY], Kinds::ANY),
    on("size", &[SIZED], Kinds::INT),
    on("startsWith", &[Kinds::TEXT, Kinds::TEXT], Kinds::BOOL),
    on("value", &[Kinds::OTHER], Kinds::ANY),
];

/// Macros: they are functions to whoever writes a rule, and are suggested as such.
pub const MACROS: &[&str] = &["has", "all", "exists", "exists_one", "map", "filter"];

/// The functions with `optional` before them.
pub const OPTIONAL: &str = "optional";
