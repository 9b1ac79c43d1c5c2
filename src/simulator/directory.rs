//! Who exists: accounts, their passwords and the SIP addresses each one owns.

use std::collections::HashMap;

use crate::domain::BareJid;
use crate::domain::identity::Token;

/// One account of the simulated service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The bare JID it logs in as.
    pub jid: BareJid,
    /// The portal password: of the log-in and of `authorize-plain`.
    pub password: String,
    /// SIP addresses it owns, `user@domain`; the first is the main one.
    pub addresses: Vec<String>,
}

impl Account {
    /// An account that owns the SIP address equal to its JID.
    ///
    /// # Errors
    /// If `jid` is not a bare JID with a local part.
    pub fn new(jid: &str, password: &str) -> Result<Self, NotAnAccount> {
        let jid = BareJid::new(jid).map_err(|_| NotAnAccount)?;
        if jid.node().is_none() {
            return Err(NotAnAccount);
        }
        let addresses = vec![jid.to_string()];
        Ok(Self { jid, password: password.to_owned(), addresses })
    }

    /// Adds a SIP address it owns besides.
    #[must_use]
    pub fn owning(mut self, address: &str) -> Self {
        self.addresses.push(address.to_owned());
        self
    }

    /// The account `userN@example.onsip.test`, with a password made from its JID.
    ///
    /// # Errors
    /// Never for a number; the type follows from [`Account::new`].
    pub fn numbered(number: u32) -> Result<Self, NotAnAccount> {
        let jid = format!("user{number}@example.onsip.test");
        let password = Token::of(["simulated password", &jid]);
        Self::new(&jid, password.as_str())
    }
}

/// The text is not a bare JID with a local part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an account is a bare JID with a local part, like user1@example.onsip.test")]
pub struct NotAnAccount;

/// All accounts.
#[derive(Debug, Default)]
pub(super) struct Directory {
    accounts: HashMap<BareJid, Account>,
    owners: HashMap<String, BareJid>,
}

impl Directory {
    pub(super) fn add(&mut self, account: Account) {
        for address in &account.addresses {
            self.owners.insert(address.clone(), account.jid.clone());
        }
        self.accounts.insert(account.jid.clone(), account);
    }

    pub(super) fn account(&self, jid: &BareJid) -> Option<&Account> {
        self.accounts.get(jid)
    }

    pub(super) fn account_mut(&mut self, jid: &BareJid) -> Option<&mut Account> {
        self.accounts.get_mut(jid)
    }

    pub(super) fn owner(&self, address: &str) -> Option<&Account> {
        self.accounts.get(self.owners.get(address)?)
    }

    /// Every SIP address somebody owns.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.owners.keys().map(String::as_str)
    }

    pub(super) fn checks(&self, jid: &BareJid, password: &str) -> bool {
        self.accounts.get(jid).is_some_and(|account| account.password == password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_owns_its_own_address_and_those_given() {
        let mut directory = Directory::default();
        directory.add(Account::new("anna@acme.test", "pw").unwrap().owning("sales@acme.test"));
        assert_eq!(directory.owner("sales@acme.test").unwrap().jid.as_str(), "anna@acme.test");
        assert!(directory.owner("bert@acme.test").is_none());
    }

    #[test]
    fn a_domain_is_no_account() {
        assert_eq!(Account::new("acme.test", "pw"), Err(NotAnAccount));
    }
}
