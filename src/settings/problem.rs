//! What is wrong with a configuration, and where.

use std::fmt;

use super::places::Places;

/// One thing that is wrong. Prints as `accounts.front-desk.jid: <message> (accounts.toml, line 7)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The dotted path of the key, or the file that could not be read.
    pub path: String,
    /// What is wrong; free of secrets, one line.
    pub message: String,
    /// The file and line, or the environment variable, that it was written in.
    pub place: Option<String>,
}

impl Problem {
    fn new(path: &dyn fmt::Display, message: &dyn fmt::Display) -> Self {
        let one_line = |text: String| text.replace(['\n', '\r'], " ");
        Self { path: one_line(path.to_string()), message: one_line(message.to_string()), place: None }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        match &self.place {
            Some(place) => write!(f, " ({place})"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong. Prints one problem per line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    faults: Vec<Problem>,
    warnings: Vec<Problem>,
    notes: Vec<Problem>,
}

impl Problems {
    /// Notes one more. Line breaks become spaces, so that a problem stays one line.
    pub fn add(&mut self, path: impl fmt::Display, message: impl fmt::Display) {
        self.faults.push(Problem::new(&path, &message));
    }

    /// Notes what should not be so, and yet keeps nothing from running: it is no problem in all that follows.
    pub fn warn(&mut self, path: impl fmt::Display, message: impl fmt::Display) {
        self.warnings.push(Problem::new(&path, &message));
    }

    /// Notes what may well be meant so, and is worth a second look.
    pub fn note(&mut self, path: impl fmt::Display, message: impl fmt::Display) {
        self.notes.push(Problem::new(&path, &message));
    }

    /// What keeps nothing from running: what should not be so, and what is worth a second look. Each by path.
    #[must_use]
    pub fn into_remarks(self) -> (Vec<Problem>, Vec<Problem>) {
        let sorted = |mut remarks: Vec<Problem>| {
            remarks.sort();
            remarks.dedup();
            remarks
        };
        (sorted(self.warnings), sorted(self.notes))
    }

    /// The same, each with the place its key was written in.
    #[must_use]
    pub fn located(mut self, places: &Places) -> Self {
        for one in self.faults.iter_mut().chain(&mut self.warnings).chain(&mut self.notes) {
            one.place = places.of_key(&one.path).map(str::to_owned);
        }
        self
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// The problems, each once, by path.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.faults.sort();
        self.faults.dedup();
        self
    }

    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.faults.iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The dotted path of a key, as written in the file: `accounts.front-desk.jid`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// The path of `key` in the table at this path. A key that TOML wants in quotes gets them.
    #[must_use]
    pub fn join(&self, key: &str) -> Self {
        let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let key = if bare { key.to_owned() } else { format!("\"{}\"", key.escape_debug()) };
        if self.0.is_empty() { Self(key) } else { Self(format!("{}.{key}", self.0)) }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_come_by_path_each_once_and_one_per_line() {
        let mut problems = Problems::default();
        problems.add("xmpp.port", "too\nlong");
        problems.add("accounts.a.jid", "is missing");
        problems.add("accounts.a.jid", "is missing");
        assert_eq!(problems.sorted().to_string(), "accounts.a.jid: is missing\nxmpp.port: too long");
    }

    #[test]
    fn a_key_that_needs_quotes_keeps_them_in_the_path() {
        let path = Path::default().join("accounts").join("a.b\n").join("jid");
        assert_eq!(path.to_string(), "accounts.\"a.b\\n\".jid");
    }
}
