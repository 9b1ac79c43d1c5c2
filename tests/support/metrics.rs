//! The Prometheus text format, as far as a test has to read it.

use std::collections::BTreeMap;

const PREFIX: &str = "onsip_router_";

/// One line of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// One scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    pub samples: Vec<Sample>,
}

impl Metrics {
    /// Reads the text of a scrape; panics where it is not the text format, for that is a failed test.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self {
            samples: lines
                .map(|line| parse_sample(line).unwrap_or_else(|| panic!("not a line of a scrape: {line:?}")))
                .collect(),
        }
    }

    /// The sum of the samples called `name` (with or without the prefix) that carry all of `labels`; `None` if there
    /// is no such sample.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self
            .named(name)
            .filter(|sample| labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|has| has == value)));
        let first = found.next()?.value;
        Some(found.fold(first, |sum, sample| sum + sample.value))
    }

    /// Every sample called `name`, with or without the prefix.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        let short = name.strip_prefix(PREFIX).unwrap_or(name);
        self.samples.iter().filter(move |s| s.name == name || s.name.strip_prefix(PREFIX) == Some(short))
    }
}

fn parse_sample(line: &str) -> Option<Sample> {
    let (series, value) = match line.rfind('}') {
        Some(end) => line.split_at(end + 1),
        None => line.split_at(line.find(' ')?),
    };
    let value = value.split_whitespace().next()?.parse().ok()?;
    let Some((name, labels)) = series.split_once('{') else {
        return Some(Sample { name: series.to_owned(), labels: BTreeMap::new(), value });
    };
    Some(Sample { name: name.to_owned(), labels: parse_labels(labels.strip_suffix('}')?)?, value })
}

fn parse_labels(mut rest: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (key, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next()? {
                (end, '"') => break end,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.insert(key.trim_start_matches(',').to_owned(), value);
        rest = quoted[end + 1..].trim_start_matches(',');
    }
    Some(labels)
}
