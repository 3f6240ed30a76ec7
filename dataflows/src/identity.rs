//! The persisted identities: user key, event id, session id, shape id and signature. Everything later builds on these
//! values, so they are versioned ([`VERSION`]) and pinned by the test vectors below: a change here is a new version
//! and a replay.
//!
//! Identities that users could forge to their advantage ([`UserKey`], [`EventId`], [`SessionId`]) are the first 128
//! bits of BLAKE3; the others ([`ShapeId`], [`SignatureId`], [`payload_hash`]) are XXH3 (Y. Collet, xxHash 0.8).

use crate::time::EventTime;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU64;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};

/// Version of every identity in this module.
pub const VERSION: u8 = 1;

fn blake3_128(parts: &[&[u8]]) -> [u64; 2] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    first_128(&hasher.finalize())
}

fn first_128(hash: &blake3::Hash) -> [u64; 2] {
    let half = |from: usize| u64::from_be_bytes(std::array::from_fn(|byte| hash.as_bytes()[from + byte]));
    [half(0), half(8)]
}

/// XXH3-128 of `payload`: tells whether two payloads under one event id are byte for byte the same. Neither of them
/// counts twice, so a forged collision would gain nothing but that a conflict is reported as a duplicate.
pub fn payload_hash(payload: &[u8]) -> [u64; 2] {
    let hash = xxh3_128_with_seed(payload, u64::from(VERSION));
    [(hash >> 64) as u64, hash as u64]
}

/// A user: the first 128 bits of BLAKE3 over the canonical user string (UTF-8).
///
/// The top half is never zero (a zero is stored as one), so that `Option<UserKey>` takes 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UserKey(NonZeroU64, u64);

impl UserKey {
    /// Returns the key of a user name.
    pub fn of(user: &str) -> UserKey {
        // One call is faster than a hasher that takes several parts: it sets up no state.
        let [high, low] = first_128(&blake3::hash(user.as_bytes()));
        UserKey(NonZeroU64::new(high).unwrap_or(NonZeroU64::MIN), low)
    }

    /// Returns the worker, of `workers`, that owns this user. Keys are split by range, so the outputs of all workers in worker
    /// order are in key order, however many there are.
    #[inline]
    pub fn worker(self, workers: usize) -> u64 {
        ((u128::from(self.0.get()) * workers as u128) >> 64) as u64
    }

    /// Returns where in the range of its worker this user lies, as a fraction of 2^64: evenly distributed, and in
    /// the order of keys.
    #[inline]
    pub fn within(self, workers: usize) -> u64 {
        (u128::from(self.0.get()) * workers as u128) as u64
    }

    /// Returns the bytes that order as the key does.
    #[inline]
    pub fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0.get().to_be_bytes());
        bytes[8..].copy_from_slice(&self.1.to_be_bytes());
        bytes
    }
}

impl UserKey {
    /// Returns the key that has these [`UserKey::bytes`]; `None`: no key has them.
    pub fn from_bytes(bytes: [u8; 16]) -> Option<UserKey> {
        let both = u128::from_be_bytes(bytes);
        Some(UserKey(NonZeroU64::new((both >> 64) as u64)?, both as u64))
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
    /// Returns the identity of an event id, among those of its user or of events without one.
    pub fn of(user: Option<UserKey>, id: &str) -> EventId {
        match user {
            Some(user) => EventId(blake3_128(&[b"u", &user.bytes(), id.as_bytes()])),
            None => EventId(blake3_128(&[b"n", id.as_bytes()])),
        }
    }

    /// The number of shards that ids are kept in, however many workers there are.
    pub const SHARDS: usize = 256;

    /// Evenly distributed.
    #[inline]
    pub fn shard(self) -> u8 {
        (self.0[0] >> 56) as u8
    }

    /// Evenly distributed bits, those of the shard first.
    #[inline]
    pub fn bits(self) -> u64 {
        self.0[0]
    }

    /// Returns the bytes that order as the id does.
    #[inline]
    pub fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0[0].to_be_bytes());
        bytes[8..].copy_from_slice(&self.0[1].to_be_bytes());
        bytes
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
    /// Returns the id of the session of `user` that starts at `start`.
    pub fn of(user: UserKey, start: EventTime) -> SessionId {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&user.bytes());
        bytes[16..].copy_from_slice(&start.micros().to_be_bytes());
        // As of a user: one call is faster than a hasher.
        SessionId(first_128(&blake3::hash(&bytes)))
    }

    /// Evenly distributed bits.
    #[inline]
    pub fn bits(self) -> u64 {
        self.0[0]
    }

    /// Reads an id as it is written: 32 hexadecimal digits, lower case; `None`: it is written otherwise.
    pub fn parse(text: &str) -> Option<SessionId> {
        let written = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let half = |digits| u64::from_str_radix(digits, 16).ok();
        written.then(|| Some(SessionId([half(&text[..16])?, half(&text[16..])?])))?
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

/// Returns a hash of the value of a field by which sessions are split: XXH3-64 of its text.
pub fn value_hash(text: &str) -> u64 {
    xxh3_64_with_seed(text.as_bytes(), u64::from(VERSION))
}

/// Returns a hash of the values by which a count groups, as bytes: XXH3-64. It chooses which groups have rows of their own.
pub fn group_hash(values: &[u8]) -> u64 {
    xxh3_64_with_seed(values, u64::from(VERSION))
}

/// What a shape records of the value at a path. Numbers are one kind: `1` and `1.5` under one key are one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum ValueKind {
    /// `null`.
    Null = 0,
    /// `true` or `false`.
    Bool = 1,
    /// A number.
    Number = 2,
    /// A text.
    String = 3,
    /// `{}`.
    EmptyObject = 4,
    /// `[]`.
    EmptyArray = 5,
}

