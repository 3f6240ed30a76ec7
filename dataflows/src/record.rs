//! A decoded record, reduced to small fixed-size identities so that it can cross between workers cheaply. The strings
//! behind the identities (user names, class names) travel once, beside the records.

use crate::decimal::Decimal;
use crate::group::Added;
use crate::identity::{EventId, SignatureId, UserKey};
use crate::link::Links;
use crate::step::Step;
use crate::time::EventTime;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Where a record lies. Ordered as the log is: that order decides which of two conflicting duplicates came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Index of the source in the plan.
    pub source: u16,
    /// Partition of the source; of files: the index of the file.
    pub part: u32,
    /// Offset within the part; of files: of the record's first byte in the decompressed content.
    pub offset: u64,
}

impl Position {
    /// Returns the position that lies `bytes` behind this one.
    pub fn behind(self, bytes: usize) -> Position {
        Position { offset: self.offset + bytes as u64, ..self }
    }
}

/// What decoding makes of one payload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Record {
    /// What happened.
    pub event: Event,
    /// Present where duplicates of this record are to be recognised.
    pub identity: Option<Box<Identity>>,
}

/// Something that happened, counted once. Without a user or a time it has a class, but belongs to no session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Event {
    /// Who did it; `None`: it says no user.
    pub user: Option<UserKey>,
    /// When it happened, or why that is not known.
    pub time: Result<EventTime, NoTime>,
    /// What the rules may look at.
    pub signature: SignatureId,
    /// Present where sessions sum or carry fields.
    pub details: Option<Box<Details>>,
    /// What it is of sequences, if it is a step of one or an exception.
    pub steps: Option<Box<Steps>>,
    /// What it contributes to states, if it does.
    pub contributions: Option<Box<Contributions>>,
    /// The actions that it may be a cause of, if there are any.
    pub calls: Option<Box<Calls>>,
    /// What it adds to counts, if it does.
    pub counted: Option<Box<Counted>>,
    /// The aliases of one person that it names together, if it does.
    pub links: Option<Box<Links>>,
}

/// What one event is of sequences: as a rule, of one.
pub type Steps = SmallVec<[Step; 1]>;

/// What one event adds to counts: as a rule, to a group of one.
pub type Counted = SmallVec<[Added; 1]>;

/// What one event contributes to entities: as a rule, to one.
pub type Contributions = SmallVec<[Contribution; 1]>;

impl Event {
    /// Returns when it happened, also if its class is kept out of sessions.
    #[inline]
    pub fn at(&self) -> Option<EventTime> {
        match self.time {
            Ok(time) | Err(NoTime::Apart(time)) => Some(time),
            Err(NoTime::Absent | NoTime::Unreadable) => None,
        }
    }
}

/// The actions that one event calls: as a rule, one.
pub type Calls = SmallVec<[Call; 1]>;

/// An event that fits an action: its decision is made when its tick is complete.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Call {
    /// Index of the action among those of the configuration.
    pub action: u16,
    /// Whose state the action looks up; `None`: that of the user of the event. See also [`Call::no_entity`].
    pub entity: Option<UserKey>,
    /// The event.
    pub cause: Arc<Cause>,
}

impl Call {
    /// Returns the entity of calls that have none: no text that counts as a value is empty.
    pub fn no_entity() -> UserKey {
        UserKey::of("")
    }
}

/// An event, as the decision of an action shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cause {
    /// Where its record lies.
    pub position: Position,
    /// What recognises its duplicates, if they are recognised.
    pub id: Option<EventId>,
    /// When its record was received.
    pub received: Option<EventTime>,
    /// When it happened, if that is known.
    pub time: Option<EventTime>,
    /// Whose it is.
    pub user: Option<Arc<str>>,
    /// The class that rules and types alone give.
    pub class: Arc<str>,
    /// Its type.
    pub kind: Option<Arc<str>>,
    /// The first value of each field that decisions show, in the order of the configuration.
    pub values: Box<[Option<Arc<str>>]>,
}

/// What one event contributes to one entity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Contribution {
    /// Index of the state among those of the configuration.
    pub state: u16,
    /// `None`: the user of the event.
    pub entity: Option<UserKey>,
    /// Its item.
    pub item: Item,
}

