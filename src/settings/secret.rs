//! Secrets as written: the text itself, or where to find it. No message here ever repeats one.

use config::{Value, ValueKind};

use super::Environment;
use super::files::{Unreadable, as_text, read_content};
use super::section::scalar;
use crate::domain::limits::SECRET_FILE;
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
    /// Fetches the secret, and says what an operator should know of where it was. A byte order mark and one line break at the
    /// end of a file are not part of it.
    ///
    /// # Errors
    /// What is wrong, as a sentence for the operator.
    pub fn fetch(self, environment: &Environment) -> Result<(Secret, Option<String>), String> {
        match self {
            Self::Here(secret) => Ok((secret, None)),
            Self::Env(name) => match environment.get(&name) {
                Some(text) => not_empty(text.clone())
                    .map(|secret| (secret, None))
                    .map_err(|_| format!("the environment variable {name} is empty")),
                None => Err(format!("the environment variable {name} is not set")),
            },
            Self::File(path) => {
                let unreadable = |fault: Unreadable| format!("{path}: {fault}");
                let content = read_content(std::path::Path::new(&path), SECRET_FILE).map_err(unreadable)?;
                let mut text = as_text(content.bytes).map_err(unreadable)?;
                if text.ends_with('\n') {
                    text.pop();
                    if text.ends_with('\r') {
                        text.pop();
                    }
                }
                let loose = loose(&path, content.mode);
                not_empty(text).map(|secret| (secret, loose)).map_err(|_| format!("{path} is empty"))
            }
        }
    }
}

/// What is wrong with the permissions of a file that holds a secret. That its group may read it is common practice.
pub fn loose(path: &str, mode: u32) -> Option<String> {
    let write = mode & 0o022 != 0;
    let read = mode & 0o004 != 0;
    let others = match (read, write) {
        (_, true) => "others can change it",
        (true, false) => "everybody on this machine can read it",
        (false, false) => return None,
    };
    Some(format!("{path} has mode {mode:04o}, {others}: make it 0600"))
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
        let place = place(&table(&[("file", file.path().to_str().unwrap())])).unwrap();
        place.fetch(&Environment::new()).map(|(secret, _)| secret)
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
            ("\u{feff}hunter2\r\n", "hunter2"),
        ] {
            assert_eq!(from_file(content.as_bytes()), Ok(Secret::from(secret.to_owned())), "{content:?}");
        }
    }

    #[test]
    fn a_secret_that_is_not_there_is_said_by_its_place_only() {
        let fetch = |pairs: &[(&str, &str)], environment: &[(&str, &str)]| {
            let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            place(&table(pairs)).unwrap().fetch(&environment).map(|(secret, _)| secret)
        };
        assert_eq!(fetch(&[("env", "PW")], &[]), Err("the environment variable PW is not set".to_owned()));
        assert_eq!(fetch(&[("env", "PW")], &[("PW", "")]), Err("the environment variable PW is empty".to_owned()));
        assert_eq!(fetch(&[("env", "PW")], &[("PW", "x")]), Ok(Secret::from("x".to_owned())));
        assert_eq!(fetch(&[("file", "/nowhere")], &[]), Err("/nowhere: no such file".to_owned()));
        assert!(from_file(b"\n").unwrap_err().ends_with("is empty"));
        assert!(from_file(b"\xff\xfe").unwrap_err().ends_with("is not UTF-8 text"));
    }

    #[test]
    fn c12_a_file_that_others_can_read_or_change_is_told_of_with_its_mode() {
        for (mode, told) in [
            (0o600, None),
            (0o400, None),
            (0o640, None),
            (0o644, Some("f has mode 0644, everybody on this machine can read it: make it 0600")),
            (0o666, Some("f has mode 0666, others can change it: make it 0600")),
            (0o660, Some("f has mode 0660, others can change it: make it 0600")),
        ] {
            assert_eq!(loose("f", mode).as_deref(), told, "{mode:o}");
        }
    }

    #[test]
    fn c13_a_secret_is_a_short_regular_file() {
        let fetch = |path: &str| place(&table(&[("file", path)])).unwrap().fetch(&Environment::new()).unwrap_err();
        assert_eq!(fetch("/dev/zero"), "/dev/zero: is no regular file");
        assert!(from_file(&vec![b'x'; 70_000]).unwrap_err().ends_with("is larger than 64 KiB"));
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
