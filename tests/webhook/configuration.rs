//! What `check` says of a `[sinks.NAME]` section with `type = "webhook"`.

use rcgen::{CertificateParams, KeyPair};

use super::load;

#[test]
fn a_url_alone_is_enough() {
    let options = load("url = 'https://crm.example.com/hooks'").unwrap();
    assert_eq!(options.kind(), "webhook");
    load("url = 'http://127.0.0.1:8080'\nsecret = 5\nbatch = 100\nconcurrency = 1\npublic_only = false").unwrap();
}

#[test]
fn what_is_wrong_is_said_with_its_key_and_without_secrets() {
    for (section, problem) in [
        ("", "url: is missing"),
        ("url = 'crm.example.com'", "url: must be a URL, such as https://crm.example.com/hooks"),
        ("url = 'ftp://crm.example.com'", "url: must begin with https:// or http://"),
        (
            "url = 'https://me:hunter2@crm.example.com'",
            "url: must not hold a user name or password; use `token` or `secret`",
        ),
        ("url = 'http://169.254.169.254/'", "url: 169.254.169.254 is link-local, and those are never called"),
        ("url = 'http://2852039166/?hunter2'", "url: 169.254.169.254 is link-local, and those are never called"),
        ("url = 'http://[::ffff:a9fe:a9fe]/'", "url: ::ffff:169.254.169.254 is link-local, and those are never called"),
        (
            "url = 'http://[fd00:ec2::254]/'",
            "url: fd00:ec2::254 tells the secrets of a cloud instance, and those are never called",
        ),
        ("url = 'http://10.0.0.1/'\npublic_only = true", "url: 10.0.0.1 is not public, and `public_only` is set"),
        ("url = 'http://a/'\nmode = 'plain'", "mode: must be \"structured\" or \"binary\""),
        ("url = 'http://a/'\nbatch = 0", "batch: must be a whole number from 1 to 256"),
        (
            "url = 'http://a/'\nmode = 'binary'\nbatch = 2",
            "batch: must be 1 with `mode = \"binary\"`: only whole events fit into one array",
        ),
        ("url = 'http://a/'\nsecret = 'whsec_*hunter2*'", "secret: has no base64 after whsec_"),
        ("url = 'http://a/'\nsecret = ['ok', 'whsk_aHVudGVyMg==']", "secret: entry 2: needs the 32 or 64 bytes"),
        ("url = 'http://a/'\nsecret = []", "secret: must not be an empty list"),
        ("url = 'http://a/'\nsecret = [{ env = 'NOT_SET' }]", "secret: the environment variable NOT_SET is not set"),
        ("url = 'http://a/'\ntoken = \"hunter2\\n\"", "token: holds characters that no header can carry"),
        ("url = 'http://a/'\nca_file = '/nowhere'", "ca_file: cannot read /nowhere: no such file"),
        ("url = 'http://a/'\nclient_certificate = '/nowhere'", "client_key: is missing; `client_certificate` needs it"),
        ("url = 'http://a/'\nclient_key = '/nowhere'", "client_certificate: is missing; `client_key` needs it"),
        (
            "url = 'http://a/'\nclient_certificate = '/no'\nclient_key = '/where'",
            "client_certificate: cannot be used with `client_key`: ",
        ),
    ] {
        let problems = load(section).unwrap_err();
        assert!(problems.starts_with(&format!("sinks.crm.{problem}")), "{section}\n{problems}");
        assert!(!problems.contains("hunter2") && !problems.contains('\n'), "{problems}");
    }
}

#[test]
fn a_certificate_and_a_key_that_do_not_belong_together_are_refused() {
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let certificate = CertificateParams::new(vec!["router.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let certificate = file("certificate.pem", certificate.pem());
    let section = |key: &str| format!("url = 'https://a/'\nclient_certificate = '{certificate}'\nclient_key = '{key}'");
    load(&section(&file("key.pem", key.serialize_pem()))).unwrap();
    let problems = load(&section(&file("other.pem", other.serialize_pem()))).unwrap_err();
    assert!(problems.starts_with("sinks.crm.client_certificate: cannot be used with `client_key`: "), "{problems}");
    let problems = load(&section(&certificate)).unwrap_err();
    assert!(problems.starts_with("sinks.crm.client_certificate: cannot be used with `client_key`: "), "{problems}");
}