/// The part of an event that an entity is made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Item {
    /// When the event happened.
    pub time: EventTime,
    /// Its order among the events of that time.
    pub rank: Rank,
    /// Values for aggregates, by index. One may have several.
    pub given: Box<[(u8, Given)]>,
}

/// What an event gives to an aggregate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Given {
    /// That it is one.
    Event,
    /// A number.
    Number(Decimal),
    /// A value that is no number, where one is asked for.
    NotNumber,
    /// A text.
    Text(Arc<str>),
}

/// A signature and the start of an hour; `None` for events without a time.
pub type SignatureHour = (SignatureId, Option<EventTime>);

/// What events are counted by, before classes are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CountedBy {
    /// The signature of every event, and its hour.
    Signature(SignatureHour),
    /// The reason why an event belongs to no session.
    Reason(Sessionless),
    /// Events that were there before a tick, and have another class since.
    Moved,
}

/// Why an event has no time that makes it part of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NoTime {
    /// There is no value at any of the paths.
    Absent,
    /// There is one, but it is no time.
    Unreadable,
    /// It is this one, and its class is kept out of sessions.
    Apart(EventTime),
}

/// Why an event belongs to no session. [`Sessionless::code`] is part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Sessionless {
    /// It has no user (whether it has a time or not).
    NoUser,
    /// It has a user, but no time.
    NoTime,
    /// It has a user, and a value where the time should be that is no time.
    UnreadableTime,
    /// It has a user and a time, and a rule keeps its class out of sessions.
    Apart,
    /// It has a user and a time, its class only extends sessions, and there is none to extend.
    KeepAlive,
}

impl Sessionless {
    /// Every reason, in the order of declaration.
    pub const ALL: [Sessionless; 5] = [
        Sessionless::NoUser,
        Sessionless::NoTime,
        Sessionless::UnreadableTime,
        Sessionless::Apart,
        Sessionless::KeepAlive,
    ];

    /// Returns the stable name of this reason in outputs.
    pub fn code(self) -> &'static str {
        match self {
            Sessionless::NoUser => "no_user",
            Sessionless::NoTime => "no_time",
            Sessionless::UnreadableTime => "unreadable_time",
            Sessionless::Apart => "class_apart",
            Sessionless::KeepAlive => "keepalive",
        }
    }
}

/// The identity by which two records are the same event (docs/identity.md).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// Equal ids are the same event.
    pub id: EventId,
    /// See [`crate::identity::payload_hash`].
    pub payload: [u64; 2],
    /// Where the record lies.
    pub position: Position,
    /// Records further apart in event time than this many microseconds are not duplicates.
    pub horizon: i64,
}

/// Per-event values of the fields that sessions sum and carry, in the order of the configuration. Two of each lie in
/// place: an event has one allocation for all, as a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Details {
    /// Values of the fields that sessions sum.
    pub sums: SmallVec<[Measure; 2]>,
    /// Values of the fields that sessions carry; `None`: the event has none.
    pub carried: SmallVec<[Option<Arc<str>>; 2]>,
    /// What session policies look at.
    pub cue: Cue,
    /// The order among the user's events of the same time.
    pub rank: Rank,
}

/// The order among a user's events of the same time, before their content decides. The default says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rank {
    /// Of the value at the `order` path; 0: there is no such path.
    order: u64,
    /// Where ties follow the log: the place of the event in its file.
    place: u64,
}

impl Rank {
    /// Returns what tells step events of one time and of the same steps apart: what the rules may look at, and the rank.
    pub fn content(self, signature: SignatureId) -> u32 {
        let bytes = (u128::from(self.order) << 64 | u128::from(self.place)).to_be_bytes();
        xxh3_64_with_seed(&bytes, signature.0) as u32
    }

    /// `order` is the value at the `order` path: `None` if there is no such path, `Some(None)` if the event has no number
    /// there. Such events come behind the others of their time.
    pub fn new(order: Option<Option<i64>>, place: u64) -> Rank {
        let order = match order {
            None => 0,
            Some(None) => u64::MAX,
            // In the order of numbers, and below the one that stands for none.
            Some(Some(number)) => (number.cast_unsigned() ^ 1 << 63).min(u64::MAX - 1),
        };
        Rank { order, place }
    }
}

