//! Single kinds of sinks.
