//! Ingest tokens: what `POST /v1/events` answers, and whoever wants to read their own writes hands back.
//!
//! ```text
//! seal of  version 1 │ part 4 │ offset 8
//! ```

use crate::intake::Ticket;
use crate::log::segment::LogId;
use crate::seal::Seal;

const VERSION: u8 = 1;

/// Seals the ingest tokens of one log.
pub struct IngestTokens(Seal);

impl IngestTokens {
    pub fn of(log: LogId) -> IngestTokens {
        IngestTokens(Seal::of("headwater ingest token v1", log))
    }

    /// The token of what lies at `ticket`.
    pub fn encode(&self, ticket: Ticket) -> String {
        let mut content = vec![VERSION];
        content.extend_from_slice(&ticket.part.to_le_bytes());
        content.extend_from_slice(&ticket.offset.to_le_bytes());
        self.0.seal(&content)
    }

    /// `None` if this is no token of this log.
    pub fn decode(&self, token: &str) -> Option<Ticket> {
        let [VERSION, content @ ..] = self.0.open::<13>(token)? else { return None };
        let (part, offset) = content.split_first_chunk::<4>()?;
        Some(Ticket { part: u32::from_le_bytes(*part), offset: u64::from_le_bytes(offset.try_into().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_of_this_log_are_believed() {
        let (ours, theirs) = (IngestTokens::of(LogId([1; 16])), IngestTokens::of(LogId([2; 16])));
        for ticket in [Ticket { part: 0, offset: 0 }, Ticket { part: 15, offset: u64::MAX }] {
            let token = ours.encode(ticket);
            assert_eq!(token.len(), 28);
            assert_eq!(ours.decode(&token), Some(ticket));
            assert_eq!(IngestTokens::of(LogId([1; 16])).decode(&token), Some(ticket), "after a restart too");
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
