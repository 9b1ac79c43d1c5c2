//! The table that events go to: its name, how it is made, and the statement that fills it. Must not know any connection.

use std::fmt::{self, Write};
use std::str::FromStr;

/// The longest name the server keeps, in bytes.
const LONGEST: usize = 63;

/// A column that we know.
struct Known {
    name: &'static str,
    /// What it gets, as text: `e` is the event taken apart, `u.body` the whole of it.
    value: &'static str,
    /// A value that every type takes that takes any; none where the operator decides what values there are.
    sample: Option<&'static str>,
    /// A type that takes all of them.
    fitting: &'static str,
}

const COLUMNS: [Known; 10] = [
    Known::new("id", "e.id", Some("0123456789abcdef0123456789abcdef"), "text"),
    Known::new("source", "e.source", Some("xmpp:a.example?;node=/a/b"), "text"),
    Known::new("type", "e.type", Some("com.onsip.gap"), "text"),
    Known::new("time", "e.time", Some("2026-01-01T00:00:00Z"), "timestamptz"),
    Known::new("subject", "e.subject", None, "text"),
    Known::new("partitionkey", "e.partitionkey", Some("0123456789abcdef0123456789abcdef"), "text"),
    Known::new("sequence", "e.sequence", Some("0000000001"), "text"),
    Known::new("account", "e.data ->> 'account'", None, "text"),
    Known::new("data", "e.data::text", Some(r#"{"account": "a"}"#), "jsonb"),
    Known::new("event", "u.body", Some(r#"{"id": "a"}"#), "jsonb"),
];

impl Known {
    const fn new(name: &'static str, value: &'static str, sample: Option<&'static str>, fitting: &'static str) -> Self {
        Self { name, value, sample, fitting }
    }
}

/// A column that the table has and we can write, as the server describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// Its type without a length.
    pub(super) kind: String,
    /// The most characters it takes, where there is a limit.
    pub(super) length: Option<i32>,
    /// Whether its type lists the values it takes.
    pub(super) lists: bool,
    /// Whether a row needs a value for it.
    pub(super) required: bool,
}

/// A statement that fails where a column takes no event, and what is to be said then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    pub(super) cast: String,
    pub(super) reason: String,
}

/// Name of a table, perhaps with its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Where it is; absent: the first schema of the role's search path that has it.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
}

impl FromStr for Table {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        for part in schema.into_iter().chain([name]) {
            if part.is_empty() || part.contains('.') {
                return Err("must be TABLE or SCHEMA.TABLE".to_owned());
            }
            if part.len() > LONGEST || part.contains(char::is_control) {
                return Err(format!("must have names of at most {LONGEST} bytes, without control characters"));
            }
        }
        Ok(Self { schema: schema.map(str::to_owned), name: name.to_owned() })
    }
}

/// Quoted, so that it means this table whatever it is called.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", quoted(schema))?;
        }
        f.write_str(&quoted(&self.name))
    }
}

impl Table {
    /// The statement that makes it. `position` grows with each row, in the order of arrival.
    pub(super) fn creation(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {self} (
                position bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
                id text PRIMARY KEY,
                type text NOT NULL,
                time timestamptz NOT NULL,
                subject text,
                partitionkey text NOT NULL,
                sequence text NOT NULL,
                account text,
                data jsonb NOT NULL,
                event jsonb NOT NULL
            )"
        )
    }

    /// The statement that inserts the events `$1`, a list of texts, in their order; `columns` are those it has.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn insertion(&self, columns: &[Column]) -> Result<String, String> {
        let (mut names, mut values) = (String::new(), String::new());
        for (known, column) in filled(columns) {
            let comma = if names.is_empty() { "" } else { ", " };
            let _ = write!(names, "{comma}{}", quoted(known.name));
            let _ = write!(values, "{comma}CAST({} AS {})", known.value, column.kind);
        }
        if !names.starts_with("\"id\"") {
            return Err(format!("the table {self} has no column id"));
        }
        Ok(format!(
            "INSERT INTO {self} ({names}) SELECT {values} \
             FROM unnest($1::text[]) WITH ORDINALITY AS u (body, place), \
             LATERAL json_to_record(u.body::json) AS e (id text, source text, type text, time text, subject text, \
             partitionkey text, sequence text, data json) \
             ORDER BY u.place ON CONFLICT (id) DO NOTHING"
        ))
    }

    /// Returns a trial for each column that is filled, unless it depends on the configuration which values there are.
    pub(super) fn trials(&self, columns: &[Column]) -> Vec<Trial> {
        let trial = |(known, column): (&Known, &Column)| {
            let sample = known.sample.filter(|_| !column.lists)?;
            let (name, kind) = (known.name, &column.kind);
            Some(Trial {
                cast: format!("CAST('{sample}'::text AS {kind})"),
                reason: format!(
                    "the column {name} of the table {self} is of type {kind}, which takes the {name} of no event; it \
                     should be {}",
                    known.fitting
                ),
            })
        };
        filled(columns).filter_map(trial).collect()
    }

    /// Says which column is too short for any event.
    ///
    /// # Errors
    /// That.
    pub(super) fn check_lengths(&self, columns: &[Column]) -> Result<(), String> {
        for (known, column) in filled(columns) {
            // The ids are all of one length; of the others the samples are among the shortest.
            let shortest = known.sample.map_or(0, str::len);
            if let Some(length) = column.length.filter(|length| usize::try_from(*length).is_ok_and(|n| n < shortest)) {
                return Err(format!(
                    "the column {} of the table {self} takes {length} characters, an event has at least {shortest} \
                     there; it should be {}",
                    known.name, known.fitting
                ));
            }
        }
        Ok(())
    }
}