impl ValueKind {
    /// Every kind, in the order of its number.
    pub const ALL: [ValueKind; 6] = [
        ValueKind::Null,
        ValueKind::Bool,
        ValueKind::Number,
        ValueKind::String,
        ValueKind::EmptyObject,
        ValueKind::EmptyArray,
    ];
}

/// A canonical path, hashed step by step while descending. Dots in a key descend, so that `{"a.b":1}` and
/// `{"a":{"b":1}}` give the same path; any element of an array is one step, [`PathHash::element`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathHash(u64);

impl PathHash {
    /// The path of a whole event.
    pub const ROOT: PathHash = PathHash(0x6865_6164_7761_7465); // "headwate"

    /// Descends into `key`, which may contain dots.
    #[inline]
    pub fn key(self, key: &str) -> PathHash {
        let key = key.as_bytes();
        if !has_dot(key) {
            return self.segment(key);
        }
        key.split(|byte| *byte == b'.').fold(self, |path, segment| path.segment(segment))
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

    /// Returns the hash itself.
    #[inline]
    pub fn bits(self) -> u64 {
        self.0
    }
}

/// Whether a key is more than one segment. Keys are short: going through all of one without a branch is faster than
/// stopping at the first dot.
#[inline]
pub fn has_dot(key: &[u8]) -> bool {
    key.iter().fold(0, |dots, byte| dots | u8::from(*byte == b'.')) != 0
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

/// Shape, type and whatever else the rules may look at (docs/classification.md), as one number. Made from the bytes
/// that [`crate::rules::Descriptor`] describes.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(leaves: &[(PathHash, ValueKind)]) -> ShapeId {
        ShapeId::of(&mut leaves.iter().map(|(path, kind)| path.leaf(*kind)).collect())
    }

    /// Stored values depend on these. If one has to change, so does [`VERSION`].
    #[test]
    fn vectors_of_version_1() {
        assert_eq!(VERSION, 1);
        let (u42, umlaut) = (UserKey::of("u42"), UserKey::of("Zoë"));
        assert_eq!(format!("{:?}", UserKey::of("")), "af1349b9f5f9a1a6a0404dea36dcc949");
        assert_eq!(format!("{u42:?}"), "4547859fa34dfb5018add27c30ae8493");
        assert_eq!(format!("{umlaut:?}"), "1f34bf92aad459f548f27eaecafbebab");
        assert_eq!(format!("{:x?}", payload_hash(b"{}")), "[e4c01fbe21845c71, 37ef2ddb6c950ef3]");

        assert_eq!(format!("{:?}", EventId::of(Some(u42), "e-1")), "3670909a9cfaa4f5556e0b1c842aadcc");
        assert_eq!(format!("{:?}", EventId::of(None, "e-1")), "605a7535b6796d508fd2b25531afab3d");
        assert_eq!(
            SessionId::of(u42, EventTime::from_micros(1_457_741_907_959_400).unwrap()).to_string(),
            "7ea7539ed206a4844f5b2a863673620b"
        );
        assert_eq!(
            SessionId::of(u42, EventTime::from_micros(-1).unwrap()).to_string(),
            "309312e4f89b2bbc783acf662837f745"
        );

        assert_eq!(format!("{:016x}", PathHash::ROOT.bits()), "6865616477617465");
        let price = PathHash::ROOT.key("event_details.purchased_items").element().key("unit_price");
        assert_eq!(format!("{:016x}", price.bits()), "d20e9e3e7e2fe301");
        assert_eq!(format!("{:016x}", PathHash::ROOT.key("").bits()), "89ba370571e03501");
        assert_eq!(format!("{:016x}", price.leaf(ValueKind::Number)), "ec555fcdc1364a0e");

        let empty = shape(&[]);
        let kinds = ValueKind::ALL;
        let all_kinds = shape(&kinds.map(|kind| (PathHash::ROOT.key("k").segment(&[kind as u8]), kind)));
        assert_eq!(empty.to_string(), "e12ef9d2eb86ceeb");
        assert_eq!(
            shape(&[(price, ValueKind::Number), (PathHash::ROOT.key("user_id"), ValueKind::String)]).to_string(),
            "fcfb8efacbe53250"
        );
        assert_eq!(all_kinds.to_string(), "2036a4a2141a6016");

        assert_eq!(format!("{:016x}", value_hash("spring")), "706a4e036917f406");
        assert_eq!(SignatureId::of(empty, b"").to_string(), "780bac4e625a4788");
        assert_eq!(SignatureId::of(all_kinds, b"purchase").to_string(), "25b9744bb9ef9a98");
    }

