//! Secrets as written: the text itself, or where to find it. No message here ever repeats one.

use std::fs;

use config::{Value, ValueKind};

use super::Environment;
use super::section::scalar;
use crate::domain::secret::Secret;

/// Where a secret is.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// Here.
    Here(Secret),
    /// In this environment variable.
    Env(String),
    /// In this file.
    File(String),
}

/// Reads how a secret is written. Any scalar is taken as its text.
///
/// # Errors
/// What is wrong, as a sentence for the operator.
pub fn place(value: &Value) -> Result<Place, String> {
    const EXPECTED: &str = "must be a string, { env = \"NAME\" } or { file = \"PATH\" }";
    if let Some(text) = scalar(value) {
        return not_empty(text).map(Place::Here);
    }
    let ValueKind::Table(table) = &value.kind else { return Err(EXPECTED.to_owned()) };
    let named = |key: &str| match table.get(key).map(|value| &value.kind) {
        Some(ValueKind::String(text)) if !text.is_empty() => Some(text.clone()),
        _ => None,
    };
    if table.len() != 1 {
        return Err(EXPECTED.to_owned());
    }
    named("env").map(Place::Env).or_else(|| named("file").map(Place::File)).ok_or_else(|| EXPECTED.to_owned())
}

/// Reads how one secret or a list of them is written.
///
/// # Errors
/// What is wrong, as a sentence for the operator.
pub fn places(value: &Value) -> Result<Vec<Place>, String> {
    let ValueKind::Array(items) = &value.kind else { return place(value).map(|one| vec![one]) };
    if items.is_empty() {
        return Err("must not be an empty list".to_owned());
    }
    let numbered = |(index, item)| place(item).map_err(|message| format!("entry {}: {message}", index + 1));
    items.iter().enumerate().map(numbered).collect()
}

impl Place {
    /// Fetches the secret. One line break at the end of a file is not part of it.
    ///
    /// # Errors
    /// What is wrong, as a sentence for the operator.
    pub fn fetch(self, environment: &Environment) -> Result<Secret, String> {
        match self {
            Self::Here(secret) => Ok(secret),
            Self::Env(name) => match environment.get(&name) {
                Some(text) => not_empty(text.clone()).map_err(|_| format!("the environment variable {name} is empty")),
                None => Err(format!("the environment variable {name} is not set")),
            },
            Self::File(path) => {
                // The reason of a text fault would quote nothing, but that of a read fault is safe by its kind alone.
                let bytes = fs::read(&path).map_err(|fault| format!("cannot read {path}: {}", fault.kind()))?;
                let mut text = String::from_utf8(bytes).map_err(|_| format!("{path} is not UTF-8 text"))?;
                if text.ends_with('\n') {
                    text.pop();
                    if text.ends_with('\r') {
                        text.pop();
                    }
                }
                not_empty(text).map_err(|_| format!("{path} is empty"))
            }
        }
    }
}

fn not_empty(text: String) -> Result<Secret, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.into()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use config::Map;

    use super::*;

    fn table(pairs: &[(&str, &str)]) -> Value {
        let map: Map<String, Value> = pairs.iter().map(|(k, v)| ((*k).to_owned(), Value::new(None, *v))).collect();
        Value::new(None, map)
    }

    fn from_file(content: &[u8]) -> Result<Secret, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        place(&table(&[("file", file.path().to_str().unwrap())])).unwrap().fetch(&Environment::new())
    }

    #[test]
    fn a_number_is_taken_as_its_digits() {
        assert!(place(&Value::new(None, 5)) == Ok(Place::Here(Secret::from("5".to_owned()))));
        assert!(place(&Value::new(None, true)) == Ok(Place::Here(Secret::from("true".to_owned()))));
    }

    #[test]
    fn one_line_break_at_the_end_of_a_file_is_not_part_of_it() {
        for (content, secret) in [
            ("007", "007"),
            ("hunter2\n", "hunter2"),
            ("hunter2\r\n", "hunter2"),
            ("hunter2\n\n", "hunter2\n"),
            ("hunter2\r", "hunter2\r"),
            (" hunter2 ", " hunter2 "),
        ] {
            assert_eq!(from_file(content.as_bytes()), Ok(Secret::from(secret.to_owned())), "{content:?}");
        }
    }

    #[test]
    fn a_secret_that_is_not_there_is_said_by_its_place_only() {
        let fetch = |pairs: &[(&str, &str)], environment: &[(&str, &str)]| {
            let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            place(&table(pairs)).unwrap().fetch(&environment)
        };
        assert_eq!(fetch(&[("env", "PW")], &[]), Err("the environment variable PW is not set".to_owned()));
        assert_eq!(fetch(&[("env", "PW")], &[("PW", "")]), Err("the environment variable PW is empty".to_owned()));
        assert_eq!(fetch(&[("env", "PW")], &[("PW", "x")]), Ok(Secret::from("x".to_owned())));
        assert_eq!(fetch(&[("file", "/nowhere")], &[]), Err("cannot read /nowhere: entity not found".to_owned()));
        assert!(from_file(b"\n").unwrap_err().ends_with("is empty"));
        assert!(from_file(b"\xff\xfe").unwrap_err().ends_with("is not UTF-8 text"));
    }

    #[test]
    fn several_secrets_are_a_list_and_one_needs_none() {
        let here = |text: &str| Place::Here(Secret::from(text.to_owned()));
        assert!(places(&Value::new(None, "a")) == Ok(vec![here("a")]));
        assert!(places(&Value::new(None, vec!["a", "b"])) == Ok(vec![here("a"), here("b")]));
        let list = |items: Vec<Value>| Value::new(None, ValueKind::Array(items));
        let both = list(vec![Value::new(None, "a"), table(&[("file", "f")])]);
        assert!(places(&both) == Ok(vec![here("a"), Place::File("f".to_owned())]));
        let refused = |value: &Value| places(value).map(drop).unwrap_err();
        assert_eq!(refused(&list(Vec::new())), "must not be an empty list");
        assert!(refused(&list(vec![Value::new(None, "a"), Value::new(None, "")])).starts_with("entry 2: "));
    }

    #[test]
    fn any_other_shape_is_refused_without_repeating_it() {
        for value in [
            Value::new(None, vec!["hunter2"]),
            table(&[("env", "hunter2"), ("file", "hunter2")]),
            table(&[("evn", "hunter2")]),
            table(&[]),
            Value::new(None, ""),
        ] {
            let message = place(&value).map(|_| ()).unwrap_err();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
