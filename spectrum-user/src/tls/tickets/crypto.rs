//! AES-256-GCM and random bytes, of whichever library is built in.
//!
//! Deliberately not here: what is sealed, and with which key.

#[cfg(feature = "aws-lc-rs")]
use aws_lc_rs as backend;
#[cfg(not(feature = "aws-lc-rs"))]
use ring as backend;

use self::backend::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};

/// Bytes of a key.
pub(super) const SECRET: usize = 32;
/// What sealing adds: the nonce before, the tag behind.
pub(super) const OVERHEAD: usize = NONCE_LEN + 16;

/// A key as it is used. aws-lc-rs wipes its own copy when this is dropped, ring does not.
pub(super) struct Cipher(LessSafeKey);

impl Cipher {
    pub(super) fn new(secret: &[u8; SECRET]) -> Option<Self> {
        UnboundKey::new(&AES_256_GCM, secret).ok().map(|key| Self(LessSafeKey::new(key)))
    }

    /// Appends nonce, what is sealed, and tag. The nonce is random: a key must not seal more than 2^32 times (NIST
    /// SP 800-38D, section 8.3), and an hour is over long before.
    pub(super) fn seal(&self, bound_to: &[u8], plain: &[u8], sealed: &mut Vec<u8>) -> Option<()> {
        let nonce: [u8; NONCE_LEN] = random()?;
        sealed.reserve_exact(plain.len() + OVERHEAD);
        sealed.extend_from_slice(&nonce);
        let start = sealed.len();
        sealed.extend_from_slice(plain);
        let part = sealed.get_mut(start..)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(bound_to), part).ok()?;
        sealed.extend_from_slice(tag.as_ref());
        Some(())
    }

    /// What was sealed, bound to the same.
    pub(super) fn open(&self, bound_to: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut plain = sealed.to_vec();
        let length = self.0.open_in_place(nonce, Aad::from(bound_to), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

/// None: the system has no random bytes.
pub(super) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}
