//! Packs: the events of one transaction as one text, and how they become rows.
//!
//! Each event has its own checksum, and a broken one costs no other. Must not know why a pack is taken apart.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, SqliteConnection, SqlitePool};

use super::checksum::{self, Parts};
use super::error::StoreError;
use super::rows::{Statements, values};
use super::settling::DROP_RUN;
use super::window::{BITS, Packed};
use crate::domain::name::SinkName;

/// Keeps `rows` events.
pub(super) fn keep(rows: usize) -> String {
    let columns = "position, debtors, received, checksum, id, partition, body";
    format!("INSERT OR ROLLBACK INTO events ({columns}) VALUES {}", values(7, rows))
}

static KEEP: Statements = Statements::new(keep);

pub(super) const PACKS: &str =
    "SELECT first, last, debtors, body FROM packs WHERE first > ?1 AND first <= ?2 ORDER BY first LIMIT 8";
pub(super) const DEBTOR: &str = "SELECT number, done, newest FROM sinks WHERE name = ?1";
/// What comes right before the pack that the position `?1` is in.
pub(super) const PACK_OF: &str = "SELECT coalesce(max(first), ?1) - 1 FROM packs WHERE first <= ?1";
pub(super) const CLEAR: &str = "DELETE FROM packs WHERE first <= ?1";
/// The packs between two positions.
pub(super) const BETWEEN: &str = "SELECT first, last, debtors, body FROM packs \
    WHERE first >= (SELECT coalesce(max(first), ?1) FROM packs WHERE first <= ?1) AND first <= ?2";

/// First and last position, all debtors, and the body.
type Stored = (i64, i64, i64, Vec<u8>);

/// An event as a row, its texts as far as they can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub(super) position: i64,
    pub(super) debtors: i64,
    pub(super) received: i64,
    pub(super) checksum: i64,
    pub(super) id: Cow<'a, str>,
    pub(super) partition: Cow<'a, str>,
    pub(super) body: Cow<'a, str>,
}

impl<'a> Row<'a> {
    /// As it is to be kept; its body is in memory until then.
    pub(super) fn of(event: &'a Packed) -> Self {
        let (position, received) = (event.position, event.received.as_microsecond());
        let (id, partition, body) = (event.id.as_str(), &*event.partition, event.body.as_deref().unwrap_or_default());
        let parts =
            Parts { position, id: id.as_bytes(), partition: partition.as_bytes(), received, body: body.as_bytes() };
        let checksum = checksum::of(&parts);
        let (id, partition, body) = (id.into(), partition.into(), body.into());
        Self { position, debtors: event.debtors, received, checksum, id, partition, body }
    }
}

/// Events as the text of a pack: for each a line of numbers, then id, partition and body.
pub(super) fn pack(events: &[Packed]) -> String {
    let bytes: usize = events.iter().map(|event| event.bytes + event.partition.len() + 128).sum();
    let mut text = String::with_capacity(bytes);
    for row in events.iter().map(Row::of) {
        let (id, partition, body) = (row.id.len(), row.partition.len(), row.body.len());
        let Row { position, debtors, received, checksum, .. } = row;
        // A string takes everything.
        let _ = writeln!(text, "{position} {debtors} {received} {checksum} {id} {partition} {body}");
        text.extend([row.id, row.partition, row.body]);
        text.push('\n');
    }
    text
}

/// The events of a pack. What cannot be read of it becomes an event that is not intact, owed to all `debtors`.
pub(super) fn unpack(text: &[u8], (first, last, debtors): (i64, i64, i64)) -> Vec<Row<'_>> {
    let (mut rows, mut at, mut broken) = (Vec::new(), 0, None);
    let mut next = first;
    while at < text.len() {
        if let Some((row, length)) = row(&text[at..]).filter(|(row, _)| (next..=last).contains(&row.position)) {
            if let Some(start) = broken.take() {
                rows.extend(Row { position: next, ..unreadable(&text[start..at], debtors) }.before(row.position));
            }
            next = row.position + 1;
            rows.push(row);
            at += length;
        } else {
            broken.get_or_insert(at);
            at += text[at..].iter().position(|byte| *byte == b'\n').map_or(text.len() - at, |end| end + 1);
        }
    }
    if let Some(start) = broken {
        rows.extend(Row { position: next, ..unreadable(&text[start..], debtors) }.before(last + 1));
    }
    rows
}

/// What is left of one or more events that cannot be told apart any more: a row whose checksum is wrong.
fn unreadable(body: &[u8], debtors: i64) -> Row<'_> {
    let body = String::from_utf8_lossy(body);
    Row { position: 0, debtors, received: 0, checksum: -1, id: "".into(), partition: "".into(), body }
}

impl Row<'_> {
    /// Whether it is what was written.
    fn is_intact(&self) -> bool {
        let Self { position, received, id, partition, body, .. } = self;
        let (id, partition, body) = (id.as_bytes(), partition.as_bytes(), body.as_bytes());
        self.checksum == checksum::of(&Parts { position: *position, id, partition, received: *received, body })
    }

    /// Itself, if there is room for it before this position.
    fn before(self, position: i64) -> Option<Self> {
        (self.position < position && !self.body.is_empty()).then_some(self)
    }
}

