//! The id of an activity.

use crate::identity::UserKey;
use crate::step::StepEvent;
use std::fmt;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Version of the hash.
const VERSION: u64 = 1;

/// Identity of an activity: its key, and a hash of its sequence and its first event. Written as 48 hexadecimal digits. The
/// key comes first, so that an activity is found by its id as by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActivityId {
    /// The user, or the hash of another field.
    pub key: UserKey,
    /// Tells the activities of one key apart: see [`ActivityId::mark`].
    pub mark: u64,
}

impl ActivityId {
    /// Returns what tells an activity from the others of its key: XXH3-64 of the name of the sequence and of the first event.
    pub fn mark(sequence: &str, start: &StepEvent) -> u64 {
        let StepEvent { time, steps, breaks, content, by, .. } = start;
        let mut bytes = Vec::with_capacity(64);
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        };
        text(&mut bytes, sequence);
        bytes.extend_from_slice(&time.micros().to_be_bytes());
        bytes.extend_from_slice(&[*steps, *breaks]);
        bytes.extend_from_slice(&content.to_be_bytes());
        for value in by.iter().flat_map(|by| by.iter()) {
            bytes.push(u8::from(value.is_some()));
            text(&mut bytes, value.as_deref().unwrap_or_default());
        }
        xxh3_64_with_seed(&bytes, VERSION)
    }

    /// Reads an id as it is written: 48 hexadecimal digits, lower case; `None`: it is written otherwise.
    pub fn parse(text: &str) -> Option<ActivityId> {
        let written = text.len() == 48 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let (key, mark) = text.split_at_checked(32).filter(|_| written)?;
        let key = UserKey::from_bytes(u128::from_str_radix(key, 16).ok()?.to_be_bytes())?;
        Some(ActivityId { key, mark: u64::from_str_radix(mark, 16).ok()? })
    }
}

impl fmt::Display for ActivityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}{:016x}", u128::from_be_bytes(self.key.bytes()), self.mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::EventTime;
    use std::sync::Arc;

    fn start(micros: i64, content: u32, by: Option<&str>) -> StepEvent {
        let by = Some(Arc::new(vec![by.map(Arc::from)]));
        StepEvent::new(EventTime::from_micros(micros).unwrap(), 1, 0, content, by)
    }

    /// Clients keep ids: if one has to change, so does [`VERSION`].
    #[test]
    fn vectors_of_version_1() {
        let mark = ActivityId::mark("checkout", &start(1_000_000, 7, Some("DE")));
        let id = ActivityId { key: UserKey::of("u42"), mark };
        assert_eq!(id.to_string(), "4547859fa34dfb5018add27c30ae84935f074fd2577567f7");
    }

    #[test]
    fn an_id_is_read_as_it_is_written_and_tells_activities_apart() {
        let one = start(1, 7, None);
        let others = [start(2, 7, None), start(1, 8, None), start(1, 7, Some("")), start(1, 7, Some("x"))];
        let mark = ActivityId::mark("a", &one);
        assert!(others.iter().all(|other| ActivityId::mark("a", other) != mark));
        assert_ne!(ActivityId::mark("b", &one), mark);
        let id = ActivityId { key: UserKey::of("u"), mark };
        assert_eq!(ActivityId::parse(&id.to_string()), Some(id));
        let text = id.to_string();
        for wrong in ["", &text[1..], &text.to_uppercase(), &format!("{text}0"), &"0".repeat(48), &"ü".repeat(24)] {
            assert_eq!(ActivityId::parse(wrong), None, "{wrong}");
        }
    }
}