/// The columns that are filled.
fn filled(columns: &[Column]) -> impl Iterator<Item = (&'static Known, &Column)> {
    COLUMNS.iter().filter_map(|known| Some((known, columns.iter().find(|column| column.name == known.name)?)))
}

/// Returns the name of the first column that a row needs a value for and that we do not know.
pub(super) fn unfilled(columns: &[Column]) -> Option<&str> {
    let unknown = |column: &&Column| column.required && COLUMNS.iter().all(|known| known.name != column.name);
    columns.iter().find(unknown).map(|column| column.name.as_str())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_quoted_whatever_it_is() {
        let shown = |text: &str| text.parse::<Table>().unwrap().to_string();
        assert_eq!(shown("events"), "\"events\"");
        assert_eq!(shown("Calls.user"), "\"Calls\".\"user\"");
        assert_eq!(shown("x\"; DROP TABLE y --"), "\"x\"\"; DROP TABLE y --\"");
        for bad in ["", ".", "a.", ".a", "a.b.c", "a\0", &"x".repeat(64)] {
            assert!(bad.parse::<Table>().is_err(), "{bad:?}");
        }
    }

    fn column(name: &str, kind: &str) -> Column {
        Column { name: name.to_owned(), kind: kind.to_owned(), ..Column::default() }
    }

    #[test]
    fn only_the_columns_it_has_are_filled_as_what_they_are() {
        let table: Table = "t".parse().unwrap();
        let text = table.insertion(&[column("note", "text"), column("event", "jsonb"), column("id", "uuid")]).unwrap();
        assert!(text.starts_with(
            "INSERT INTO \"t\" (\"id\", \"event\") SELECT CAST(e.id AS uuid), CAST(u.body AS jsonb) FROM"
        ));
        assert_eq!(table.insertion(&[column("event", "jsonb")]), Err("the table \"t\" has no column id".to_owned()));
    }

    #[test]
    fn a4_a_column_is_tried_with_what_every_event_has_there() {
        let table: Table = "t".parse().unwrap();
        let listed = Column { lists: true, ..column("type", "call_kinds") };
        let trials = table.trials(&[column("id", "bigint"), column("account", "integer"), listed]);
        assert_eq!(trials.len(), 1, "{trials:?}");
        let Trial { cast, reason } = &trials[0];
        assert_eq!(cast, "CAST('0123456789abcdef0123456789abcdef'::text AS bigint)");
        assert!(reason.starts_with("the column id of the table \"t\" is of type bigint"), "{reason}");
    }

    #[test]
    fn a4_a_column_too_short_for_any_event_is_named() {
        let table: Table = "t".parse().unwrap();
        let short = |name: &str, length| Column { length: Some(length), ..column(name, "character varying") };
        assert_eq!(table.check_lengths(&[short("id", 32), short("account", 1), short("note", 1)]), Ok(()));
        assert!(table.check_lengths(&[short("id", 31)]).unwrap_err().contains("column id"));
    }

    #[test]
    fn a4_a_column_that_nobody_fills_is_named_only_where_a_row_needs_it() {
        let required = |name: &str| Column { required: true, ..column(name, "text") };
        assert_eq!(unfilled(&[required("id"), column("note", "text")]), None);
        assert_eq!(unfilled(&[required("id"), required("note")]), Some("note"));
    }
}
