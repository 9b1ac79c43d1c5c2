//! The one table of limits: how much of anything may come from outside, why so much, and what becomes of the rest.
//!
//! Every count and length that a service, a peer, a caller or a file decides has its bound here, with the reason beside
//! it. What exceeds a bound is counted by reason and costs nothing else. Buffers are bounded in bytes of what comes out of
//! them, not in messages. Numbers that only tune the router's own work (pauses, sizes of a step) stay where they are used.
//!
//! # Stanzas: what an XMPP server may send
//!
//! | limit | value | why | what happens beyond |
//! |---|---|---|---|
//! | [`STANZA_BYTES`] | 256 KiB | usual servers cap a stanza there; the largest honest one is a list of items | read to its end and thrown away; `events_rejected_total{reason="oversize"}` |
//! | [`STANZA_DEPTH`] | 64 levels | nothing in XMPP nests deeper than a dozen | the same |
//! | [`STANZA_ELEMENTS`] | 8,192 | the tree of an answer takes some 250 bytes an element; an honest element has 30 bytes or more | the same |
//! | [`STANZA_NAMESPACES`] | 256 in force at once | an honest stanza has a dozen | the connection ends: not XMPP |
//! | [`NAMESPACE_BYTES`] | 256 | every element of a tree holds its own copy | as oversize |
//! | [`ATTRIBUTES`] | 128 of one element | a dozen are usual | as oversize |
//! | [`UNSENT_BYTES`] | 16 KiB | what waits for a peer that reads slowly | whoever writes waits |
//! | [`NAME_BYTES`] | 1,023 | node, item id, collection: as long as a part of a JID may be | the part (or header) is left out; `oversize` |
//! | [`SUBID_BYTES`] | 1,024 | services use some 20 | the same |
//! | [`JID_BYTES`] | 3,071 | RFC 7622 | the same |
//! | [`SUBIDS`] | 10 | a JID has at most 10 subscriptions on a node | the others are left out; `oversize` |
//! | [`PUBLISH_TIME_BYTES`] | 64 | a date with fractions and zone has 35 | the item is left out; `oversize` |
//! | [`FIELD_BYTES`] | 2 KiB | a field of a call or registration is a SIP URI or less, and is remembered with its leg | the item is left out; `oversize` |
//! | [`PAYLOAD_BYTES`] | 128 KiB | the payload of any other item goes whole into its event | the item is left out; `oversize` |
//! | [`PARTS`] | 512 of one message | a message of the service tells of one thing | the others are left out; `oversize` |
//! | [`CHANGES`] | 16 of one message | each changed subscription is told to every subscription of the account | the others are left out; `oversize` |
//! | [`SHOWN_PARTS`] | 4,096 of one answer | what a node holds now may be much, and comes in one stanza | the others are left out, and the answer ends no leg; `oversize` |
//! | [`MESSAGE_OUTPUT_BYTES`] | 1 MiB | the events of one message: four times the largest stanza | as with [`PARTS`] |
//! | [`SHOWN_OUTPUT_BYTES`] | 4 MiB | the events of one answer | as with [`SHOWN_PARTS`] |
//!
//! # Log-in: what a server may ask for before it has proven anything
//!
//! | limit | value | why | what happens beyond |
//! |---|---|---|---|
//! | [`SCRAM_ROUNDS`] | 1,000,000 | computed for each log-in; servers have 4,096 to some 600,000 | the log-in fails: `connects_total{outcome="protocol"}` |
//! | [`LEAST_SCRAM_ROUNDS`] | 4,096 | RFC 5802 and RFC 7677; with less our proof gives the password away | the same |
//! | [`SCRAM_MESSAGE_BYTES`] | 4 KiB | nonce and salt have some dozens of bytes, and we send the nonce back | the same |
//!
//! # Room: what may be under way between the network and the disk
//!
//! | limit | value | why | what happens beyond |
//! |---|---|---|---|
//! | [`ROOM`] | 2,048 units of [`ROOM_UNIT_BYTES`] (4 MiB) | what all accounts together have read and not committed, in bytes of the events that come out of it | accounts are read on once there is room, in the order they asked |
//! | [`LARGE_UNITS`] | 8 units | a message that needs more is large: usual ones need one | it takes its room from [`LARGE_ROOM`] |
//! | [`LARGE_ROOM`] | 512 units (1 MiB) | large messages share these, so that usual ones never wait for them | the account waits, the others do not |
//! | [`ELEMENT_BYTES`] | 16 KiB | an answer whose tree takes more is handed over alone | what came behind it comes next |
//! | [`PIECE_BYTES`] | 64 KiB | of one account in one commit: a large message is committed in pieces | the rest comes with the next commit, behind the others |
//! | [`ROUND_BYTES`] | 512 KiB | one commit: some tens of milliseconds | the rest comes with the next commit |
//! | [`ENDED_AT_ONCE`] | 64 | legs that one purge, or one answer, ends in one commit: a phone has a few | the rest ends with the next commits |
//! | [`TELLERS`] | 8 domains | those whose accounts told of one leg may end it: usually one | the ends that accounts of other domains tell of are ignored; `events_rejected_total{reason="foreign_leg"}` |
//! | [`LIVE_LEGS`] | 1,024 of one leaf | looked at when a purge or an answer ends legs | the others wait for the next purge, or end as stale |
//! | [`TAKEN_BYTES`] | 4 MiB | what a sink takes from the queue at once | the rest is taken with the next step |
//! | [`REASON_BYTES`] | 1 KiB | why a delivery was given up, as it is kept with the dead letter | cut off |
//!
//! # Sinks: what their peers may answer
//!
//! | limit | value | why | what happens beyond |
//! |---|---|---|---|
//! | [`PEER_TEXT`] | 200 characters | enough to say what is wrong | the rest of the text is not shown |
//! | [`WEBHOOK_ANSWER`] | 64 KiB | more than any page of an error | the connection is closed, the status counts |
//! | [`WEBHOOK_ANSWER_TIME`] | 2 s | the status has said what there is to know | the connection is closed, the status counts |
//! | [`WEBHOOK_HEADERS`] | 500 | servers add a few dozen | the connection is closed; a 2xx counts all the same |
//! | [`MQTT_PACKET`] | 64 KiB | acknowledgements are small | the connection is given up |
//! | [`PEER_AT_ONCE`] | 64 KiB | a greeting, certificates, or the answers to what is under way | what comes next is read at [`PEER_RATE`] |
//! | [`PEER_RATE`] | 64 KiB a second, and a quarter of what we write | some 600 acknowledgements a second that nothing was sent for | the rest waits in the network, and the sink's time-out ends the delivery |
//! | [`PEER_UNASKED`] | 1 MiB | the largest answer holds an event that a trigger quotes | the connection is given up |
//!
//! # Addresses: what a name may stand for
//!
//! | limit | value | why | what happens beyond |
//! |---|---|---|---|
//! | [`ADDRESSES`] | 16 | a connection is tried at each; a name of a hostile domain may have thousands | the rest are not tried |
//! | [`SRV_TARGETS`] | 8 | each is looked up, for each account of the domain | those of lower priority are not tried |
//!
//! # Configuration: what a file may ask of its readers
//!
//! | limit | value | why | what happens beyond |
//! |---|---|---|---|
//! | [`CONFIG_DEPTH`] | 16 brackets or dotted keys within one another | no key lies deeper than five; TOML is read by recursion | a problem with file, line and column |
//! | [`RULE_BYTES`] | 4 KiB | nobody reads a longer rule, and every byte of it may cost the parser some stack | a problem with the key |
//! | [`RULE_DEPTH`] | 24 expressions within one another | a rule is evaluated by recursion, on whatever thread asks | the same |
//! | [`RULE_STEPS`] | 100,000 | every event waits while the rules are evaluated; three loops within one another over fifty elements are more | the same |
//! | [`RULE_LOOP`] | 32 rounds | what a loop over a list or map of the event is taken for; ours are shorter | – |
//!
//! # Sessions: what a server may say of itself, and leave unread
//!
//! | limit | value | why | what happens beyond |
//! |---|---|---|---|
//! | [`CONDITION_BYTES`] | 64 | the longest condition that a standard names has 31 | it is cut, and ends with `…` |
//! | [`REDIRECT_BYTES`] | 4,096 | a JID and a node name, percent-encoded | the redirect is as if it named nothing |
//! | [`MECHANISM_BYTES`], [`MECHANISMS`] | 20, 64 | RFC 4422 section 3.1; servers offer under ten | passed over |
//! | [`ADDRESS_BYTES`], [`AUTHORIZED_ADDRESSES`] | 1,024, 10,000 | a SIP address; all phones of a large company | passed over |
//! | [`STREAM_ID_BYTES`] | 1,024 | servers use some 20 | the stream cannot be resumed |
//! | [`REQUEST_ID_BYTES`] | 1,024 | servers use some 20; the answer must repeat it | not answered, counted |
//! | [`OUTBOX_BYTES`] | 1 MiB | one request of each of a thousand nodes | the connection ends |
//! | [`UNACKNOWLEDGED_BYTES`] | 256 KiB | 128 requests of 2 KiB | the session cannot be resumed after a loss |
//!
//! # Operators and callers: files, log lines, HTTP
//!
//! | limit | value | why | what happens beyond |
//! |---|---|---|---|
//! | [`CONFIGURATION_FILE`] | 16 MiB | 10,000 accounts take 3 MiB | the file is a problem of the configuration |
//! | [`SECRET_FILE`] | 64 KiB | the longest secret is a credentials file of 2 KiB | the key is a problem of the configuration |
//! | [`LOG_BUFFER`] | 1 MiB | about 4,000 lines: seconds of a busy router at level debug | lines are dropped, `log_lines_dropped_total` |
//! | [`LOG_HELD`] | 4 MiB | a held line of each account of a large fleet | the line is written at once |
//! | [`LOG_SUBJECTS`] | 65,536 | a few things per account of a large fleet | the others of one place in the code count as one |
//! | [`LOG_FOREIGN_SUBJECTS`] | 64 | more than a healthy library says in ten seconds | all other lines of that library count as one |
//! | [`DAEMON_ANSWER`], [`DAEMON_ANSWER_TIME`] | 16 MiB, 60 s | what a command reads of a daemon: its summary and sinks are far below 1 MiB | the command says so and ends with 1 |
//! | [`DAEMON_REFUSAL`] | 64 KiB | of a refusal that a command shows the beginning of | the rest is not read |
//! | [`DAEMON_EVENT`] | 4 MiB | an event in `tail`: sixteen times the largest stanza | it is not shown |
//! | [`HTTP_CONNECTIONS`] | 256 | scrapers, browsers and scripts of a large installation | who was silent longest is closed, `http_connections_evicted_total` |
//! | [`HTTP_PIECE`] | 16 KiB | what is read ahead, and written at once, of one connection; one request of it is taken at a time | it stays in the system's buffers |
//! | [`HTTP_ANSWERS`] | 64 MiB | all answers under way together: twelve times the metrics of 10,000 accounts. Health needs no room | who asks waits for [`HTTP_ROOM_WAIT`], then gets a 503, `http_answers_refused_total` |
//! | [`HTTP_STALL_PRESSED`], [`HTTP_TAKEN_PRESSED`] | 1 s, 10 s | a healthy reader takes some of its answer at once, and all of it before a scrape times out | while others wait for room, the connection is closed, `http_connections_evicted_total` |
//! | [`HTTP_STALL`] | 20 s | any network takes some bytes of an answer in that time | the connection is closed, `http_connections_evicted_total` |

