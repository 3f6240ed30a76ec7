//! Resume tokens: up to where a subscriber has everything, of which program, and what it had asked for.
//!
//! ```text
//! seal of  version 1 │ upper 8 │ program 8 │ query 8
//! ```

use super::query::Query;
use crate::log::segment::LogId;
use crate::seal::Seal;
use dataflows::Tick;

const VERSION: u8 = 1;
const CONTENT: usize = 25;

/// The resume tokens of one log and one program.
pub struct ResumeTokens {
    seal: Seal,
    program: [u8; 8],
}

/// Why nothing can be resumed from a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistaken {
    /// It is no token of this log.
    Invalid,
    /// What it speaks of was computed by another program.
    Program,
    /// It is of another collection, filter, envelope or other columns.
    Query,
}

impl ResumeTokens {
    pub fn of(log: LogId, program: [u8; 32]) -> ResumeTokens {
        let [a, b, c, d, e, f, g, h, ..] = program;
        ResumeTokens { seal: Seal::of("headwater resume token v1", log), program: [a, b, c, d, e, f, g, h] }
    }

    /// As it is shown.
    pub fn program(&self) -> String {
        format!("{:016x}", u64::from_be_bytes(self.program))
    }

    /// Of a subscriber that has everything below `upper`.
    pub fn encode(&self, upper: Tick, query: &Query) -> String {
        let mut content = [0; CONTENT];
        content[0] = VERSION;
        content[1..9].copy_from_slice(&upper.to_le_bytes());
        content[9..17].copy_from_slice(&self.program);
        content[17..].copy_from_slice(&query.fingerprint);
        self.seal.seal(&content)
    }

    /// The tick to go on with.
    ///
    /// # Errors
    /// If it was not given for this query.
    pub fn decode(&self, token: &str, query: &Query) -> Result<Tick, Mistaken> {
        let content: [u8; CONTENT] = self.seal.open(token).ok_or(Mistaken::Invalid)?;
        let [VERSION, content @ ..] = content else { return Err(Mistaken::Invalid) };
        let (upper, rest) = content.split_first_chunk::<8>().ok_or(Mistaken::Invalid)?;
        let (program, fingerprint) = rest.split_at(8);
        if program != self.program {
            return Err(Mistaken::Program);
        }
        if fingerprint != query.fingerprint {
            return Err(Mistaken::Query);
        }
        Ok(Tick::from_le_bytes(*upper))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Collection, Schemas};
    use crate::sink::SessionSchema;
    use crate::subscribe::query::Parameters;

    #[test]
    fn a_token_is_good_for_what_it_was_given_for() {
        let schemas = Schemas::new(&SessionSchema::default());
        let query = |filter: &str| {
            let parameters = Parameters { filter: Some(filter.into()), ..Parameters::default() };
            Query::new(schemas.of(Collection::Sessions), &parameters).unwrap()
        };
        let (one, other) = (query("events > 1"), query("events > 2"));
        let ours = ResumeTokens::of(LogId([1; 16]), [1; 32]);
        let token = ours.encode(u64::MAX - 1, &one);
        assert_eq!(ours.decode(&token, &one), Ok(u64::MAX - 1));
        assert_eq!(ours.decode(&token, &other), Err(Mistaken::Query));
        assert_eq!(ResumeTokens::of(LogId([1; 16]), [2; 32]).decode(&token, &one), Err(Mistaken::Program));
        assert_eq!(ResumeTokens::of(LogId([2; 16]), [1; 32]).decode(&token, &one), Err(Mistaken::Invalid));
        for wrong in ["", "ü", "AAAA", &token[1..], &token.to_lowercase()] {
            assert_eq!(ours.decode(wrong, &one), Err(Mistaken::Invalid), "{wrong}");
        }
    }
}
