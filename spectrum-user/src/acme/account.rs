//! The account at the directory: made once, kept in a file, opened when an order needs it.
//!
//! One file for each directory, so that going back to one finds the account that was there.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use super::{client::Client, files, trouble::Trouble};
use crate::{
    model::{Acme, ExternalAccount},
    state::document::{self, Unreadable},
};

const VERSION: u64 = 1;
const LARGEST: u64 = 1 << 20;

pub(super) struct Accounts {
    settings: Acme,
    path: PathBuf,
    /// For one answer of the directory.
    deadline: Duration,
    open: Mutex<Option<Account>>,
    is_open: AtomicBool,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u64,
    directory: String,
    contact: Vec<String>,
    /// As instant-acme has them: the account's URL, and its key.
    credentials: AccountCredentials,
}

impl Accounts {
    pub(super) fn new(settings: Acme, folder: &Path, deadline: Duration) -> Self {
        let digest = Sha256::digest(settings.directory.as_str());
        let name = u64::from_be_bytes(*digest.first_chunk().unwrap_or(&[0; 8]));
        let path = folder.join(format!("account-{name:016x}.json"));
        Self { settings, path, deadline, open: Mutex::new(None), is_open: AtomicBool::new(false) }
    }

    /// Whether the directory has lately let us in: orders need not wait for one another.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Relaxed)
    }

    /// The account, which is made where there is none. What fails here fails for every host.
    pub(super) async fn open(&self) -> Result<Account, Trouble> {
        let mut open = self.open.lock().await;
        if let Some(account) = &*open {
            return Ok(account.clone());
        }
        let account = match self.known()? {
            Some(document) => self.enter(document).await,
            None => self.make().await,
        };
        let account = account.map_err(Trouble::general)?;
        *open = Some(account.clone());
        self.is_open.store(true, Relaxed);
        Ok(account)
    }

    /// After something failed: the directory is read anew before the next order.
    pub(super) async fn close(&self) {
        self.is_open.store(false, Relaxed);
        *self.open.lock().await = None;
    }

    /// The directory does not know it: the next order makes another.
    pub(super) async fn forget(&self) {
        self.close().await;
        log::warn!("{} does not know its account any more: another is made", self.settings.directory);
        // If it stays, the directory says so again.
        let _ = fs::remove_file(&self.path);
    }

    fn known(&self) -> Result<Option<Document>, Trouble> {
        let why = match document::read::<Document>(&self.path, VERSION, LARGEST) {
            Ok(document) if document.directory == self.settings.directory.as_str() => return Ok(Some(document)),
            Ok(_) => "it is of another directory".to_owned(),
            Err(Unreadable::Absent) => return Ok(None),
            Err(Unreadable::Corrupt(why)) => why,
            Err(Unreadable::Io(error)) => {
                return Err(Trouble::new(format!("{}: {error}", self.path.display())).general());
            }
            Err(Unreadable::Newer(version)) => {
                let words = format!("{} is of version {version}, which a later program wrote", self.path.display());
                return Err(Trouble::new(words).general());
            }
        };
        log::warn!("{} is no account, another is made: {why}", self.path.display());
        Ok(None)
    }

    async fn enter(&self, document: Document) -> Result<Account, Trouble> {
        let is_changed = document.contact != self.settings.contact;
        // The credentials are no `Clone`, and are consumed.
        let kept = is_changed.then(|| serde_json::to_value(&document.credentials).ok()).flatten();
        let account = Account::builder_with_http(Box::new(self.client()?)).from_credentials(document.credentials).await;
        let account = account.map_err(|error| Trouble::during("the account", &error))?;
        if let Some(credentials) = kept.and_then(|kept| serde_json::from_value::<AccountCredentials>(kept).ok()) {
            let updated = account.update_contacts(&self.contact()).await;
            updated.map_err(|error| Trouble::during("the account's new contact", &error))?;
            self.keep(credentials);
        }
        Ok(account)
    }

    async fn make(&self) -> Result<Account, Trouble> {
        // First of all: an account that cannot be kept would be one of many.
        if let Some(folder) = self.path.parent() {
            files::make_folder(folder).map_err(Trouble::new)?;
        }
        let external = self.settings.external_account.as_ref().map(external).transpose()?;
        let contact = self.contact();
        let wanted = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let builder = Account::builder_with_http(Box::new(self.client()?));
        let directory = self.settings.directory.to_string();
        let made = builder.create(&wanted, directory, external.as_ref()).await;
        let (account, credentials) = made.map_err(|error| Trouble::during("a new account", &error))?;
        log::info!("{} has a new account for this node", self.settings.directory);
        self.keep(credentials);
        Ok(account)
    }

    fn keep(&self, credentials: AccountCredentials) {
        let (directory, contact) = (self.settings.directory.to_string(), self.settings.contact.clone());
        let document = Document { version: VERSION, directory, contact, credentials };
        let text = serde_json::to_vec(&document).map_err(|error| error.to_string());
        let written = text.and_then(|text| {
            let replaced = document::replace_secret(&self.path, &text);
            replaced.map_err(|error| format!("{}: {}", error.step, error.cause))
        });
        if let Err(why) = written {
            log::warn!("the account at {} is not kept in {}: {why}", self.settings.directory, self.path.display());
        }
    }

    fn client(&self) -> Result<Client, Trouble> {
        Client::new(self.settings.root.as_deref(), self.deadline)
    }

    fn contact(&self) -> Vec<&str> {
        self.settings.contact.iter().map(String::as_str).collect()
    }
}

/// Some hand the key out in base64url, some in base64, with or without padding.
fn external(account: &ExternalAccount) -> Result<ExternalAccountKey, Trouble> {
    let failed = |why: &str| Trouble::new(format!("{}, the external account's key: {why}", account.key.display()));
    let text = fs::read_to_string(&account.key).map_err(|error| failed(&error.to_string()))?;
    let text = text.trim().replace('+', "-").replace('/', "_");
    let any_padding = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let key = GeneralPurpose::new(&alphabet::URL_SAFE, any_padding).decode(text);
    match key {
        Ok(key) if !key.is_empty() => Ok(ExternalAccountKey::new(account.key_id.clone(), &key)),
        Ok(_) | Err(_) => Err(failed("it must be base64url")),
    }
}
