//! The table that events go to: its name, how it is made, and the statement that fills it. Must not know any connection.

use std::fmt::{self, Write};
use std::str::FromStr;

/// The longest name the server keeps, in bytes.
const LONGEST: usize = 63;

/// What each column that we know gets, as text: `e` is the event taken apart, `u.body` the whole of it.
const COLUMNS: [(&str, &str); 10] = [
    ("id", "e.id"),
    ("source", "e.source"),
    ("type", "e.type"),
    ("time", "e.time"),
    ("subject", "e.subject"),
    ("partitionkey", "e.partitionkey"),
    ("sequence", "e.sequence"),
    ("account", "e.data ->> 'account'"),
    ("data", "e.data::text"),
    ("event", "u.body"),
];

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

    /// The statement that inserts the events `$1`, a list of texts, in their order; `columns` are those it has, with
    /// their types as the server writes them.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn insertion(&self, columns: &[(String, String)]) -> Result<String, String> {
        let (mut names, mut values) = (String::new(), String::new());
        for (name, value) in COLUMNS {
            if let Some((_, kind)) = columns.iter().find(|(column, _)| column == name) {
                let comma = if names.is_empty() { "" } else { ", " };
                let _ = write!(names, "{comma}{}", quoted(name));
                let _ = write!(values, "{comma}CAST({value} AS {kind})");
            }
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

    #[test]
    fn only_the_columns_it_has_are_filled_as_what_they_are() {
        let table: Table = "t".parse().unwrap();
        let column = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
        let text = table.insertion(&[column("note", "text"), column("event", "jsonb"), column("id", "uuid")]).unwrap();
        assert!(text.starts_with(
            "INSERT INTO \"t\" (\"id\", \"event\") SELECT CAST(e.id AS uuid), CAST(u.body AS jsonb) FROM"
        ));
        assert_eq!(table.insertion(&[column("event", "jsonb")]), Err("the table \"t\" has no column id".to_owned()));
    }
}
