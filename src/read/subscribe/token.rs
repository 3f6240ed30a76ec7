//! Resume tokens: the tick up to which a subscriber has everything, the program, the history, and the query.
//!
//! ```text
//! seal of  version 2 │ upper 8 │ program 8 │ query 8 │ start 8
//! seal of  version 1 │ upper 8 │ program 8 │ query 8                 releases up to 0.1.0
//! ```
//! Tokens of version 1 hold for the ticks that those releases computed in this folder.

use super::query::Query;
use dataflows::Tick;
use headwater_log::histories::{Histories, Place, StartId};
use headwater_log::seal::Seal;
use headwater_log::segment::LogId;
use std::sync::Arc;

const VERSION: u8 = 2;
const CONTENT: usize = 33;
const FORMER_VERSION: u8 = 1;
const FORMER_CONTENT: usize = 25;

/// The resume tokens of one log, one program and one history.
pub struct ResumeTokens {
    seal: Seal,
    program: [u8; 8],
    /// As version 1 has it, if the program is still the same.
    former_program: Option<[u8; 8]>,
    pub histories: Arc<Histories>,
}

/// Why nothing can be resumed from a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistaken {
    /// It is no token of this log.
    Invalid,
    /// Its ticks were computed by another program.
    Program,
    /// It is of another collection, filter, envelope or other columns.
    Query,
    /// Its ticks happened in another copy of this folder, and not here.
    History,
}

impl ResumeTokens {
    pub fn new(
        log: LogId,
        program: [u8; 32],
        former_program: Option<[u8; 32]>,
        histories: Arc<Histories>,
    ) -> ResumeTokens {
        let short = |[a, b, c, d, e, f, g, h, ..]: [u8; 32]| [a, b, c, d, e, f, g, h];
        let seal = Seal::of("headwater resume token v1", log);
        ResumeTokens { seal, program: short(program), former_program: former_program.map(short), histories }
    }

    /// Makes the tokens of a log that has had one start.
    pub fn of(log: LogId, program: [u8; 32]) -> ResumeTokens {
        let histories = Histories::first(log, StartId([1; 8]), 1, Place::default());
        ResumeTokens::new(log, program, None, Arc::new(histories))
    }

    /// Returns the fingerprint of the program as text.
    pub fn program(&self) -> String {
        format!("{:016x}", u64::from_be_bytes(self.program))
    }

    /// Returns the token of a subscriber that has everything below `upper`.
    pub fn encode(&self, upper: Tick, query: &Query) -> String {
        let mut content = [0; CONTENT];
        content[0] = VERSION;
        content[1..9].copy_from_slice(&upper.to_le_bytes());
        content[9..17].copy_from_slice(&self.program);
        content[17..25].copy_from_slice(&query.fingerprint);
        content[25..].copy_from_slice(&self.histories.current().0);
        self.seal.seal(&content)
    }

    /// Returns the tick to go on with.
    ///
    /// # Errors
    /// If it was not given for this query, or not in this history.
    pub fn decode(&self, token: &str, query: &Query) -> Result<Tick, Mistaken> {
        let (content, start, ours, fingerprint) = match self.seal.open::<CONTENT>(token) {
            Some([VERSION, content @ ..]) => {
                let (content, start) = content.split_first_chunk::<24>().ok_or(Mistaken::Invalid)?;
                let start = start.try_into().map_err(|_| Mistaken::Invalid)?;
                (*content, StartId(start), Some(self.program), query.fingerprint)
            }
            Some(_) => return Err(Mistaken::Invalid),
            None => match self.seal.open::<FORMER_CONTENT>(token) {
                Some([FORMER_VERSION, content @ ..]) => {
                    (content, StartId::default(), self.former_program, query.former)
                }
                _ => return Err(Mistaken::Invalid),
            },
        };
        let (upper, rest) = content.split_first_chunk::<8>().ok_or(Mistaken::Invalid)?;
        let (program, of) = rest.split_at(8);
        let upper = Tick::from_le_bytes(*upper);
        if !self.histories.has_ticks(start, upper) {
            return Err(Mistaken::History);
        }
        if ours.is_none_or(|ours| program != ours) {
            return Err(Mistaken::Program);
        }
        if of != fingerprint {
            return Err(Mistaken::Query);
        }
        Ok(upper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::sessions::SessionSchema;
    use crate::collections::{Collection, Schemas};
    use crate::read::subscribe::query::Parameters;

    #[test]
    fn a_token_is_good_for_what_it_was_given_for() {
        let schemas = Schemas::new(&SessionSchema::default(), false, &[]);
        let query = |filter: &str| {
            let parameters = Parameters { filter: Some(filter.into()), ..Parameters::default() };
            Query::new(schemas.of(Collection::SESSIONS), &parameters).unwrap()
        };
        let (one, other) = (query("events > 1"), query("events > 2"));
        let ours = ResumeTokens::of(LogId([1; 16]), [1; 32]);
        let token = ours.encode(u64::MAX - 1, &one);
        assert_eq!(ours.decode(&token, &one), Ok(u64::MAX - 1));
        assert_eq!(ours.decode(&token, &other), Err(Mistaken::Query));
        assert_eq!(ResumeTokens::of(LogId([1; 16]), [2; 32]).decode(&token, &one), Err(Mistaken::Program));
        assert_eq!(ResumeTokens::of(LogId([2; 16]), [1; 32]).decode(&token, &one), Err(Mistaken::Invalid));
        let at = |tick| Place { tick, queue: Vec::new() };
        let histories = Histories::first(LogId([1; 16]), StartId([3; 8]), 2, at(9));
        let other = ResumeTokens::new(LogId([1; 16]), [1; 32], Some([2; 32]), Arc::new(histories));
        assert_eq!(other.decode(&token, &one), Err(Mistaken::History));
        // A token of a release that knew of no starts.
        for (upper, program, query, outcome) in [
            (9_u64, 2, one.former, Ok(9)),
            (10, 2, one.former, Err(Mistaken::History)),
            (9, 1, one.former, Err(Mistaken::Program)),
            (9, 2, one.fingerprint, Err(Mistaken::Query)),
        ] {
            let content = [&[1][..], &upper.to_le_bytes(), &[program; 8], &query].concat();
            assert_eq!(other.decode(&other.seal.seal(&content), &one), outcome, "{upper} {program}");
        }
        for wrong in ["", "ü", "AAAA", &token[1..], &token.to_lowercase()] {
            assert_eq!(ours.decode(wrong, &one), Err(Mistaken::Invalid), "{wrong}");
        }
    }
}