use std::time::Duration;

// ---- stanzas ----------------------------------------------------------------------------------------------------

/// Bytes of one top-level element of a stream.
pub const STANZA_BYTES: usize = 256 * 1024;
/// Levels of nesting of one top-level element.
pub const STANZA_DEPTH: usize = 64;
/// Elements of one stanza that is read as a tree, or of one payload.
pub const STANZA_ELEMENTS: usize = 8_192;
/// Declarations of namespaces in force at once.
pub const STANZA_NAMESPACES: usize = 256;
/// Bytes of the name of a namespace.
pub const NAMESPACE_BYTES: usize = 256;
/// Attributes of one element.
pub const ATTRIBUTES: usize = 128;
/// Bytes that wait to be sent before a writer waits for the peer.
pub const UNSENT_BYTES: usize = 16 * 1024;
/// Bytes of a node, an item id or a collection.
pub const NAME_BYTES: usize = 1_023;
/// Bytes of the id of a subscription.
pub const SUBID_BYTES: usize = 1024;
/// Bytes of a JID (RFC 7622: three parts of 1,023, and two separators).
pub const JID_BYTES: usize = 3_071;
/// Subids of one message.
pub const SUBIDS: usize = 10;
/// Bytes of a publish-time.
pub const PUBLISH_TIME_BYTES: usize = 64;
/// Bytes of one field of a call or a registration.
pub const FIELD_BYTES: usize = 2 * 1024;
/// Bytes of the payload of an item that is kept as it is.
pub const PAYLOAD_BYTES: usize = 128 * 1024;
/// Parts of one message: items, retracts, purges, changed subscriptions.
pub const PARTS: usize = 512;
/// Changed subscriptions of one message.
pub const CHANGES: usize = 16;
/// Items of one answer to a request for items.
pub const SHOWN_PARTS: usize = 4_096;
/// Bytes of the events that come out of one message, as they are estimated when it is read.
pub const MESSAGE_OUTPUT_BYTES: usize = 1024 * 1024;
/// Bytes of the events that come out of one answer to a request for items.
pub const SHOWN_OUTPUT_BYTES: usize = 4 * 1024 * 1024;

