//! The certificate authorities of the system and of a file, as one PEM text: the library takes either by itself, and
//! both only so. Must not know what they are trusted for.

use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::domain::limits::CONFIGURATION_FILE;
use crate::settings::files;

/// How long a line of PEM may be.
const LINE: usize = 64;

/// The text.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn with(ca_file: &Path) -> io::Result<String> {
    let mut text = files::read_text(ca_file, CONFIGURATION_FILE)?;
    for certificate in rustls_native_certs::load_native_certs().certs {
        text.push_str("\n-----BEGIN CERTIFICATE-----\n");
        let mut encoded = STANDARD.encode(&certificate);
        while !encoded.is_empty() {
            let rest = encoded.split_off(LINE.min(encoded.len()));
            text.push_str(&encoded);
            text.push('\n');
            encoded = rest;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn the_systems_authorities_stand_behind_those_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let own = rcgen::generate_simple_self_signed(["ca.test".to_owned()]).unwrap().cert;
        std::fs::write(&path, own.pem()).unwrap();
        let text = with(&path).unwrap();
        assert!(text.lines().all(|line| line.len() <= LINE));
        let read: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().unwrap();
        let system = rustls_native_certs::load_native_certs().certs;
        assert_eq!(read.first(), Some(own.der()));
        assert_eq!(read[1..], system[..]);
    }
}
