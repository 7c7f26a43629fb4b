//! Ticket keys by age, and tickets: `name (16) | nonce (12) | sealed | tag (16)`. The name says which key, so it is in the
//! clear; a ticket shows no more than which of them are of the same hour.
//!
//! Clocks jump. A key from the future is taken for one made now, so that a clock that was set back keeps none for ever; one
//! that was set forward may make keys too old at once, which costs their sessions a full handshake and nothing more.
//!
//! Deliberately not here: the clock itself, and files.

use std::{cmp::Reverse, sync::Arc};

use zeroize::Zeroizing;

use super::{
    LIFETIME, ROTATION,
    crypto::{Cipher, OVERHEAD, SECRET, random},
};

/// Since 1970.
pub(super) type Seconds = u64;

/// The longest ticket. One with a client's chain of three certificates has half of that. A client sends it in its
/// ClientHello, which must stay below what is read of those (`hello::LONGEST`).
const LONGEST_TICKET: usize = 8 << 10;
/// More than there are with one new key each hour. Only a clock that jumps makes more.
const MOST: usize = 16;
const NAME: usize = 16;
/// Of what a ticket looks like and is bound to.
const FORMAT: u8 = 1;

/// Bytes of a key where it is kept: name, secret, when it was made (seconds since 1970, big endian).
const RECORD: usize = NAME + SECRET + size_of::<Seconds>();

/// The newest first: it seals. All open.
#[derive(Clone, Default)]
pub(super) struct Ring(Vec<Key>);

#[derive(Clone)]
struct Key {
    made: Seconds,
    material: Arc<Material>,
}

struct Material {
    name: [u8; NAME],
    secret: Zeroizing<[u8; SECRET]>,
    cipher: Cipher,
}

/// A ring as it should be at some time.
pub(super) struct Tended {
    pub(super) ring: Ring,
    /// It differs from the one before.
    pub(super) changed: bool,
    /// It has a new key.
    pub(super) rotated: bool,
}

impl Ring {
    /// With what is due at `now` done. Where the system has no random bytes, the current key goes on until it is too old;
    /// then there are no tickets.
    pub(super) fn tended(&self, now: Seconds) -> Tended {
        let mut keys: Vec<Key> = self.0.iter().map(|key| key.not_after(now)).filter(|key| key.opens(now)).collect();
        let fresh = if keys.first().is_some_and(|key| key.seals(now)) { None } else { Key::generate(now) };
        let rotated = fresh.is_some();
        keys.splice(0..0, fresh);
        keys.truncate(MOST);
        let ring = Self(keys);
        Tended { changed: !ring.is_same(self), rotated, ring }
    }

    /// The keys of both, by age. Where both have one, it is as old as either says.
    pub(super) fn merged(&self, other: &Self) -> Self {
        let mut keys: Vec<Key> = other.0.iter().map(|key| key.not_after(self.made(key).unwrap_or(key.made))).collect();
        keys.extend(self.0.iter().filter(|key| other.made(key).is_none()).cloned());
        // Stable: of two that are as old as each other, the one that was kept is current.
        keys.sort_by_key(|key| Reverse(key.made));
        keys.truncate(MOST);
        Self(keys)
    }

    fn made(&self, key: &Key) -> Option<Seconds> {
        self.find(&key.material.name).map(|key| key.made)
    }

    /// The same keys of the same age in the same order.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let is_same = |(one, other): (&Key, &Key)| one.made == other.made && one.material.name == other.material.name;
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(is_same)
    }

    /// None: there is no key, or it would be too long.
    pub(super) fn encrypt(&self, context: &[u8], plain: &[u8], now: Seconds) -> Option<Vec<u8>> {
        let key = self.0.first().filter(|key| key.opens(now))?;
        if plain.len() > LONGEST_TICKET - NAME - OVERHEAD {
            return None;
        }
        let mut ticket = Vec::with_capacity(NAME + OVERHEAD + plain.len());
        ticket.extend_from_slice(&key.material.name);
        key.material.cipher.seal(&bound_to(context), plain, &mut ticket)?;
        Some(ticket)
    }

    /// None, whatever is wrong with it: the client may have written what it likes.
    pub(super) fn decrypt(&self, context: &[u8], ticket: &[u8], now: Seconds) -> Option<Vec<u8>> {
        if ticket.len() > LONGEST_TICKET {
            return None;
        }
        let (name, sealed) = ticket.split_first_chunk::<NAME>()?;
        // Also where nobody rotates, no key opens for longer than its lifetime.
        let key = self.find(name).filter(|key| key.opens(now))?;
        key.material.cipher.open(&bound_to(context), sealed)
    }

    /// Names are no secret: this may take as long as it takes.
    fn find(&self, name: &[u8; NAME]) -> Option<&Key> {
        self.0.iter().find(|key| key.material.name == *name)
    }

    /// As it is kept, in the clear.
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        // All at once: what a vector leaves behind when it grows is not wiped.
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.0.len() * RECORD));
        for key in &self.0 {
            bytes.extend_from_slice(&key.material.name);
            bytes.extend_from_slice(&*key.material.secret);
            bytes.extend_from_slice(&key.made.to_be_bytes());
        }
        bytes
    }

    /// None: these are not so many whole keys.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (records, []) = bytes.as_chunks::<RECORD>() else { return None };
        records.iter().take(MOST).map(Key::decode).collect::<Option<_>>().map(Self)
    }
}

impl Key {
    fn generate(made: Seconds) -> Option<Self> {
        Self::new(random()?, Zeroizing::new(random()?), made)
    }

    fn new(name: [u8; NAME], secret: Zeroizing<[u8; SECRET]>, made: Seconds) -> Option<Self> {
        let cipher = Cipher::new(&secret)?;
        Some(Self { made, material: Arc::new(Material { name, secret, cipher }) })
    }

    fn decode(record: &[u8; RECORD]) -> Option<Self> {
        let (name, rest) = record.split_first_chunk()?;
        let (secret, made) = rest.split_first_chunk()?;
        Self::new(*name, Zeroizing::new(*secret), Seconds::from_be_bytes(made.try_into().ok()?))
    }

    fn not_after(&self, now: Seconds) -> Self {
        Self { made: self.made.min(now), material: Arc::clone(&self.material) }
    }

    fn seals(&self, now: Seconds) -> bool {
        now.saturating_sub(self.made) < ROTATION.as_secs()
    }

    fn opens(&self, now: Seconds) -> bool {
        now.saturating_sub(self.made) < LIFETIME.as_secs()
    }
}

fn bound_to(context: &[u8]) -> Vec<u8> {
    [&[FORMAT], context].concat()
}
