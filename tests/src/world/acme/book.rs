//! What the directory has in its books.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use serde_json::{Value, json};

use super::{Fault, Place, jws::Key};

pub(super) struct Book {
    pub(super) places: HashMap<String, Place>,
    pub(super) faults: Vec<(&'static str, Fault, usize)>,
    pub(super) life: Duration,
    pub(super) ahead: Duration,
    pub(super) external: Option<(String, Vec<u8>)>,
    /// It does not look at what is shown yet.
    pub(super) waits: bool,
    pub(super) asked: HashMap<String, usize>,
    /// Handed out and not used.
    pub(super) nonces: HashSet<String>,
    pub(super) accounts: BTreeMap<usize, Account>,
    pub(super) orders: Vec<Order>,
    pub(super) certificates: Vec<String>,
    numbers: usize,
}

pub(super) struct Account {
    pub(super) key: Key,
    pub(super) contact: Vec<String>,
}

/// With its one name, and so its one authorization: all have the same number.
pub(super) struct Order {
    pub(super) account: usize,
    pub(super) host: String,
    pub(super) token: String,
    pub(super) shown: Shown,
    pub(super) end: End,
}

/// How the challenge stands.
pub(super) enum Shown {
    Pending,
    Processing(&'static str),
    Valid(&'static str),
    Invalid(&'static str, Value),
}

/// How the order ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Open,
    /// The certificate of this number is there, but the next look still shows `processing`.
    Processing(usize),
    Valid(usize),
}

pub(super) const KINDS: [&str; 3] = ["http-01", "tls-alpn-01", "dns-01"];

impl Default for Book {
    fn default() -> Self {
        Self {
            places: HashMap::new(),
            faults: Vec::new(),
            life: Duration::from_hours(90 * 24),
            ahead: Duration::ZERO,
            external: None,
            waits: false,
            asked: HashMap::new(),
            nonces: HashSet::new(),
            accounts: BTreeMap::new(),
            orders: Vec::new(),
            certificates: Vec::new(),
            numbers: 0,
        }
    }
}

impl Book {
    /// Counts a request, and says what is to fail of it.
    pub(super) fn fault(&mut self, path: &str) -> Option<Fault> {
        let kind = path.find('/').map_or(path, |slash| &path[..=slash]);
        *self.asked.entry(kind.to_owned()).or_default() += 1;
        let (_, fault, times) = self.faults.iter_mut().find(|(of, _, times)| *of == kind && *times > 0)?;
        *times -= 1;
        Some(*fault)
    }

    pub(super) fn nonce(&mut self) -> String {
        let nonce = token();
        self.nonces.insert(nonce.clone());
        nonce
    }

    /// A number that no account has had.
    pub(super) fn number(&mut self) -> usize {
        self.numbers += 1;
        self.numbers
    }
}

/// Of base64url's alphabet, and with 128 bits that nobody guesses.
pub(super) fn token() -> String {
    format!("{:032x}-_", fastrand::u128(..))
}

impl Order {
    pub(super) fn status(&self) -> &'static str {
        match (&self.shown, self.end) {
            (Shown::Invalid(..), _) => "invalid",
            (Shown::Valid(_), End::Open) => "ready",
            (Shown::Valid(_), End::Processing(_)) => "processing",
            (Shown::Valid(_), End::Valid(_)) => "valid",
            (Shown::Pending | Shown::Processing(_), _) => "pending",
        }
    }

    pub(super) fn describe(&self, number: usize, url: impl Fn(&str) -> String) -> Value {
        let mut order = json!({
            "status": self.status(),
            "identifiers": [{ "type": "dns", "value": self.host }],
            "authorizations": [url(&format!("authorization/{number}"))],
            "finalize": url(&format!("finalize/{number}")),
        });
        if let Shown::Invalid(..) = self.shown {
            order["error"] = json!({
                "type": "urn:ietf:params:acme:error:unauthorized", "detail": "an authorization is invalid",
            });
        }
        if let End::Valid(certificate) = self.end {
            order["certificate"] = url(&format!("certificate/{certificate}")).into();
        }
        order
    }

    pub(super) fn describe_authorization(&self, number: usize, url: impl Fn(&str) -> String) -> Value {
        let status = match self.shown {
            Shown::Pending | Shown::Processing(_) => "pending",
            Shown::Valid(_) => "valid",
            Shown::Invalid(..) => "invalid",
        };
        let challenges: Vec<Value> = KINDS.iter().map(|kind| self.describe_challenge(number, kind, &url)).collect();
        json!({ "status": status, "identifier": { "type": "dns", "value": self.host }, "challenges": challenges })
    }

    pub(super) fn describe_challenge(&self, number: usize, kind: &str, url: impl Fn(&str) -> String) -> Value {
        let mut challenge = json!({
            "type": kind, "url": url(&format!("challenge/{number}/{kind}")), "token": self.token, "status": "pending",
        });
        match &self.shown {
            Shown::Processing(chosen) if *chosen == kind => challenge["status"] = "processing".into(),
            Shown::Valid(chosen) if *chosen == kind => challenge["status"] = "valid".into(),
            Shown::Invalid(chosen, why) if *chosen == kind => {
                challenge["status"] = "invalid".into();
                challenge["error"] = why.clone();
            }
            _ => {}
        }
        challenge
    }
}