/// The event at the beginning of `text`, and its length.
fn row(text: &[u8]) -> Option<(Row<'_>, usize)> {
    let head_end = text.iter().position(|byte| *byte == b'\n')?;
    let (head, rest) = (str::from_utf8(&text[..head_end]).ok()?, &text[head_end + 1..]);
    let mut numbers = head.split(' ').map(str::parse::<i64>);
    let mut number = || numbers.next()?.ok();
    let (position, debtors, received, checksum) = (number()?, number()?, number()?, number()?);
    let mut length = || usize::try_from(number()?).ok();
    let (id, partition, body) = (length()?, length()?, length()?);
    let (partition, body) = (id..id.checked_add(partition)?, body);
    let body = partition.end..partition.end.checked_add(body)?;
    let end = body.end;
    let part = |range| rest.get(range);
    let (id, partition, body) = (part(0..id)?, part(partition)?, part(body)?);
    let is_intact = || checksum == checksum::of(&Parts { position, id, partition, received, body });
    if rest.get(end) != Some(&b'\n') && !is_intact() {
        return None;
    }
    let [id, partition, body] = [id, partition, body].map(String::from_utf8_lossy);
    Some((Row { position, debtors, received, checksum, id, partition, body }, head_end + 1 + end + 1))
}

/// Makes rows of the packs up to the position `upto`; of what nobody needs any more there are none.
pub(super) async fn unpack_upto(connection: &mut SqliteConnection, upto: i64) -> Result<(), StoreError> {
    let (mut after, mut range) = (i64::MIN, None);
    loop {
        let packs: Vec<Stored> = sqlx::query_as(PACKS).bind(after).bind(upto).fetch_all(&mut *connection).await?;
        let Some((newest, ..)) = packs.last() else { break };
        after = *newest;
        for (first, last, debtors, body) in &packs {
            keep_all(connection, &unpack(body, (*first, *last, *debtors))).await?;
            range = Some((range.map_or(*first, |(first, _)| first), *last));
        }
    }
    let Some((first, last)) = range else { return Ok(()) };
    sqlx::query(CLEAR).bind(upto).execute(&mut *connection).await?;
    sqlx::query(DROP_RUN).bind(first - 1).bind(last).execute(connection).await?;
    Ok(())
}

/// Makes rows of all packs.
pub(super) async fn unpack_all(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    unpack_upto(connection, i64::MAX).await
}

/// The bodies of events in packs that are between two positions, and whether they are what was written.
pub(super) async fn bodies(
    readers: &SqlitePool,
    from: i64,
    to: i64,
) -> Result<BTreeMap<i64, (Arc<str>, bool)>, StoreError> {
    let packs: Vec<Stored> = sqlx::query_as(BETWEEN).bind(from).bind(to).fetch_all(readers).await?;
    let rows = packs.iter().flat_map(|(first, last, debtors, body)| unpack(body, (*first, *last, *debtors)));
    Ok(rows.map(|row| (row.position, (row.body.as_ref().into(), row.is_intact()))).collect())
}

/// When the oldest event in packs was received that `sink` is owed.
pub(super) async fn oldest(readers: &SqlitePool, sink: &SinkName) -> Result<Option<Timestamp>, StoreError> {
    let debtor: Option<(i64, i64, i64)> = sqlx::query_as(DEBTOR).bind(sink.as_str()).fetch_optional(readers).await?;
    let Some((number, mut after, newest)) = debtor.filter(|(number, ..)| *number < BITS) else { return Ok(None) };
    let done = after;
    after = sqlx::query_scalar(PACK_OF).bind(done).fetch_one(readers).await?;
    loop {
        let packs: Vec<Stored> = sqlx::query_as(PACKS).bind(after).bind(newest).fetch_all(readers).await?;
        let Some((last, ..)) = packs.last() else { return Ok(None) };
        after = *last;
        for (first, last, debtors, body) in &packs {
            let is_owed = |row: &Row<'_>| row.position > done && row.debtors & (1 << number) != 0;
            if let Some(row) = unpack(body, (*first, *last, *debtors)).into_iter().find(is_owed) {
                return super::timestamp(row.received).map(Some);
            }
        }
    }
}

/// Keeps events as rows.
pub(super) async fn keep_all(connection: &mut SqliteConnection, rows: &[Row<'_>]) -> Result<(), StoreError> {
    for (statement, piece) in KEEP.pieces(rows) {
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for row in piece {
            query = query.bind(row.position).bind(row.debtors).bind(row.received).bind(row.checksum);
            query = query.bind(&*row.id).bind(&*row.partition).bind(&*row.body);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identity::Token;

    fn events() -> Vec<Packed> {
        let event = |position: i64| Packed {
            position,
            debtors: position % 4 + 1,
            id: Token::of([position.to_string().as_str()]),
            partition: format!("cäll {position}").into(),
            received: Timestamp::UNIX_EPOCH,
            bytes: 8 + usize::try_from(position).unwrap(),
            body: Some(format!(r#"{{"n":"{}"}}"#, "x".repeat(usize::try_from(position).unwrap())).into()),
        };
        [3, 4, 7, 8].map(event).into()
    }

    #[test]
    fn what_is_packed_is_unpacked_as_it_was() {
        let events = events();
        let text = pack(&events);
        assert_eq!(unpack(text.as_bytes(), (3, 8, 7)), events.iter().map(Row::of).collect::<Vec<_>>());
        assert_eq!(unpack(b"", (3, 8, 7)), []);
    }

    #[test]
    fn whatever_byte_is_broken_the_others_are_whole_and_none_is_lost_without_a_word() {
        let events = events();
        let text = pack(&events);
        for at in 0..text.len() {
            for broken in *b"\n0x " {
                let mut bytes = text.clone().into_bytes();
                if bytes[at] == broken {
                    continue;
                }
                bytes[at] = broken;
                let rows = unpack(&bytes, (3, 8, 7));
                let whole = events.iter().map(Row::of).filter(|row| rows.contains(row)).count();
                assert!(whole >= 3 && rows.len() > whole.min(3), "byte {at}: {whole} of {} whole", rows.len());
                assert!(rows.is_sorted_by(|one, two| one.position < two.position), "byte {at}");
            }
        }
    }
}
