//! The page and the screen of `status`, read as their tables and tiles.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::places::Places;
use crate::support::program::split;

/// A row of the page: its cells by column, markup away, a time as it is exactly.
pub type Cells = BTreeMap<String, String>;

fn plain(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some((before, tag)) = rest.split_once('<') {
        text += before;
        let (tag, after) = tag.split_once('>').unwrap();
        rest = after;
        if let Some((_, time)) = tag.split_once("datetime=\"") {
            text += time.split('"').next().unwrap();
            rest = after.split_once("</time>").unwrap().1;
        }
    }
    text += rest;
    for (escape, c) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")] {
        text = text.replace(escape, c);
    }
    text
}

impl Places {
    /// The rows of a table of the page.
    fn page_rows(&self, title: &str) -> Vec<Cells> {
        let Some((_, table)) = self.page.split_once(&format!("<h2>{title} <span")) else { return Vec::new() };
        let table = table.split("</table>").next().unwrap();
        let cells = |row: &str| {
            let cells = row.split("<td data-label=\"").skip(1).map(|cell| {
                let (column, rest) = cell.split_once('"').unwrap();
                let html = rest.split_once('>').unwrap().1.split("</td>").next().unwrap();
                (column.to_owned(), plain(html))
            });
            cells.collect()
        };
        table.split("<tr>").skip(2).map(cells).collect()
    }

    pub fn page_row(&self, title: &str, key: &[(&str, &Value)]) -> Cells {
        let is = |row: &Cells| key.iter().all(|(column, value)| row[*column] == value.as_str().unwrap());
        let found = self.page_rows(title).into_iter().find(is);
        found.unwrap_or_else(|| panic!("no row {key:?} of {title} on the page"))
    }

    /// The number on a tile of the page, and what stands below it.
    pub fn tile(&self, title: &str) -> (u64, BTreeMap<String, u64>) {
        let (_, rest) = self.page.split_once(&format!("<div><h2>{title}</h2><p>")).unwrap();
        let (total, parts) = rest.split("</div>").next().unwrap().split_once("</p>").unwrap();
        let parts = parts.split("<li").skip(1).map(|part| {
            let part = part.split_once('>').unwrap().1.split("</li>").next().unwrap();
            let (n, word) = part.split_once(' ').unwrap();
            (word.to_owned(), n.parse().unwrap())
        });
        (total.parse().unwrap(), parts.collect())
    }

    /// The cells of a row of `status` by the headings of its table, without those that say that there is nothing.
    pub fn screen_row(&self, table: &str, name: &str) -> Cells {
        let mut lines = self.screen.lines().skip_while(|line| split(line).first().is_none_or(|cell| cell != table));
        let headings = split(lines.next().unwrap_or_else(|| panic!("no table {table}: {}", self.screen)));
        let row = lines.map(split).find(|cells| cells.first().is_some_and(|cell| cell == name));
        let row = row.unwrap_or_else(|| panic!("no row {name} in {table}: {}", self.screen));
        headings.into_iter().zip(row).filter(|(_, cell)| cell != "-").collect()
    }

    /// Whether `status` has this line, from its beginning on.
    #[track_caller]
    pub fn is_on_the_screen(&self, line: &str) {
        assert!(self.screen.lines().any(|shown| shown.starts_with(line)), "no {line:?} in\n{}", self.screen);
    }
}
