//! The one table of limits: how much of anything may come from outside, why so much, and what becomes of the rest.
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

// ---- configuration ----------------------------------------------------------------------------------------------

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
