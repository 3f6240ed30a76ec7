//! The persisted identities: user key, event id, session id, shape id and signature. Everything later builds on these
//! values, so they are versioned ([`VERSION`]) and pinned by the test vectors below: a change here is a new version
//! and a replay.
//!
//! Identities that users could forge to their advantage ([`UserKey`], [`EventId`], [`SessionId`]) are the first 128
//! bits of BLAKE3; the others ([`ShapeId`], [`SignatureId`]) are XXH3-64 (Y. Collet, xxHash 0.8).

use crate::time::EventTime;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU64;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Version of every identity in this module.
pub const VERSION: u8 = 1;

fn blake3_128(parts: &[&[u8]]) -> [u64; 2] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let hash = hasher.finalize();
    let (high, low) = hash.as_bytes()[..16].split_at(8);
    // Both halves of 16 bytes are 8 bytes long.
    [u64::from_be_bytes(high.try_into().unwrap()), u64::from_be_bytes(low.try_into().unwrap())]
}

/// First 128 bits of BLAKE3 over `payload`: equal exactly when two payloads are byte for byte the same.
pub fn payload_hash(payload: &[u8]) -> [u64; 2] {
    blake3_128(&[payload])
}

/// A user: the first 128 bits of BLAKE3 over the canonical user string (UTF-8).
///
/// The top half is never zero (a zero is stored as one), so that `Option<UserKey>` takes 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UserKey(NonZeroU64, u64);

impl UserKey {
    pub fn of(user: &str) -> UserKey {
        let [high, low] = blake3_128(&[user.as_bytes()]);
        UserKey(NonZeroU64::new(high).unwrap_or(NonZeroU64::MIN), low)
    }

    /// The worker, of `workers`, that owns this user. Keys are split by range, so the outputs of all workers in worker
    /// order are in key order, however many there are.
    #[inline]
    pub fn worker(self, workers: usize) -> u64 {
        ((u128::from(self.0.get()) * workers as u128) >> 64) as u64
    }

    #[inline]
    pub fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0.get().to_be_bytes());
        bytes[8..].copy_from_slice(&self.1.to_be_bytes());
        bytes
    }
}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0, self.1)
    }
}

/// Identity of an event for de-duplication: (user, event id), or the event id alone for events without a user.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId([u64; 2]);

impl EventId {
    pub fn of(user: Option<UserKey>, id: &str) -> EventId {
        match user {
            Some(user) => EventId(blake3_128(&[b"u", &user.bytes(), id.as_bytes()])),
            None => EventId(blake3_128(&[b"n", id.as_bytes()])),
        }
    }

    /// Evenly distributed bits, to route and to hash by.
    #[inline]
    pub fn bits(self) -> u64 {
        self.0[0]
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0[0], self.0[1])
    }
}

/// Identity of a session: H(user key, start in microseconds). Written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId([u64; 2]);

impl SessionId {
    pub fn of(user: UserKey, start: EventTime) -> SessionId {
        SessionId(blake3_128(&[&user.bytes(), &start.micros().to_be_bytes()]))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0[0], self.0[1])
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a type stands among the types, when there are too many of them: XXH3-64 of its text, so the order is the same
/// whatever came first.
pub fn kind_rank(kind: &str) -> u64 {
    xxh3_64_with_seed(kind.as_bytes(), u64::from(VERSION))
}

/// What a shape records of the value at a path. Numbers are one kind: `1` and `1.5` under one key are one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum ValueKind {
    Null = 0,
    Bool = 1,
    Number = 2,
    String = 3,
    EmptyObject = 4,
    EmptyArray = 5,
}

/// A canonical path, hashed step by step while descending. Dots in a key descend, so that `{"a.b":1}` and
/// `{"a":{"b":1}}` give the same path; any element of an array is one step, [`PathHash::element`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathHash(u64);

impl PathHash {
    pub const ROOT: PathHash = PathHash(0x6865_6164_7761_7465); // "headwate"

    /// Descends into `key`, which may contain dots.
    #[inline]
    pub fn key(self, key: &str) -> PathHash {
        key.as_bytes().split(|byte| *byte == b'.').fold(self, |path, segment| path.segment(segment))
    }

    /// Descends by one segment, in which a dot is an ordinary byte.
    #[inline]
    pub fn segment(self, segment: &[u8]) -> PathHash {
        PathHash(xxh3_64_with_seed(segment, self.0))
    }

    /// Descends into any element of an array. No key can give the same path: the step is a permutation, not a hash.
    #[inline]
    pub fn element(self) -> PathHash {
        PathHash(self.0.rotate_left(23) ^ 0x5b5d_5b5d_5b5d_5b5d)
    }

    /// The leaf that a shape is made of: this path and what is there.
    #[inline]
    pub fn leaf(self, kind: ValueKind) -> u64 {
        (self.0 ^ (kind as u64 + 1)).wrapping_mul(0x9e37_79b1_85eb_ca87)
    }

    #[inline]
    pub fn bits(self) -> u64 {
        self.0
    }
}

/// The structure of a payload: a pure function of its set of canonical paths and kinds, whatever their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShapeId(pub u64);

impl ShapeId {
    /// Of the leaves ([`PathHash::leaf`]) in any order, with repeats. Sorts and shortens `leaves`.
    pub fn of(leaves: &mut Vec<u64>) -> ShapeId {
        leaves.sort_unstable();
        leaves.dedup();
        let mut bytes = Vec::with_capacity(1 + leaves.len() * 8);
        bytes.push(VERSION);
        leaves.iter().for_each(|leaf| bytes.extend_from_slice(&leaf.to_le_bytes()));
        ShapeId(xxh3_64(&bytes))
    }
}

impl fmt::Display for ShapeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ShapeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Shape, type and whatever else the rules may look at (design §5), as one number. Made from the bytes that
/// [`crate::rules::Descriptor`] describes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SignatureId(pub u64);

impl SignatureId {
    /// `observations` is a self-delimiting encoding of everything but the shape.
    #[inline]
    pub fn of(shape: ShapeId, observations: &[u8]) -> SignatureId {
        SignatureId(xxh3_64_with_seed(observations, shape.0 ^ u64::from(VERSION)))
    }
}

impl fmt::Display for SignatureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SignatureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
