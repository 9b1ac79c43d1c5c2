//! Accounts and sessions that one bad server or a bad clock could starve.