// ---- log-in -----------------------------------------------------------------------------------------------------

/// Rounds of SCRAM that are computed at most.
pub const SCRAM_ROUNDS: u32 = 1_000_000;
/// Rounds of SCRAM that a server must ask for at least.
pub const LEAST_SCRAM_ROUNDS: u32 = 4_096;
/// Bytes of one SCRAM message of a server.
pub const SCRAM_MESSAGE_BYTES: usize = 4 * 1024;

// ---- room -------------------------------------------------------------------------------------------------------

/// Units of room for what all accounts together have read and not committed.
pub const ROOM: usize = 2_048;
/// Bytes of events that one unit of room stands for: a usual message needs one.
pub const ROOM_UNIT_BYTES: usize = 2 * 1024;
/// Units of room up to which a message is a usual one.
pub const LARGE_UNITS: u32 = 8;
/// Units of room that larger messages share; as many as the largest of them needs.
pub const LARGE_ROOM: usize = 512;
/// Bytes of the events of one account in one commit.
pub const PIECE_BYTES: usize = 64 * 1024;
/// Bytes of the events of one commit.
pub const ROUND_BYTES: usize = 512 * 1024;
/// Bytes of the tree of an element that is handed over together with others.
pub const ELEMENT_BYTES: usize = 16 * 1024;
/// Legs ended by one part of a message in one commit.
pub const ENDED_AT_ONCE: usize = 64;
/// Live legs of one leaf that are recalled at once.
pub const LIVE_LEGS: usize = 1_024;
/// Domains whose accounts told of one leg.
pub const TELLERS: usize = 8;
/// Bytes of the events that a sink takes from the queue at once; always one event at least.
pub const TAKEN_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of the reason that is kept with a dead letter.
pub const REASON_BYTES: usize = 1024;

