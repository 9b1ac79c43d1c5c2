//! Who the router is to the server. Must not know what is published.

use async_nats::ConnectOptions;

use crate::domain::secret::Secret;
use crate::settings::problem::{Path, Problems};
use crate::settings::section::Section;

/// One of the ways in which NATS knows its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// Nobody in particular, or whoever the client certificate says.
    Anonymous,
    /// A user with a password.
    User {
        /// Its name.
        user: String,
        /// Its password.
        password: Secret,
    },
    /// A token all clients share.
    Token(Secret),
    /// The seed of an `NKey`.
    Nkey(Secret),
    /// The content of a credentials file: a JWT and a seed.
    Credentials(Secret),
}

impl Login {
    /// Reads the keys of the sink at `path`.
    pub(super) fn read(section: &Section<'_>, path: &Path, problems: &mut Problems) -> Option<Self> {
        let before = problems.iter().count();
        let ways: Vec<_> =
            ["user", "token", "nkey", "credentials"].into_iter().filter(|key| section.has(key)).collect();
        if let [first, second, ..] = ways[..] {
            problems.add(path.join(second), format_args!("cannot be used together with `{first}`"));
        }
        if section.has("password") && !section.has("user") {
            problems.add(path.join("user"), "is missing; `password` needs it");
        }
        if section.has("user") && !section.has("password") {
            problems.add(path.join("password"), "is missing; `user` needs it");
        }
        let password = section.secret("password", path, problems);
        let token = section.secret("token", path, problems);
        let nkey = section.secret("nkey", path, problems);
        let credentials = section.secret("credentials", path, problems);
        if nkey.as_ref().is_some_and(|seed| !is_user_seed(seed.expose())) {
            problems.add(path.join("nkey"), "is no seed of a user's NKey (SU and 56 more characters)");
        }
        if credentials.as_ref().is_some_and(|text| ConnectOptions::with_credentials(text.expose()).is_err()) {
            problems.add(path.join("credentials"), "is not the content of a .creds file");
        }
        if problems.iter().count() > before {
            return None;
        }
        Some(match (section.get("user"), password, token, nkey, credentials) {
            (Some(user), Some(password), ..) => Self::User { user, password },
            (_, _, Some(token), ..) => Self::Token(token),
            (_, _, _, Some(seed), _) => Self::Nkey(seed),
            (_, _, _, _, Some(credentials)) => Self::Credentials(credentials),
            (_, _, None, None, None) => Self::Anonymous,
        })
    }

    /// Returns the secrets that must not be shown.
    pub(super) fn confidential(&self) -> Vec<String> {
        match self {
            Self::Anonymous => Vec::new(),
            Self::User { password: secret, .. } | Self::Token(secret) | Self::Nkey(secret) => {
                vec![secret.expose().to_owned()]
            }
            // Each line of it may be said alone.
            Self::Credentials(text) => {
                text.expose().lines().filter(|l| !l.starts_with("---")).map(str::to_owned).collect()
            }
        }
    }

    /// Adds it to the options of a connection.
    pub(super) fn add_to(&self, options: ConnectOptions) -> std::io::Result<ConnectOptions> {
        Ok(match self {
            Self::Anonymous => options,
            Self::User { user, password } => options.user_and_password(user.clone(), password.expose().to_owned()),
            Self::Token(token) => options.token(token.expose().to_owned()),
            Self::Nkey(seed) => options.nkey(seed.expose().trim().to_owned()),
            Self::Credentials(text) => options.credentials(text.expose())?,
        })
    }
}

/// Whether `text` looks like the seed of a user: 58 characters of base 32.
fn is_user_seed(text: &str) -> bool {
    let text = text.trim();
    let base_32 = |b: u8| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b);
    text.len() == 58 && text.starts_with("SU") && text.bytes().all(base_32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_seed_of_a_user_is_one() {
        assert!(is_user_seed("SUAIO3FHUX5PNV2LQIIP7TZ3N4L7TX3W53MQGEIVYFIGA635OZCKEYHFLM"));
        assert!(!is_user_seed("SAAIO3FHUX5PNV2LQIIP7TZ3N4L7TX3W53MQGEIVYFIGA635OZCKEYHFLM"), "an account's");
        assert!(!is_user_seed("SUAIO3FHUX5PNV2LQIIP7TZ3N4L7TX3W53MQGEIVYFIGA635OZCKEYHFL"));
        assert!(!is_user_seed("hunter2"));
    }
}
