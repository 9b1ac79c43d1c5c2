//! Careless operators and hostile callers: configuration, files, log, HTTP.
