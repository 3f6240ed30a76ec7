//! Ingest tokens: `POST /v1/events` answers with one, and a client that reads its own writes hands it back.
//!
//! ```text
//! seal of  version 2 │ start 8 │ part 4 │ offset 8
//! seal of  version 1 │ part 4 │ offset 8                 releases up to 0.1.0
//! ```
//! Tokens of version 1 hold for the events that those releases took into this folder.

use crate::queue::intake::Ticket;
use headwater_log::histories::{Histories, StartId};
use headwater_log::seal::Seal;
use headwater_log::segment::LogId;
use std::sync::Arc;

const VERSION: u8 = 2;
const FORMER_VERSION: u8 = 1;

/// Seals the ingest tokens of one log and one history.
pub struct IngestTokens {
    seal: Seal,
    histories: Arc<Histories>,
}

/// Why a token says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistaken {
    /// It is no token of this log.
    Invalid,
    /// Its events were taken into another copy of this folder, and are not here.
    History,
}

impl IngestTokens {
    pub fn new(log: LogId, histories: Arc<Histories>) -> IngestTokens {
        IngestTokens { seal: Seal::of("headwater ingest token v1", log), histories }
    }

    /// Returns the token of what lies at `ticket`.
    pub fn encode(&self, ticket: Ticket) -> String {
        let mut content = vec![VERSION];
        content.extend_from_slice(&self.histories.current().0);
        content.extend_from_slice(&ticket.part.to_le_bytes());
        content.extend_from_slice(&ticket.offset.to_le_bytes());
        self.seal.seal(&content)
    }

    /// Returns the place of a delivery.
    ///
    /// # Errors
    /// If this log has not given the token, or not in this history.
    pub fn decode(&self, token: &str) -> Result<Ticket, Mistaken> {
        let (start, content) = match self.seal.open::<21>(token) {
            Some([VERSION, a, b, c, d, e, f, g, h, content @ ..]) => (StartId([a, b, c, d, e, f, g, h]), content),
            Some(_) => return Err(Mistaken::Invalid),
            None => match self.seal.open::<13>(token) {
                Some([FORMER_VERSION, content @ ..]) => (StartId::default(), content),
                _ => return Err(Mistaken::Invalid),
            },
        };
        let [a, b, c, d, offset @ ..] = content;
        let (part, offset) = (u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(offset));
        match self.histories.has_record(start, part, offset) {
            true => Ok(Ticket { part, offset }),
            false => Err(Mistaken::History),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headwater_log::histories::Place;

    fn tokens(log: u8, start: u8) -> IngestTokens {
        let at = Place { tick: 3, queue: vec![5; 16] };
        IngestTokens::new(LogId([log; 16]), Arc::new(Histories::first(LogId([log; 16]), StartId([start; 8]), 1, at)))
    }

    #[test]
    fn only_tokens_of_this_log_and_history_are_believed() {
        let (ours, theirs, copy) = (tokens(1, 1), tokens(2, 1), tokens(1, 2));
        for ticket in [Ticket { part: 0, offset: 0 }, Ticket { part: 15, offset: u64::MAX }] {
            let token = ours.encode(ticket);
            assert_eq!(token.len(), 39);
            assert_eq!(ours.decode(&token), Ok(ticket));
            assert_eq!(tokens(1, 1).decode(&token), Ok(ticket), "after a restart too");
            assert_eq!(theirs.decode(&token), Err(Mistaken::Invalid));
            assert_eq!(copy.decode(&token), Err(Mistaken::History));
            for at in 0..token.len() {
                let mut forged = token.clone().into_bytes();
                forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
                assert_eq!(ours.decode(&String::from_utf8(forged).unwrap()).ok(), None, "{token} at {at}");
                assert_eq!(ours.decode(&token[..at]).ok(), None);
            }
        }
        assert_eq!(ours.decode("ü"), Err(Mistaken::Invalid));
        // Of a release that knew of no starts.
        for (offset, outcome) in [(4_u64, Ok(Ticket { part: 2, offset: 4 })), (5, Err(Mistaken::History))] {
            let content = [&[1, 2, 0, 0, 0][..], &offset.to_le_bytes()].concat();
            assert_eq!(ours.decode(&ours.seal.seal(&content)), outcome);
        }
    }
}
