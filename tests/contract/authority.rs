//! A certificate authority of the tests' own, and what it has signed, as PEM files.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// Files in a folder.
pub struct Authority {
    /// The authority's own certificate.
    pub ca: PathBuf,
    /// A server's certificate, for 127.0.0.1.
    pub server: (PathBuf, PathBuf),
    /// A client's certificate.
    pub client: (PathBuf, PathBuf),
}

impl Authority {
    /// Makes one and lets it sign.
    pub fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own_key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, own_key).expect("a certificate");
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).expect("it is written");
            path
        };
        let signed = |name: &str, host: &str| {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
            // Named like its issuer it would pass for one that has signed itself.
            params.distinguished_name.push(DnType::CommonName, name);
            let certificate = params.signed_by(&key, &authority).expect("a certificate");
            (write(&format!("{name}.pem"), certificate.pem()), write(&format!("{name}-key.pem"), key.serialize_pem()))
        };
        Self {
            ca: write("ca.pem", authority.pem()),
            server: signed("server", "127.0.0.1"),
            client: signed("client", "onsip-router.test"),
        }
    }

    /// The keys of a sink that trusts it and shows the client's certificate.
    pub fn settings(&self) -> String {
        let (certificate, key) = &self.client;
        format!(
            "ca_file = \"{}\"\nclient_certificate = \"{}\"\nclient_key = \"{}\"\n",
            self.ca.display(),
            certificate.display(),
            key.display()
        )
    }
}
