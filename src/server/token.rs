//! Ingest tokens: what `POST /v1/events` answers, and whoever wants to read their own writes hands back. Opaque to
//! clients.
//!
//! ```text
//! base64url of  version 1 │ part 4 │ offset 8 │ MAC 8
//! ```
//! The MAC is keyed by the log, so a token of another log, a mangled or an invented one is told apart, by every process
//! that has this log open.

use crate::intake::Ticket;
use crate::log::segment::LogId;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

const VERSION: u8 = 1;
const CONTENT: usize = 13;
const MAC: usize = 8;

/// Seals the tokens of one log.
pub struct Seal([u8; 32]);

impl Seal {
    pub fn of(log: LogId) -> Seal {
        Seal(blake3::derive_key("headwater ingest token v1", &log.0))
    }

    /// The token of what lies at `ticket`.
    pub fn encode(&self, ticket: Ticket) -> String {
        let mut bytes = Vec::with_capacity(CONTENT + MAC);
        bytes.push(VERSION);
        bytes.extend_from_slice(&ticket.part.to_le_bytes());
        bytes.extend_from_slice(&ticket.offset.to_le_bytes());
        let mac = self.mac(&bytes);
        bytes.extend_from_slice(&mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// `None` if this is no token of this log.
    pub fn decode(&self, token: &str) -> Option<Ticket> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (content, mac) = bytes.split_first_chunk::<CONTENT>()?;
        if content[0] != VERSION || !bool::from(self.mac(content).as_slice().ct_eq(mac)) {
            return None;
        }
        let (part, offset) = content[1..].split_first_chunk::<4>()?;
        Some(Ticket { part: u32::from_le_bytes(*part), offset: u64::from_le_bytes(offset.try_into().ok()?) })
    }

    fn mac(&self, content: &[u8]) -> [u8; MAC] {
        let hash = blake3::keyed_hash(&self.0, content);
        *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_of_this_log_are_believed() {
        let (ours, theirs) = (Seal::of(LogId([1; 16])), Seal::of(LogId([2; 16])));
        for ticket in [Ticket { part: 0, offset: 0 }, Ticket { part: 15, offset: u64::MAX }] {
            let token = ours.encode(ticket);
            assert_eq!(token.len(), 28);
            assert_eq!(ours.decode(&token), Some(ticket));
            assert_eq!(Seal::of(LogId([1; 16])).decode(&token), Some(ticket), "after a restart too");
            assert_eq!(theirs.decode(&token), None);
            for at in 0..token.len() {
                let mut forged = token.clone().into_bytes();
                forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
                assert_eq!(ours.decode(&String::from_utf8(forged).unwrap()), None, "{token} at {at}");
                assert_eq!(ours.decode(&token[..at]), None);
            }
        }
        assert_eq!(ours.decode("ü"), None);
    }
}
