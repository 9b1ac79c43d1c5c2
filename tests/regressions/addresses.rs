//! Names, addresses, certificates and the files they are read from.
