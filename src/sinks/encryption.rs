//! The keys with which a sink says whom it trusts and what it shows of itself, where its protocol runs over TLS.
//!
//! Must not know any protocol.

use std::io;
use std::path::PathBuf;

use rustls::ClientConfig;

use crate::settings::problem::{Path, Problems};
use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind};
use crate::tls::{self, Identity};

/// PEM file of certificate authorities.
pub(super) const CA_FILE: Key = Key {
    name: "ca_file",
    kind: Kind::File,
    absent: Absent::Fine,
    help: "PEM file of certificate authorities trusted besides the system's.",
};
/// PEM file of the certificate to show.
pub(super) const CLIENT_CERTIFICATE: Key = Key {
    name: "client_certificate",
    kind: Kind::File,
    absent: Absent::Fine,
    help: "PEM file of a certificate to show to the server.",
};
/// PEM file of its key.
pub(super) const CLIENT_KEY: Key = Key {
    name: "client_key",
    kind: Kind::File,
    absent: Absent::Fine,
    help: "PEM file of the private key of `client_certificate`.",
};

/// Whom to trust and what to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encryption {
    /// Certificate authorities trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// A certificate to show, and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Encryption {
    /// Reads the three keys of the sink at `path`, and the files they name.
    pub(super) fn read(section: &Section<'_>, path: &Path, problems: &mut Problems) -> Self {
        let ca_file: Option<PathBuf> = section.get(CA_FILE.name);
        if let Some(Err(message)) = ca_file.as_deref().map(tls::check_authorities) {
            problems.add(path.join(CA_FILE.name), message);
        }
        let identity = match (section.get(CLIENT_CERTIFICATE.name), section.get(CLIENT_KEY.name)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (Some(_), None) => {
                problems.add(path.join(CLIENT_KEY.name), "is missing; `client_certificate` needs it");
                None
            }
            (None, Some(_)) => {
                problems.add(path.join(CLIENT_CERTIFICATE.name), "is missing; `client_key` needs it");
                None
            }
            (None, None) => None,
        };
        let read = Self { ca_file: None, identity };
        if let (Some(_), Err(fault)) = (&read.identity, read.load()) {
            let message = format!("cannot be used with `client_key`: {fault}");
            problems.add(path.join(CLIENT_CERTIFICATE.name), message);
        }
        Self { ca_file, ..read }
    }

    /// Whether any of it is configured: then a connection without TLS is not what the operator means.
    pub(super) fn is_configured(&self) -> bool {
        self.ca_file.is_some() || self.identity.is_some()
    }

    /// The client this describes, read from the files as they are now.
    pub(super) async fn client(&self) -> io::Result<ClientConfig> {
        let files = self.clone();
        tokio::task::spawn_blocking(move || files.load()).await.map_err(io::Error::other)?
    }

    /// The same, for who may wait for the disk.
    pub(super) fn load(&self) -> io::Result<ClientConfig> {
        let identity = self.identity.as_ref().map(|(certificate, key)| Identity { certificate, key });
        tls::client(self.ca_file.as_deref(), identity)
    }
}