// ---- sinks ---------------------------------------------------------------------------------------------------------

/// Characters of what a sink's peer says that are shown in logs, dead letters and on the page.
pub const PEER_TEXT: usize = 200;
/// Bytes of the body of a webhook's answer that are read, so that the connection can be used again.
pub const WEBHOOK_ANSWER: usize = 64 << 10;
/// How long the body of a webhook's answer is read.
pub const WEBHOOK_ANSWER_TIME: Duration = Duration::from_secs(2);
/// Header fields of a webhook's answer.
pub const WEBHOOK_HEADERS: usize = 500;
/// Bytes of a packet that an MQTT broker sends.
pub const MQTT_PACKET: u32 = 64 << 10;
/// Bytes that a sink's peer may send at once.
pub const PEER_AT_ONCE: u64 = 64 << 10;
/// Bytes a second that it may send on and on.
pub const PEER_RATE: u64 = 64 << 10;
/// Bytes that it may send while we send nothing, and so the bytes of its largest message.
pub const PEER_UNASKED: u64 = 1 << 20;

// ---- addresses -----------------------------------------------------------------------------------------------------

/// Addresses of one name, or of the SRV targets of one priority, at which a connection is tried.
pub const ADDRESSES: usize = 16;
/// Targets of one SRV look-up that are used.
pub const SRV_TARGETS: usize = 8;

// ---- configuration -------------------------------------------------------------------------------------------------

/// Brackets within one another, and parts of a dotted key, in a configuration file.
pub const CONFIG_DEPTH: usize = 16;
/// Bytes of a sink's rule.
pub const RULE_BYTES: usize = 4_096;
/// Expressions within expressions of a rule.
pub const RULE_DEPTH: usize = 24;
/// Expressions that one evaluation of a rule may take, as far as its text tells.
pub const RULE_STEPS: usize = 100_000;
/// Rounds that a loop over a list or map of the event is counted as.
pub const RULE_LOOP: usize = 32;

