//! Settings as an operator writes them: tables of keys, the layers they come from, and what is wrong with them.
//!
//! Every section has one table of [`Key`]s beside its options; type checks, unknown keys, defaults and the JSON Schema
//! all come from it. Must not know any section, nor what a setting is for.

use std::collections::BTreeMap;
use std::time::Duration;

pub mod bytes;
pub mod check;
pub mod duration;
pub mod environment;
pub mod files;
pub mod layer;
pub mod places;
pub mod problem;
pub mod schema;
pub mod secret;
pub mod section;
pub mod sources;
pub mod target;
pub mod watch;

/// The environment variables a configuration is read with.
pub type Environment = BTreeMap<String, String>;

/// One key of a section.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As written in the file.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds if it is not written.
    pub absent: Absent,
    /// What it is for, in one line.
    pub help: &'static str,
}

/// What holds if a key is not written.
#[derive(Clone, Copy, Debug)]
pub enum Absent {
    /// That is a problem.
    Refused,
    /// This value, as text.
    Default(&'static str),
    /// Nothing, or what the help of the key says.
    Fine,
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A text.
    Text(Text),
    /// The path of a file that connections are made from: watched, and taken over when it changes.
    File,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A whole number within these bounds.
    Whole {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// A number with a unit, at least this long.
    Duration {
        /// The shortest.
        min: Duration,
    },
    /// A size in bytes with a unit, at least this large.
    Bytes {
        /// The smallest.
        min: u64,
    },
    /// A secret: a text, or where to find it.
    Secret,
    /// One secret or a list of them.
    Secrets,
    /// A list of texts.
    List(Text),
    /// A table of lists of texts.
    Lists {
        /// What the keys of the table look like.
        name: Text,
        /// What a text in a list looks like.
        item: Text,
    },
    /// A table with these keys.
    Section(&'static [Key]),
    /// A table of tables with these keys, by a name the operator chooses; at least one.
    Named {
        /// What one of them is called: `account`.
        what: &'static str,
        /// What a name looks like.
        name: Text,
        /// The keys of each.
        keys: &'static [Key],
    },
    /// A table of tables by a name the operator chooses, at least one; `type` says which further keys each has.
    Typed {
        /// What one of them is called: `sink`.
        what: &'static str,
        /// What a name looks like.
        name: Text,
        /// The keys all have besides `type`.
        keys: &'static [Key],
        /// The further keys, by `type`.
        types: &'static [Type],
    },
}

/// One value of `type`, and the keys that go with it.
#[derive(Clone, Copy, Debug)]
pub struct Type {
    /// The value of `type`.
    pub name: &'static str,
    /// What it is for, in one line.
    pub help: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
    /// The feature that this build is without, so that it has no more of the type than its name.
    pub lacks: Option<&'static str>,
}

/// What a text looks like.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// Says what is wrong with a text. The message must not repeat it.
    pub check: fn(&str) -> Result<(), String>,
    /// The same for the JSON Schema, as far as an ECMA 262 expression can say it.
    pub pattern: Option<&'static str>,
}

impl Text {
    /// Any text but the empty one.
    pub const ANY: Self = Self { check: not_empty, pattern: Some("^.") };
}

fn not_empty(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(()) }
}

/// The key that says which type a named table is.
pub const TYPE: &str = "type";
