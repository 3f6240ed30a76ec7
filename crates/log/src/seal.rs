//! Tokens that clients keep and hand back. They are opaque, and only valid if this log has made them.
//!
//! ```text
//! base64url of  content │ MAC 8
//! ```
//! The MAC is keyed by the log. So every process that has this log open recognises a token of another log, a damaged
//! one and an invented one.

use crate::segment::LogId;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

const MAC: usize = 8;

/// Seals the tokens of one kind, of one log.
pub struct Seal([u8; 32]);

impl Seal {
    /// `kind` says what its tokens are for, and which version of them.
    pub fn of(kind: &str, log: LogId) -> Seal {
        Seal(blake3::derive_key(kind, &log.0))
    }

    /// Returns the text of a token: its content, and what shows that this log made it.
    pub fn seal(&self, content: &[u8]) -> String {
        let mut bytes = content.to_vec();
        bytes.extend_from_slice(&self.mac(content));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Returns the content of a token; `None` if this is none of this kind and log.
    pub fn open<const N: usize>(&self, token: &str) -> Option<[u8; N]> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (content, mac) = bytes.split_first_chunk::<N>()?;
        bool::from(self.mac(content).as_slice().ct_eq(mac)).then_some(*content)
    }

    fn mac(&self, content: &[u8]) -> [u8; MAC] {
        let hash = blake3::keyed_hash(&self.0, content);
        *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
    }
}