/// What session policies look at in one event ([`crate::sessionize::Policies`]), in 8 bytes: the value of `split_on` as a
/// hash, the day of `split_at`, the parts that the event's class plays, and the number of its gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cue {
    /// 0: the event has no value.
    key: u32,
    /// The day in the upper 24 bits, the number of the gap in the next 5, and the parts in the lower 3.
    day: i32,
}

impl Cue {
    const STARTS: i32 = 1;
    const ENDS: i32 = 2;
    const KEEPS_ALIVE: i32 = 4;
    const GAP: u32 = 3;
    const DAY: u32 = 8;
    /// The largest number of a gap.
    pub const GAPS: u8 = 31;

    /// `key` is a hash of the value of `split_on`, `day` counts from 1970-01-01 in the zone of `split_at`. Years -9999 to 9999
    /// have days that fit 24 bits.
    pub fn new(key: Option<u64>, day: i32, starts: bool, ends: bool) -> Cue {
        // The upper half, and never the number that stands for no value.
        let key = key.map_or(0, |key| ((key >> 32) as u32).max(1));
        let parts = (i32::from(starts) * Self::STARTS) | (i32::from(ends) * Self::ENDS);
        Cue { key, day: day << Self::DAY | parts }
    }

    /// Returns this, of an event whose class extends sessions and never starts one.
    #[must_use]
    pub fn keeping_alive(self) -> Cue {
        Cue { day: self.day | Self::KEEPS_ALIVE, ..self }
    }

    /// Returns this, of an event with the gap of this number ([`crate::sessionize::Gaps`]). It has number 0 so far.
    ///
    /// # Panics
    /// Above [`Cue::GAPS`].
    #[must_use]
    pub fn with_gap(self, number: u8) -> Cue {
        assert!(number <= Self::GAPS, "{number} is no number of a gap");
        Cue { day: self.day | i32::from(number) << Self::GAP, ..self }
    }

    /// Returns the hash of the value of `split_on`, if the event has one.
    pub fn key(self) -> Option<u32> {
        (self.key != 0).then_some(self.key)
    }

    /// Returns the day.
    pub fn day(self) -> i32 {
        self.day >> Self::DAY
    }

    /// Returns whether the event starts a session.
    pub fn starts(self) -> bool {
        self.day & Self::STARTS != 0
    }

    /// Returns whether the event ends its session.
    pub fn ends(self) -> bool {
        self.day & Self::ENDS != 0
    }

    /// Returns whether the event only extends sessions.
    pub fn keeps_alive(self) -> bool {
        self.day & Self::KEEPS_ALIVE != 0
    }

    /// Returns the number of its gap.
    pub fn gap(self) -> u8 {
        (self.day >> Self::GAP & i32::from(Self::GAPS)) as u8
    }

    /// Less than or equal to all others.
    pub(crate) const LEAST: Cue = Cue { key: 0, day: i32::MIN };

    /// Returns this, with the value of `split_on` of another one where it has none.
    #[must_use]
    pub(crate) fn or_key_of(self, other: Option<Cue>) -> Cue {
        let key = if self.key == 0 { other.map_or(0, |other| other.key) } else { self.key };
        Cue { key, ..self }
    }

    /// Returns what several events of one time say together. Of several values, the one with the greatest hash counts, so
    /// that no order matters. Gaps and keeping alive are asked of each event: together they have neither.
    #[must_use]
    pub fn with(self, other: Cue) -> Cue {
        let parts = (self.day | other.day) & (Self::STARTS | Self::ENDS);
        Cue { key: self.key.max(other.key), day: self.day().max(other.day()) << Self::DAY | parts }
    }
}

/// An exact sum: what is no number is counted, not summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Measure {
    /// Of the values that are numbers.
    pub sum: Decimal,
    /// How many values were summed.
    pub numbers: u64,
    /// How many values were present and no number.
    pub others: u64,
}

impl Measure {
    /// Adds another sum. Commutative and associative. Overflow needs 10^14 values at the largest magnitude that reading lets in.
    pub fn add(&mut self, other: &Measure) {
        self.sum = self.sum.saturating_add(other.sum);
        self.numbers += other.numbers;
        self.others += other.others;
    }
}
