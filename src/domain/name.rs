//! Names: of accounts and sinks (chosen by the operator), of nodes and subids (given by the service).

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! opaque_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

macro_rules! any_text {
    ($name:ident) => {
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
    };
}

macro_rules! chosen_name {
    ($name:ident) => {
        impl std::str::FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                valid(text).then(|| Self(text.into())).ok_or(BadName)
            }
        }
    };
}

opaque_name! {
    /// The name of a configured account, the key of its table: `[a-z0-9-]`, 1 to 63 characters.
    AccountName
}
chosen_name!(AccountName);

opaque_name! {
    /// The name of a configured sink, the key of its table: `[a-z0-9-]`, 1 to 63 characters.
    SinkName
}
chosen_name!(SinkName);

opaque_name! {
    /// The domain of an account's JID, as it is configured: who answers for what its server says.
    JidDomain
}
any_text!(JidDomain);

opaque_name! {
    /// A PubSub node (XEP-0060), e.g. `/me/front@acme.onsip.com` or the leaf `/acme.onsip.com/front`. Opaque.
    NodeName
}
any_text!(NodeName);

opaque_name! {
    /// A subscription id given by the service (XEP-0060 section 6.1.6). Opaque, also where it looks like hex.
    Subid
}
any_text!(Subid);

opaque_name! {
    /// The id of a published item (XEP-0060). Opaque; may hold any character.
    ItemId
}
any_text!(ItemId);

/// A name is not 1 to 63 characters of `[a-z0-9-]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 63 characters of a-z, 0-9 and -")]
pub struct BadName;

fn valid(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_name_is_lower_case_letters_digits_and_dashes() {
        assert!("front-desk-2".parse::<AccountName>().is_ok());
        for bad in ["", "Front", "front_desk", "front.desk", &"a".repeat(64)] {
            assert_eq!(bad.parse::<SinkName>(), Err(BadName), "{bad:?}");
        }
    }
}
