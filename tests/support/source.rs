//! Rust sources as tokens, for the tests that hold the code to its rules.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each test uses its own part of this"
)]

use std::path::{Path, PathBuf};

/// The folder of the project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file in `folder` and below, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Leaves out every item under `#[cfg(test)]`.
pub fn without_tests(tokens: &[Token]) -> Vec<Token> {
    divided(tokens).0
}

/// What `without_tests` leaves out.
pub fn tests_only(tokens: &[Token]) -> Vec<Token> {
    divided(tokens).1
}

fn divided(tokens: &[Token]) -> (Vec<Token>, Vec<Token>) {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut code, mut tests) = (Vec::new(), Vec::new());
    let mut rest = tokens;
    while let Some(token) = rest.first() {
        if rest.iter().map(|token| token.text.as_str()).take(MARK.len()).eq(MARK) {
            rest = &rest[MARK.len()..];
            let (item, after) = rest.split_at(item_length(rest));
            tests.extend_from_slice(item);
            rest = after;
        } else {
            code.push(token.clone());
            rest = &rest[1..];
        }
    }
    (code, tests)
}

/// How many tokens the item at the front has: to its `;` or the end of its braces.
fn item_length(tokens: &[Token]) -> usize {
    let mut open = 0;
    let mut is_use = false;
    for (index, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "use" if open == 0 => is_use = true,
            "{" | "(" | "[" => open += 1,
            ")" | "]" => open -= 1,
            "}" => {
                open -= 1;
                if open == 0 && !is_use {
                    return index + 1;
                }
            }
            ";" if open == 0 => return index + 1,
            _ => {}
        }
    }
    tokens.len()
}

#[derive(Clone, Debug)]
pub struct Token {
    pub line: usize,
    pub text: String,
}

pub fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::`, and single signs; no comments, no literals.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = literal(rest) {
            length
        } else {
            let length = match first {
                _ if is_word(rest) => rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            if !first.is_whitespace() {
                found.push(Token { line, text: rest[..length].to_owned() });
            }
            length
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        match rest {
            _ if rest.starts_with("/*") => (depth, at) = (depth + 1, at + 2),
            _ if rest.starts_with("*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += rest.chars().next().map_or(1, char::len_utf8),
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The length of a string or character literal, or of a lifetime, if one begins here.
fn literal(text: &str) -> Option<usize> {
    let prefix = text.find(|c| !matches!(c, 'b' | 'c' | 'r')).filter(|length| *length <= 2)?;
    let (letters, rest) = text.split_at(prefix);
    let hashes = rest.find(|c| c != '#').unwrap_or(0);
    if letters.contains('r') && rest[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let body = &rest[hashes + 1..];
        let length = body.find(&end).map_or(body.len(), |at| at + end.len());
        return Some(prefix + hashes + 1 + length);
    }
    if rest.starts_with('"') {
        return Some(prefix + quoted(rest, '"'));
    }
    if let Some(inner) = rest.strip_prefix('\'') {
        let mut chars = inner.chars();
        let (first, second) = (chars.next()?, chars.next());
        if first == '\\' || second == Some('\'') {
            return Some(prefix + quoted(rest, '\''));
        }
        if prefix == 0 {
            return Some(1 + inner.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(inner.len()));
        }
    }
    None
}

fn quoted(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}
