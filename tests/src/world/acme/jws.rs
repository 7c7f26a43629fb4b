//! Signed requests (RFC 7515 in its flattened form, as RFC 8555, section 6.2, narrows it): signatures are really checked.

use aws_lc_rs::{
    hmac,
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// An account's public key: the two halves in base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    x: String,
    y: String,
}

/// What is signed.
pub(super) struct Signed {
    pub(super) header: Value,
    /// Null where there is none: POST-as-GET (section 6.3).
    pub(super) payload: Value,
    text: String,
    signature: Vec<u8>,
}

impl Signed {
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        Self::of(&serde_json::from_slice(body).map_err(|error| format!("no JSON: {error}"))?)
    }

    pub(super) fn of(jws: &Value) -> Result<Self, String> {
        let part = |name: &str| jws[name].as_str().ok_or(format!("no {name} in the JWS"));
        let (protected, payload, signature) = (part("protected")?, part("payload")?, part("signature")?);
        if jws.as_object().is_none_or(|jws| jws.len() != 3) {
            return Err("a JWS of RFC 8555 has three members".to_owned());
        }
        let header = serde_json::from_slice(&decode(protected)?).map_err(|error| format!("the header: {error}"))?;
        let payload_json = if payload.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&decode(payload)?).map_err(|error| format!("the payload: {error}"))?
        };
        let text = format!("{protected}.{payload}");
        Ok(Self { header, payload: payload_json, text, signature: decode(signature)? })
    }

    pub(super) fn is_by(&self, key: &Key) -> Result<(), String> {
        if self.header["alg"] != "ES256" {
            return Err(format!("the algorithm is {}", self.header["alg"]));
        }
        let point = [&[4][..], &decode(&key.x)?, &decode(&key.y)?].concat();
        let verified =
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(self.text.as_bytes(), &self.signature);
        verified.map_err(|_| "the signature is not of this key".to_owned())
    }

    /// For the binding of an external account.
    pub(super) fn is_by_secret(&self, key: &[u8]) -> Result<(), String> {
        if self.header["alg"] != "HS256" || self.header.get("nonce").is_some() {
            return Err("the binding is signed by HS256, and has no nonce".to_owned());
        }
        let verified = hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), self.text.as_bytes(), &self.signature);
        verified.map_err(|_| "the binding is not signed by the external key".to_owned())
    }
}

impl Key {
    pub(super) fn of(jwk: &Value) -> Result<Self, String> {
        let half = |name: &str| match jwk[name].as_str() {
            Some(half) if decode(half)?.len() == 32 => Ok(half.to_owned()),
            _ => Err(format!("the key has no {name}")),
        };
        if jwk["kty"] != "EC" || jwk["crv"] != "P-256" {
            return Err("a key that is not of P-256".to_owned());
        }
        Ok(Self { x: half("x")?, y: half("y")? })
    }

    /// RFC 7638.
    fn thumbprint(&self) -> String {
        let Self { x, y } = self;
        encode(&Sha256::digest(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)))
    }

    /// RFC 8555, section 8.1.
    pub(super) fn authorize(&self, token: &str) -> String {
        format!("{token}.{}", self.thumbprint())
    }
}

pub(super) fn decode(text: &str) -> Result<Vec<u8>, String> {
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|error| format!("no base64url: {error}"))
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
    };
    use serde_json::json;

    use super::*;

    #[test]
    fn another_key_and_another_text_are_noticed() {
        let pair = || EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (one, other) = (pair(), pair());
        let key = |pair: &EcdsaKeyPair| {
            let point = pair.public_key().as_ref();
            let jwk = json!({ "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]) });
            Key::of(&jwk).unwrap()
        };
        let (header, payload) = (encode(br#"{"alg":"ES256"}"#), encode(b"{}"));
        let signature = one.sign(&SystemRandom::new(), format!("{header}.{payload}").as_bytes()).unwrap();
        let of = |payload: &str| {
            let signature = encode(signature.as_ref());
            Signed::of(&json!({ "protected": header, "payload": payload, "signature": signature })).unwrap()
        };
        assert_eq!(of(&payload).is_by(&key(&one)), Ok(()));
        assert!(of(&payload).is_by(&key(&other)).is_err());
        assert!(of("").is_by(&key(&one)).is_err());
    }
}
