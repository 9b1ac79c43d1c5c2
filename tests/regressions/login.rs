//! Log-in: mechanisms, SCRAM, and servers that cheat in it.
