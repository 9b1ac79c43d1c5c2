//! One layer of settings, and how a later one is laid over an earlier one.

use std::borrow::Cow;

use config::{ConfigError, Map, Source, Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_parser::lexer::TokenKind;

use crate::domain::limits::CONFIG_DEPTH;

/// The settings of one file, or of the environment.
#[derive(Clone)]
pub struct Layer(Map<String, Value>);

impl Layer {
    /// Reads TOML.
    ///
    /// # Errors
    /// Line, column and reason; never the text itself, which may hold a password.
    pub fn toml(text: &str) -> Result<Self, String> {
        Self::read(text, None)
    }

    /// Reads the TOML that `file` holds: each value knows the file, and the line of its key.
    ///
    /// # Errors
    /// As [`Layer::toml`].
    pub fn of_file(text: &str, file: &str) -> Result<Self, String> {
        Self::read(text, Some(file))
    }

    fn read(text: &str, file: Option<&str>) -> Result<Self, String> {
        if let Some(at) = too_deep(text) {
            return Err(format!("{}: nested deeper than {CONFIG_DEPTH} levels", place(text, at)));
        }
        let table = DeTable::parse(text).map_err(|fault| {
            let at = fault.span().map_or(0, |span| span.start);
            format!("{}: {}", place(text, at), fault.message())
        })?;
        Ok(Self(Written::new(text, file).map(table.into_inner())))
    }

    /// The given settings.
    pub fn of(table: Map<String, Value>) -> Self {
        Self(table)
    }
}

/// All layers as one, the later over the earlier.
///
/// Not by way of a `ConfigBuilder`: it takes top-level keys such as `"a.b"` or `"a[99999999]"` for paths.
pub fn merge(layers: &Vec<Layer>) -> Value {
    Value::new(None, layers.collect().unwrap_or_default())
}

/// Where a text goes deeper than a configuration may: the parser, and whoever reads what it made, goes down by recursion.
/// A bracket that does not fit the one before it closes nothing, so that no text is deeper to the parser than it is here.
fn too_deep(text: &str) -> Option<usize> {
    let (mut open, mut dots) = (Vec::new(), 0);
    for token in toml_parser::Source::new(text).lex() {
        let opened = match token.kind() {
            TokenKind::RightSquareBracket => Some(TokenKind::LeftSquareBracket),
            TokenKind::RightCurlyBracket => Some(TokenKind::LeftCurlyBracket),
            kind @ (TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket) => {
                open.push(kind);
                None
            }
            _ => None,
        };
        open.pop_if(|kind| opened == Some(*kind));
        dots = match token.kind() {
            TokenKind::Dot => dots + 1,
            TokenKind::Equals | TokenKind::Comma | TokenKind::Newline => 0,
            _ => dots,
        };
        if open.len() > CONFIG_DEPTH || dots >= CONFIG_DEPTH {
            return Some(token.span().start());
        }
    }
    None
}

/// Line and column of a byte, as an operator counts them.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {line}, column {column}")
}

/// A text, and where in its file each part stands.
struct Written<'a> {
    text: &'a str,
    file: Option<String>,
    /// Where each line but the first begins.
    lines: Vec<usize>,
}

impl<'a> Written<'a> {
    fn new(text: &'a str, file: Option<&str>) -> Self {
        let lines = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        Self { text, file: file.map(|file| file.replace(['\n', '\r'], " ")), lines }
    }

    fn origin(&self, at: usize) -> Option<String> {
        let line = self.lines.partition_point(|begin| *begin <= at) + 1;
        Some(format!("{}, line {line}", self.file.as_ref()?))
    }

    fn map(&self, table: DeTable<'_>) -> Map<String, Value> {
        let pair = |(key, item): (Spanned<Cow<'_, str>>, Spanned<DeValue<'_>>)| {
            let (origin, span) = (self.origin(key.span().start), item.span());
            let value = Value::new(origin.as_ref(), self.kind(span, item.into_inner()));
            (key.into_inner().into_owned(), value)
        };
        table.into_iter().map(pair).collect()
    }

    fn kind(&self, span: std::ops::Range<usize>, item: DeValue<'_>) -> ValueKind {
        let raw = self.text.get(span).unwrap_or_default();
        match item {
            DeValue::String(string) => string.into_owned().into(),
            DeValue::Boolean(flag) => flag.into(),
            DeValue::Integer(_) => match raw.parse::<i64>() {
                Ok(number) if raw == number.to_string() => number.into(),
                _ => raw.into(),
            },
            // As written: a password 1.50 or 1_000 without quotes must not become 1.5 or 1000.
            DeValue::Float(_) | DeValue::Datetime(_) => raw.into(),
            DeValue::Array(items) => {
                let items = items.into_iter().map(|item| Value::new(None, self.kind(item.span(), item.into_inner())));
                ValueKind::Array(items.collect())
            }
            DeValue::Table(table) => self.map(table).into(),
        }
    }
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[settings]")
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }

    /// Not the provided merge: it would mix the `env` of one layer's secret with the `file` of another's.
    fn collect_to(&self, cache: &mut Value) -> Result<(), ConfigError> {
        lay(Value::new(None, self.0.clone()), cache);
        Ok(())
    }
}

