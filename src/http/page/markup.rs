//! The pieces of markup all parts of the page are made of; every text passes through [`escaped`].
//!
//! Must not know what is shown.

use jiff::Timestamp;

use super::ROWS;

/// A value so good, so bad: the class that colours it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mood {
    /// Somebody should look.
    Bad,
    /// On its way.
    Busy,
    /// As it should be.
    Good,
    /// Not in use.
    Off,
}

impl Mood {
    /// The name of its class.
    pub fn class(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Busy => "busy",
            Self::Good => "good",
            Self::Off => "off",
        }
    }
}

/// `text` such that a browser shows it and does nothing else with it, in elements and quoted attributes.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// A coloured word.
pub fn badge(mood: Mood, text: &str) -> String {
    format!("<span class=\"tag {}\">{}</span>", mood.class(), escaped(text))
}

/// A moment, told as its distance from `now`; the exact time shows on pointing at it. Nothing, if there is none.
pub fn moment(time: Option<Timestamp>, now: Timestamp) -> String {
    let Some(time) = time else { return String::new() };
    let seconds = time.as_second().saturating_sub(now.as_second());
    let span = span(seconds.unsigned_abs());
    let text = match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {span}"),
        ..0 => format!("{span} ago"),
    };
    let exact = time.strftime("%Y-%m-%dT%H:%M:%SZ");
    format!("<time datetime=\"{exact}\" title=\"{exact}\">{text}</time>")
}

/// Seconds in the two largest units.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => two(minutes, "min", seconds % 60, "s"),
        3600..86400 => two(hours, "h", minutes % 60, "min"),
        86400.. => two(days, "d", hours % 24, "h"),
    }
}

fn two(large: u64, unit: &str, small: u64, rest: &str) -> String {
    if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {rest}") }
}

/// One cell of a table.
#[derive(Debug)]
pub struct Cell {
    column: &'static str,
    class: &'static str,
    html: String,
}

impl Cell {
    /// A cell with markup; if empty, the style sheet shows a dash, or nothing where room is scarce.
    pub fn new(column: &'static str, html: String) -> Self {
        Self { column, class: "", html }
    }

    /// A cell with a text of any length, which may be broken anywhere.
    pub fn text(column: &'static str, text: Option<&str>) -> Self {
        Self { column, class: " class=\"text\"", html: escaped(text.unwrap_or_default()) }
    }
}

/// A section with a table; on a narrow screen each row becomes a card, so each cell carries its column's name.
pub fn table(title: &str, columns: &[&str], rows: impl ExactSizeIterator<Item = Vec<Cell>>) -> String {
    let total = rows.len();
    if total == 0 {
        return format!("<section>\n<h2>{title}</h2>\n<p class=\"none\">None.</p>\n</section>\n");
    }
    let heads = columns.iter().map(|column| format!("<th scope=\"col\">{column}</th>")).collect::<Vec<_>>().concat();
    let body: String = rows.take(ROWS).map(|cells| row(&cells)).collect();
    let left_out = total.saturating_sub(ROWS);
    let note = if left_out > 0 {
        format!("<p class=\"soft\">The first {ROWS}, worst first; {left_out} more are left out.</p>\n")
    } else {
        String::new()
    };
    format!(
        "<section>\n<h2>{title} <span class=\"soft\">{total}</span></h2>\n<table>\n<thead><tr>{heads}</tr></thead>\n\
         <tbody>\n{body}</tbody>\n</table>\n{note}</section>\n"
    )
}

fn row(cells: &[Cell]) -> String {
    let cell = |Cell { column, class, html }: &Cell| format!("<td data-label=\"{column}\"{class}>{html}</td>");
    format!("<tr>{}</tr>\n", cells.iter().map(cell).collect::<Vec<_>>().concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_has_two_units_at_most() {
        let texts = [0, 59, 60, 61, 3599, 3600, 7260, 86400, 90000].map(span);
        let expected = ["0 s", "59 s", "1 min", "1 min 1 s", "59 min 59 s", "1 h", "2 h 1 min", "1 d", "1 d 1 h"];
        assert_eq!(texts, expected);
    }

    #[test]
    fn a_moment_lies_ahead_or_behind() {
        let now = Timestamp::from_second(1000).unwrap();
        assert!(moment(Timestamp::from_second(1090).ok(), now).contains(">in 1 min 30 s<"));
        assert!(moment(Timestamp::from_second(995).ok(), now).contains(">5 s ago<"));
        assert_eq!(moment(None, now), "");
    }
}
