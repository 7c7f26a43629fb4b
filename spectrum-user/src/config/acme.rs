//! `[tls.acme]`: the directory that certificates are asked for at.
//!
//! Deliberately not here: whether the directory answers, and what it thinks of the hostnames (`acme`).

use super::{
    diagnostic::{Fault, Place},
    reader::{Found, Table},
    text,
};
use crate::model::{Acme, AcmeChallenge, DirectoryUrl, ExternalAccount, KeyType};

const DIRECTORY: &str = "\"https://acme-v02.api.letsencrypt.org/directory\"";

pub(super) fn read(tls: &mut Table<'_>) -> Option<Acme> {
    let mut table = tls.table("acme", "[tls.acme]")?;
    let directory =
        table.require("directory", DIRECTORY, |table, key| table.parsed(key, directory).map(|found| found.value));
    let contact = table.list("contact", None, contact).map(|found| found.value).unwrap_or_default();
    let challenges = [AcmeChallenge::TlsAlpn01, AcmeChallenge::Http01].map(|kind| (kind.as_str(), kind));
    let challenge = table.choice("challenge", &challenges).map(|found| found.value).unwrap_or_default();
    let root = table.parsed("root", text::absolute_path).map(|found| found.value);
    let key_types = [KeyType::EcdsaP256, KeyType::EcdsaP384].map(|key_type| (key_type.as_str(), key_type));
    let key_type = table.choice("key_type", &key_types).map(|found| found.value).unwrap_or_default();
    let external_account = external_account(&mut table);
    terms(&mut table);
    table.finish();
    Some(Acme {
        directory: directory?,
        contact: contact.into_iter().map(|found| found.value).collect(),
        challenge,
        root,
        external_account,
        key_type,
    })
}

fn directory(text: &str) -> Result<DirectoryUrl, Fault> {
    text.parse().map_err(|error| Fault::new(format!("`{text}` is no directory")).help(format!("{error}")))
}

/// One address and no more: RFC 8555, section 7.3.
fn contact(text: &str) -> Result<String, Fault> {
    let is_address = |address: &str| {
        let odd = |c: char| !c.is_ascii_graphic() || "?,<>\"".contains(c);
        address.split_once('@').is_some_and(|(who, place)| !who.is_empty() && !place.is_empty())
            && !address.contains(odd)
    };
    if text.strip_prefix("mailto:").is_some_and(is_address) {
        return Ok(text.to_owned());
    }
    let help =
        if is_address(text) { format!("write \"mailto:{text}\"") } else { "write \"mailto:ops@example.com\"".into() };
    Err(Fault::new(format!("`{text}` is no address that a directory can write to")).help(help))
}

fn external_account(table: &mut Table<'_>) -> Option<ExternalAccount> {
    let mut table = table.table("external_account", "an external account")?;
    let key_id = table.require("key_id", "\"…\", as the directory's owner hands it out", |table, key| {
        table.parsed(key, |text| {
            let empty =
                || Fault::new("an empty `key_id` names no account").help("write the one of the directory's owner");
            if text.is_empty() { Err(empty()) } else { Ok(text.to_owned()) }
        })
    });
    let key = table.require("key", "\"/etc/spectrum/acme.key\"", |table, key| table.parsed(key, text::absolute_path));
    table.finish();
    Some(ExternalAccount { key_id: key_id?.value, key: key?.value })
}

/// Nobody but a person can agree.
fn terms(table: &mut Table<'_>) {
    let refuse = |table: &Table<'_>, place: &Place| {
        let fault = Fault::new("a directory gives certificates to those alone who agree to its terms of service");
        table.findings().error(place, fault.help("read them, and write terms_agreed = true"));
    };
    match table.boolean("terms_agreed") {
        Some(Found { value: true, .. }) => {}
        Some(Found { place, .. }) => refuse(table, &place),
        // It is something else, and was told of.
        None if table.has("terms_agreed") => {}
        None => refuse(table, table.place()),
    }
}