fn lay(upper: Value, lower: &mut Value) {
    let section = |value: &Value| matches!(&value.kind, ValueKind::Table(table) if !is_place(table));
    if !section(&upper) || !section(lower) {
        *lower = upper;
        return;
    }
    // What is missing from a section is missing from where it was written last.
    let origin = upper.origin().or(lower.origin()).map(str::to_owned);
    if let (ValueKind::Table(below), ValueKind::Table(above)) = (&mut lower.kind, upper.kind) {
        for (key, value) in above {
            match below.get_mut(&key) {
                Some(below) => lay(value, below),
                None => drop(below.insert(key, value)),
            }
        }
    }
    *lower = Value::new(origin.as_ref(), std::mem::take(&mut lower.kind));
}

/// Whether this table says where a secret is: then it is one value, not a section.
pub(super) fn is_place(table: &Map<String, Value>) -> bool {
    let scalar = |value: &Value| !matches!(value.kind, ValueKind::Table(_) | ValueKind::Array(_));
    !table.is_empty() && table.iter().all(|(key, value)| matches!(key.as_str(), "env" | "file") && scalar(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(layers: &[&str]) -> Value {
        merge(&layers.iter().map(|text| Layer::toml(text).unwrap()).collect())
    }

    #[test]
    fn no_text_is_nested_so_deep_that_reading_it_exhausts_the_stack() {
        let keys = ["a"; 15].join(".");
        let allowed = format!("{}1{}", format!("{{ {keys} = ").repeat(16), " }".repeat(16));
        assert!(Layer::toml(&format!("{keys} = {allowed}")).is_ok());
        assert!(Layer::toml(&format!("text = \"{}\" # {}", "[{".repeat(99), "[{".repeat(99))).is_ok());
        let dotted = ["a"; 70].join(".");
        for text in [
            format!("a = {}", "[".repeat(2_000_000)),
            format!("a = {}", "{ a = ".repeat(500_000)),
            format!("a = {}", "{ a = ] ".repeat(500_000)),
            format!("a = {}", "[ } ".repeat(500_000)),
            format!("a = {}1{}", format!("{{ {dotted} = ").repeat(70), " }".repeat(70)),
            format!("[{}]", vec!["a"; 500_000].join(".")),
            "a\n.".repeat(500_000),
            "[".repeat(2_000_000),
        ] {
            let told = Layer::toml(&text).map(drop).unwrap_err();
            assert!(told.starts_with("line ") && told.len() < 200, "{told}");
        }
    }

    #[test]
    fn a_later_layer_wins_key_by_key() {
        let both = merged(&["[a.x]\none = 1\ntwo = 2\n[b]\nlist = [1]", "[a.x]\ntwo = 3\n[b]\nlist = []"]);
        assert_eq!(both, merged(&["[a.x]\none = 1\ntwo = 3\n[b]\nlist = []"]));
    }

    #[test]
    fn a_later_place_of_a_secret_replaces_an_earlier_one() {
        let both = merged(&["password = { env = \"A\" }", "password = { file = \"b\" }"]);
        assert_eq!(both, merged(&["password = { file = \"b\" }"]));
    }

    #[test]
    fn a_key_that_looks_like_a_path_stays_one_key() {
        let value = merged(&["\"a.b\" = 1\n\"c[99999999999]\" = 2"]);
        assert!(matches!(value.kind, ValueKind::Table(table) if table.len() == 2));
    }

    #[test]
    fn a_number_without_quotes_keeps_its_digits() {
        let ValueKind::Table(table) = merged(&["a = 1.50\nb = 1_000\nc = 99999999999999999999\nd = 42"]).kind else {
            unreachable!()
        };
        assert_eq!(table["a"].kind, ValueKind::from("1.50"));
        assert_eq!(table["b"].kind, ValueKind::from("1_000"));
        assert_eq!(table["c"].kind, ValueKind::from("99999999999999999999"));
        assert_eq!(table["d"].kind, ValueKind::from(42));
    }

    #[test]
    fn a_syntax_error_names_line_and_column_but_not_the_text() {
        let fault = Layer::toml("a = 1\npassword = \"hunter2\nb = 2").unwrap_err();
        assert!(fault.starts_with("line 2, column "), "{fault}");
        assert!(!fault.contains("hunter2"), "{fault}");
    }
}
