//! A text as it reads once escapes are undone, and where each of its characters stands in the text itself.

use std::ops::Range;

use super::is_filler;

/// Characters of a character reference, `&` and `;` aside.
const NAME: usize = 12;
/// Names of HTML for what a secret may well hold (<https://html.spec.whatwg.org/multipage/named-characters.html>).
const NAMED: [(&str, char); 43] = [
    ("amp", '&'),
    ("AMP", '&'),
    ("lt", '<'),
    ("LT", '<'),
    ("gt", '>'),
    ("GT", '>'),
    ("quot", '"'),
    ("QUOT", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("Tab", '\t'),
    ("NewLine", '\n'),
    ("excl", '!'),
    ("num", '#'),
    ("dollar", '$'),
    ("percnt", '%'),
    ("lpar", '('),
    ("rpar", ')'),
    ("ast", '*'),
    ("midast", '*'),
    ("plus", '+'),
    ("comma", ','),
    ("period", '.'),
    ("sol", '/'),
    ("colon", ':'),
    ("semi", ';'),
    ("equals", '='),
    ("quest", '?'),
    ("commat", '@'),
    ("lsqb", '['),
    ("lbrack", '['),
    ("bsol", '\\'),
    ("rsqb", ']'),
    ("rbrack", ']'),
    ("Hat", '^'),
    ("lowbar", '_'),
    ("grave", '`'),
    ("lcub", '{'),
    ("lbrace", '{'),
    ("verbar", '|'),
    ("vert", '|'),
    ("rcub", '}'),
    ("rbrace", '}'),
];

/// Characters, each with the bytes of the text that stand for it.
pub(super) struct View {
    chars: Vec<(char, Range<usize>)>,
}

impl View {
    pub(super) fn of(text: &str) -> Self {
        Self { chars: text.char_indices().map(|(at, c)| (c, at..at + c.len_utf8())).collect() }
    }

    pub(super) fn chars(&self) -> impl Iterator<Item = char> {
        self.chars.iter().map(|(c, _)| *c)
    }

    /// Where the character at `at` stands in the text.
    pub(super) fn source(&self, at: usize) -> Range<usize> {
        self.chars[at].1.clone()
    }

    /// From `first` to `last`, with the filler on both sides of them; if they are `encoded`, with all of the word.
    pub(super) fn widened(&self, first: usize, last: usize, encoded: bool) -> (usize, usize) {
        let belongs = |c: char| is_filler(c) || (encoded && (c.is_ascii_alphanumeric() || matches!(c, '/' | '_')));
        let before = self.chars[..first].iter().rev().take_while(|(c, _)| belongs(*c)).count();
        let after = self.chars[last + 1..].iter().take_while(|(c, _)| belongs(*c)).count();
        (first - before, last + after)
    }

    /// The same with every escape undone once; none if there is none.
    pub(super) fn undone(&self) -> Option<Self> {
        let mut chars = Vec::with_capacity(self.chars.len());
        let mut at = 0;
        while let Some((c, source)) = self.chars.get(at) {
            let (c, count) = self.escape(at).unwrap_or((*c, 1));
            let end = self.chars[at + count - 1].1.end;
            chars.push((c, source.start..end));
            at += count;
        }
        (chars.len() < self.chars.len()).then_some(Self { chars })
    }

    /// Returns the character that the escape at `at` stands for, and how many characters it takes.
    fn escape(&self, at: usize) -> Option<(char, usize)> {
        match self.char(at)? {
            '%' => self.bytes(at),
            '&' => self.reference(at),
            '\\' => self.bytes(at).or_else(|| self.backslash(at)),
            _ => None,
        }
    }

    fn char(&self, at: usize) -> Option<char> {
        self.chars.get(at).map(|(c, _)| *c)
    }

    /// The number written in `count` digits from `at` on.
    fn number(&self, at: usize, count: usize, radix: u32) -> Option<u32> {
        let digits = self.chars.get(at..at + count)?;
        digits.iter().try_fold(0_u32, |number, (c, _)| number.checked_mul(radix)?.checked_add(c.to_digit(radix)?))
    }

    /// One byte, as `%C3` or `\xc3`; how many characters it takes.
    fn byte(&self, at: usize) -> Option<(u8, usize)> {
        let digits = match (self.char(at)?, self.char(at + 1)?) {
            ('%', _) => 1,
            ('\\', 'x') => 2,
            _ => return None,
        };
        let byte = self.number(at + digits, 2, 16)?;
        Some((u8::try_from(byte).ok()?, digits + 2))
    }

    /// A character of one to four bytes in UTF-8; what is none is one of Latin-1.
    fn bytes(&self, at: usize) -> Option<(char, usize)> {
        let (first, mut taken) = self.byte(at)?;
        let single = (char::from(first), taken);
        let mut bytes = vec![first];
        while bytes.len() < 4 && std::str::from_utf8(&bytes).is_err() {
            let Some((byte, count)) = self.byte(at + taken) else { break };
            bytes.push(byte);
            taken += count;
        }
        let whole = std::str::from_utf8(&bytes).ok().and_then(|text| text.chars().next());
        Some(whole.map_or(single, |c| (c, taken)))
    }

    /// An escape of JSON and of what is like it.
    fn backslash(&self, at: usize) -> Option<(char, usize)> {
        let unit = |at: usize| match (self.char(at)?, self.char(at + 1)?) {
            ('\\', 'u') => self.number(at + 2, 4, 16),
            _ => None,
        };
        match self.char(at + 1)? {
            'u' if self.char(at + 2) == Some('{') => {
                let count = (1..=6).find(|count| self.char(at + 3 + count) == Some('}'))?;
                Some((char::from_u32(self.number(at + 3, count, 16)?)?, count + 4))
            }
            'u' => {
                let high = unit(at)?;
                if let Some(c) = char::from_u32(high) {
                    return Some((c, 6));
                }
                let low = unit(at + 6).filter(|low| (0xdc00..0xe000).contains(low))?;
                let code = 0x1_0000 + ((high.checked_sub(0xd800)? << 10) | (low - 0xdc00));
                Some((char::from_u32(code)?, 12))
            }
            'U' => Some((char::from_u32(self.number(at + 2, 8, 16)?)?, 10)),
            'n' => Some(('\n', 2)),
            'r' => Some(('\r', 2)),
            't' => Some(('\t', 2)),
            'b' => Some(('\u{8}', 2)),
            'f' => Some(('\u{c}', 2)),
            c @ ('\\' | '/' | '"' | '\'' | '`' | '#' | '$' | '&' | '<' | '>') => Some((c, 2)),
            _ => None,
        }
    }

    /// A character reference of HTML; the semicolon may be missing.
    fn reference(&self, at: usize) -> Option<(char, usize)> {
        let name = |from: usize, belongs: fn(char) -> bool| -> String {
            (from..from + NAME).map_while(|at| self.char(at).filter(|c| belongs(*c))).collect()
        };
        let ended = |count: usize| count + usize::from(self.char(at + count) == Some(';'));
        if self.char(at + 1)? != '#' {
            let name = name(at + 1, |c| c.is_ascii_alphabetic());
            // Without a semicolon it ends where it must: the longest name counts.
            let known = NAMED.iter().filter(|(known, _)| name.starts_with(known)).max_by_key(|(known, _)| known.len());
            return known.map(|(known, c)| (*c, ended(1 + known.len())));
        }
        let (from, radix) = if matches!(self.char(at + 2)?, 'x' | 'X') { (3, 16) } else { (2, 10) };
        let digits = name(at + from, |c| c.is_ascii_hexdigit());
        let digits = digits.split(|c: char| !c.is_digit(radix)).next().filter(|digits| !digits.is_empty())?;
        let c = char::from_u32(u32::from_str_radix(digits, radix).ok()?)?;
        Some((c, ended(from + digits.len())))
    }
}
