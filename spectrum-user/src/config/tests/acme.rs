//! `[tls.acme]`: what is accepted and what is refused.

use super::{NODE, good, refused::refuses};
use crate::model::{AcmeChallenge, ExternalAccount, KeyType};

const DIRECTORY: &str = "directory = \"https://ca.example.net/directory\"";

#[test]
fn a_directory_and_everything_that_can_be_said_of_it() {
    assert_eq!(good(NODE).node.tls.acme, None);
    let least = good(&format!("{NODE}[tls.acme]\n{DIRECTORY}\nterms_agreed = true\n")).node.tls.acme.unwrap();
    assert_eq!(least.directory.as_str(), "https://ca.example.net/directory");
    assert_eq!(
        (least.contact.len(), least.challenge, least.key_type),
        (0, AcmeChallenge::TlsAlpn01, KeyType::EcdsaP256)
    );
    assert_eq!((least.root, least.external_account), (None, None));

    let most = format!(
        "{NODE}[tls.acme]\n{DIRECTORY}\ncontact = [\"mailto:ops@example.com\", \"mailto:a+b@example.net\"]\n\
         challenge = \"http-01\"\nroot = \"/etc/spectrum/root.pem\"\nkey_type = \"ecdsa-p384\"\nterms_agreed = true\n\
         external_account = {{ key_id = \"kid-1\", key = \"/etc/spectrum/acme.key\" }}\n"
    );
    let most = good(&most).node.tls.acme.unwrap();
    assert_eq!(most.challenge, AcmeChallenge::Http01);
    assert_eq!(most.contact, ["mailto:ops@example.com", "mailto:a+b@example.net"]);
    assert_eq!(most.root, Some("/etc/spectrum/root.pem".into()));
    assert_eq!(most.key_type, KeyType::EcdsaP384);
    let account = ExternalAccount { key_id: "kid-1".to_owned(), key: "/etc/spectrum/acme.key".into() };
    assert_eq!(most.external_account, Some(account));
}

#[test]
fn nothing_is_asked_for_without_a_directory_or_before_a_person_has_agreed() {
    let terms = "a directory gives certificates to those alone who agree to its terms of service";
    let agree = "read them, and write terms_agreed = true";
    refuses(
        &format!("{NODE}[tls]\nacme = ▶▶{{ key_type = \"ecdsa-p256\" }}"),
        &[
            (
                0,
                "missing key `directory` in [tls.acme]",
                "write directory = \"https://acme-v02.api.letsencrypt.org/directory\"",
            ),
            (0, terms, agree),
        ],
    );
    refuses(&format!("{NODE}[tls.acme]\n{DIRECTORY}\nterms_agreed = ▶false"), &[(0, terms, agree)]);
    refuses(
        &format!("{NODE}[tls.acme]\n{DIRECTORY}\nterms_agreed = ▶\"yes\""),
        &[(0, "`terms_agreed` is true or false, not a string", "write terms_agreed = true or terms_agreed = false")],
    );
}

#[test]
fn values_of_acme_that_are_refused() {
    let write = "it must be an https URL, such as https://acme-v02.api.letsencrypt.org/directory";
    let absolute = "write it from `/` on: a service does not start in your directory";
    let account = "write the one of the directory's owner";
    for (line, message, help) in [
        ("directory = ▶\"http://ca.example.net\"", "`http://ca.example.net` is no directory", write),
        (
            "contact = [▶\"ops@example.com\"]",
            "`ops@example.com` is no address that a directory can write to",
            "write \"mailto:ops@example.com\"",
        ),
        (
            "contact = [▶\"tel:112\"]",
            "`tel:112` is no address that a directory can write to",
            "write \"mailto:ops@example.com\"",
        ),
        (
            "contact = [▶\"mailto:a@b?subject=x\"]",
            "`mailto:a@b?subject=x` is no address that a directory can write to",
            "write \"mailto:ops@example.com\"",
        ),
        ("challenge = ▶\"dns-01\"", "`dns-01` is not a value of `challenge`", "write one of `tls-alpn-01`, `http-01`"),
        ("root = ▶\"root.pem\"", "`root.pem` is not an absolute path", absolute),
        (
            "key_type = ▶\"rsa-1024\"",
            "`rsa-1024` is not a value of `key_type`",
            "write one of `ecdsa-p256`, `ecdsa-p384`",
        ),
        ("external_account = { key_id = ▶\"\", key = \"/k\" }", "an empty `key_id` names no account", account),
        (
            "external_account = ▶{ key_id = \"a\" }",
            "missing key `key` in an external account",
            "write key = \"/etc/spectrum/acme.key\"",
        ),
    ] {
        let directory = if line.starts_with("directory") { "" } else { DIRECTORY };
        refuses(&format!("{NODE}[tls.acme]\n{directory}\nterms_agreed = true\n{line}"), &[(0, message, help)]);
    }
}
