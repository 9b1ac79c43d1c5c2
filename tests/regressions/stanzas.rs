//! Hostile stanzas, and a store that fails.
