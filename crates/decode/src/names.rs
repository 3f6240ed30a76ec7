//! User strings -> keys, and which strings the graph already has.

use crate::lately::Lately;
use dataflows::UserKey;
use dataflows::engine::Input;
use smallvec::SmallVec;
use std::sync::Arc;

/// Distinct strings that a reader remembers having sent. What is forgotten is sent again when it comes again.
const REMEMBERED: usize = 1 << 18;

/// The text of a user, in place if it is no longer than a UUID: looking up one of many users costs cache misses above
/// all, and a text elsewhere would be another one.
type Name = SmallVec<[u8; 40]>;

/// One reader's table of users, and those of the records at hand that are still to be looked up.
pub struct Names {
    known: Lately<Name, UserKey>,
    /// Users to be looked up, one after the other.
    texts: String,
    waiting: Vec<Waiting>,
}

/// A record whose user has not been looked up yet.
#[derive(Clone, Copy)]
struct Waiting {
    record: usize,
    /// Of its text in [`Names::texts`]; it begins where the one before ends.
    end: usize,
}

impl Default for Names {
    fn default() -> Names {
        Names { known: Lately::new(REMEMBERED), texts: String::new(), waiting: Vec::new() }
    }
}

impl Names {
    /// Returns the key of a user, whose string goes into the input if it is not known to have been sent.
    #[inline]
    pub fn key(&mut self, user: &str, input: &mut Input) -> UserKey {
        self.known.get(user.as_bytes()).unwrap_or_else(|| {
            let key = UserKey::of(user);
            self.known.insert(Name::from_slice(user.as_bytes()), key);
            input.names.push((key, Arc::from(user)));
            key
        })
    }

    /// The record of this index in the input belongs to `user`, whose key [`Names::resolve`] will set.
    ///
    /// Looking up waits for memory. Many look-ups in a row wait together, as the processor begins the next ones
    /// meanwhile; among the decoding of records each would wait alone.
    #[inline]
    pub fn later(&mut self, user: &str, record: usize) {
        self.texts.push_str(user);
        self.waiting.push(Waiting { record, end: self.texts.len() });
    }

    /// Sets the users of the records that were named since the last call; they have to be in `input` still.
    pub fn resolve(&mut self, input: &mut Input) {
        let (texts, waiting) = (std::mem::take(&mut self.texts), std::mem::take(&mut self.waiting));
        let mut start = 0;
        for Waiting { record, end } in &waiting {
            input.records[*record].event.user = Some(self.key(&texts[start..*end], input));
            start = *end;
        }
        (self.texts, self.waiting) = (texts, waiting);
        self.texts.clear();
        self.waiting.clear();
    }
}