// ---- sessions ------------------------------------------------------------------------------------------------------

/// Bytes kept of the name of a condition: what a server calls an error reaches logs, the API and pages.
pub const CONDITION_BYTES: usize = 64;
/// Bytes of the address that a redirect names.
pub const REDIRECT_BYTES: usize = 4096;
/// Bytes of the name of a log-in mechanism (RFC 4422 section 3.1).
pub const MECHANISM_BYTES: usize = 20;
/// Mechanisms that a server may offer.
pub const MECHANISMS: usize = 64;
/// Bytes of an address that an authorization names.
pub const ADDRESS_BYTES: usize = 1024;
/// Bytes of the id by which a stream is resumed.
pub const STREAM_ID_BYTES: usize = 1024;
/// Bytes of the id of a request of the server's.
pub const REQUEST_ID_BYTES: usize = 1024;
/// Bytes that wait to be sent to a server.
pub const OUTBOX_BYTES: usize = 1024 * 1024;
/// Bytes that were sent and are kept until the server acknowledges them.
pub const UNACKNOWLEDGED_BYTES: usize = 256 * 1024;
/// Addresses that an authorization may name.
pub const AUTHORIZED_ADDRESSES: usize = 10_000;

// ---- operators and callers -----------------------------------------------------------------------------------------

/// Bytes of a file that configures something: settings, certificates, faults, an event to check.
pub const CONFIGURATION_FILE: u64 = 16 << 20;
/// Bytes of a file that holds one secret.
pub const SECRET_FILE: u64 = 64 << 10;
/// Bytes of log lines that wait for standard error to take them; as many again may be with the writer.
pub const LOG_BUFFER: usize = 1 << 20;
/// Bytes of log lines that are held back as repeats.
pub const LOG_HELD: usize = 4 << 20;
/// Things whose log lines are told apart when repeats are held back.
pub const LOG_SUBJECTS: usize = 1 << 16;
/// Messages of libraries that are told apart when repeats are held back. A peer may have a say in their text.
pub const LOG_FOREIGN_SUBJECTS: usize = 64;
/// Bytes of an answer that a command reads of a daemon.
pub const DAEMON_ANSWER: usize = 16 << 20;
/// How long a command reads an answer of a daemon.
pub const DAEMON_ANSWER_TIME: Duration = Duration::from_mins(1);
/// Bytes of a refusal that a command reads of a daemon.
pub const DAEMON_REFUSAL: usize = 64 << 10;
/// Bytes of an event, or of a line, that a command reads of a daemon's live feed.
pub const DAEMON_EVENT: usize = 4 << 20;
/// Connections to the HTTP port at once.
pub const HTTP_CONNECTIONS: usize = 256;
/// Connections to the HTTP port at once where few open files are allowed.
pub const HTTP_CONNECTIONS_LEAST: usize = 8;
/// How long the head of a request may take.
pub const HTTP_HEAD: Duration = Duration::from_secs(10);
/// How long an answer may wait for its reader to take any of it.
pub const HTTP_STALL: Duration = Duration::from_secs(20);
/// Bytes of a connection that are read, or written, at once.
pub const HTTP_PIECE: usize = 16 << 10;
/// Bytes of all answers that are under way.
pub const HTTP_ANSWERS: u32 = 64 << 20;
/// How long a request waits for room for its answer.
pub const HTTP_ROOM_WAIT: Duration = Duration::from_secs(10);
/// How long an answer may wait for its reader to take any of it while others wait for room.
pub const HTTP_STALL_PRESSED: Duration = Duration::from_secs(1);
/// How long the taking of an answer may last while others wait for room.
pub const HTTP_TAKEN_PRESSED: Duration = Duration::from_secs(10);

// ---- cutting ----------------------------------------------------------------------------------------------------------

/// Returns `text`, or its beginning and `…` where it is longer than `most` bytes.
#[must_use]
pub fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(most)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_between_two_characters() {
        assert_eq!(cut("gone", 4), "gone");
        assert_eq!(cut("gonee", 4), "gone…");
        assert_eq!(cut("aää", 2), "a…");
        assert_eq!(cut("ä", 0), "…");
    }
}