    #[test]
    fn an_event_without_a_user_never_has_the_identity_of_one_with_a_user() {
        // A user whose key is text, so that an event id can be written that equals it.
        let users = (0..).map(|number: u64| UserKey::of(&number.to_string()));
        let user = users.into_iter().find(|user| user.bytes().is_ascii()).unwrap();
        let id = String::from_utf8(user.bytes().to_vec()).unwrap();
        assert_ne!(EventId::of(Some(user), ""), EventId::of(None, &id));
        assert_ne!(EventId::of(Some(user), "x"), EventId::of(None, "x"));
        assert_ne!(EventId::of(Some(user), "x"), EventId::of(Some(UserKey::of("v")), "x"));
    }

    #[test]
    fn every_kind_of_leaf_is_another_shape() {
        let path = PathHash::ROOT.key("a");
        let of = |kind| shape(&[(path, kind)]);
        assert_ne!(of(ValueKind::Null), of(ValueKind::Bool));
        assert_ne!(of(ValueKind::Number), of(ValueKind::String));
        assert_ne!(of(ValueKind::EmptyObject), of(ValueKind::EmptyArray));
        assert_ne!(of(ValueKind::Null), shape(&[]));
        assert_ne!(shape(&[(path, ValueKind::Null), (path, ValueKind::Bool)]), of(ValueKind::Null));
    }

    proptest! {
        #[test]
        fn dotted_and_nested_are_one_path(segments in prop::collection::vec("[a-c.\\[\\]é]{0,3}", 1..5)) {
            let nested = segments.iter().fold(PathHash::ROOT, |path, segment| path.key(segment));
            prop_assert_eq!(PathHash::ROOT.key(&segments.join(".")), nested);
        }

        #[test]
        fn different_keys_are_different_paths(one in "[a-c.]{0,4}", other in "[a-c.]{0,4}") {
            prop_assert_eq!(PathHash::ROOT.key(&one) == PathHash::ROOT.key(&other), one == other);
        }

        #[test]
        fn no_key_gives_the_path_of_an_element(above in "[a-c.]{0,4}", key in "\\PC{0,6}") {
            let above = PathHash::ROOT.key(&above);
            prop_assert_ne!(above.key(&key), above.element());
            prop_assert_ne!(above.key("[]"), above.element());
            prop_assert_ne!(above.element(), above);
            prop_assert_ne!(above.element().key(&key), above.key(&key).element());
        }

        #[test]
        fn a_shape_knows_neither_order_nor_repeats(keys in prop::collection::vec("[a-d]{1,2}", 0..8), turn in 0..8_usize) {
            let leaves: Vec<_> = keys.iter().map(|key| (PathHash::ROOT.key(key), ValueKind::String)).collect();
            let mut turned = leaves.clone();
            turned.reverse();
            turned.rotate_left(turn.min(leaves.len()));
            turned.extend_from_slice(&leaves[..turn.min(leaves.len())]);
            prop_assert_eq!(shape(&leaves), shape(&turned));
            let more = [&leaves[..], &[(PathHash::ROOT.key("e"), ValueKind::String)]].concat();
            prop_assert_ne!(shape(&leaves), shape(&more));
        }
    }
}
