//! One session: a commutative summary of its events, and how summaries are built and merged.

use crate::identity::{SessionId, SignatureId, UserKey};
use crate::record::{Cue, Details, Measure, Rank};
use crate::sessionize::Visit;
use crate::time::EventTime;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A session of one user. The key, the user, is held beside it.
///
/// Ordered by *end* first: the sessions of a user are disjoint, so the order by end is the order by start, and a
/// forward seek to `(end >= time - gap)` lands on the first session that an event at `time` can touch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Session {
    /// Time of its last event.
    pub end: EventTime,
    /// Time of its first event.
    pub start: EventTime,
    /// Its number of events.
    pub events: u64,
    /// Signature of the first event. Among events at `start` that of the least [`Rank`], then the least one.
    pub first: SignatureId,
    /// Signature of the last event. Among events at `end` that of the greatest [`Rank`], then the greatest one.
    pub last: SignatureId,
    /// Events by signature, sorted; `None` if all are `first`. Shared, as rows are copied when batches merge.
    counts: Option<Arc<[(SignatureId, u64)]>>,
    #[serde(with = "encoding")]
    details: Option<Arc<SessionDetails>>,
}

/// What a session keeps of the fields that the configuration sums and carries, in its order. Slices, not vectors: a
/// session may be one of many millions, and has no room to grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionDetails {
    /// Sums by field.
    pub sums: Box<[Measure]>,
    /// First and last values by field; `None`: no event has the field.
    pub carried: Box<[Option<Carried>]>,
    /// Under session policies: what an event behind the last one is compared with.
    pub tail: Option<Tail>,
    /// Where ties do not break by content alone.
    pub ranks: Option<Box<Ranks>>,
}

/// Why a session ended. Where several reasons hold, the first of these is the one that counts: any of them ends the
/// session at the same place. [`EndedBy::code`] is part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EndedBy {
    /// Its last event is of a class that ends sessions.
    End,
    /// No event came within the gap, or none has come yet.
    Gap,
    /// The next event is of a class that starts sessions.
    Start,
    /// The next event has another value of `split_on`.
    SplitOn,
    /// The next event is of another day.
    SplitAt,
    /// With the next event it would be too long.
    MaxDuration,
    /// With the next event it would have too many events.
    MaxEvents,
}

impl EndedBy {
    /// Every reason, in the order in which they count.
    pub const ALL: [EndedBy; 7] = [
        EndedBy::End,
        EndedBy::Gap,
        EndedBy::Start,
        EndedBy::SplitOn,
        EndedBy::SplitAt,
        EndedBy::MaxDuration,
        EndedBy::MaxEvents,
    ];

    /// Returns the stable name of this reason in outputs.
    pub fn code(self) -> &'static str {
        match self {
            EndedBy::End => "end",
            EndedBy::Start => "start",
            EndedBy::SplitOn => "split_on",
            EndedBy::SplitAt => "split_at",
            EndedBy::MaxDuration => "max_duration",
            EndedBy::MaxEvents => "max_events",
            EndedBy::Gap => "gap",
        }
    }
}

/// What the next event of a session is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tail {
    /// Of the last time; but the value of `split_on` is that of the last event that has one.
    pub cue: Cue,
    /// Why the session ended, once it is finished.
    pub ended_by: EndedBy,
    /// Microseconds between [`Session::until`] and the end of the session: 0 where all events have the same gap.
    #[serde(skip)]
    pub extra: i64,
}

impl Tail {
    /// Returns why its session ends if no event follows.
    pub(super) fn without_next(self) -> EndedBy {
        if self.cue.ends() { EndedBy::End } else { EndedBy::Gap }
    }
}

/// Ranks of the events that a session's row names.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ranks {
    /// Of the first event and of the last one.
    pub ends: [Rank; 2],
    /// By carried field: of the events that have its first and last value.
    pub carried: Box<[[Rank; 2]]>,
}

/// Rows of before session policies are the first two variants: an `Option` in the same bytes. Each later variant has what
/// the ones before it cannot hold. [`Tail::extra`] is beside the tail, as tails of before have none.
mod encoding {
    use super::{Carried, Measure, Ranks, SessionDetails, Tail};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::sync::Arc;

    #[derive(Serialize, Deserialize)]
    enum Encoded<S, C, R> {
        None,
        Plain { sums: S, carried: C },
        Cut { sums: S, carried: C, tail: Tail },
        Ranked { sums: S, carried: C, tail: Option<Tail>, ranks: R },
        Reaching { sums: S, carried: C, tail: Tail, ranks: Option<R>, extra: i64 },
    }

    pub fn serialize<S: Serializer>(details: &Option<Arc<SessionDetails>>, to: S) -> Result<S::Ok, S::Error> {
        let encoded = match details.as_deref() {
            None => Encoded::None,
            Some(SessionDetails { sums, carried, tail: Some(tail), ranks }) if tail.extra != 0 => {
                Encoded::Reaching { sums, carried, tail: *tail, ranks: ranks.as_ref(), extra: tail.extra }
            }
            Some(SessionDetails { sums, carried, tail, ranks: Some(ranks) }) => {
                Encoded::Ranked { sums, carried, tail: *tail, ranks }
            }
            Some(SessionDetails { sums, carried, tail: Some(tail), .. }) => Encoded::Cut { sums, carried, tail: *tail },
            Some(SessionDetails { sums, carried, .. }) => Encoded::Plain { sums, carried },
        };
        encoded.serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Arc<SessionDetails>>, D::Error> {
        let details = match Encoded::<Box<[Measure]>, Box<[Option<Carried>]>, Box<Ranks>>::deserialize(from)? {
            Encoded::None => return Ok(None),
            Encoded::Plain { sums, carried } => SessionDetails { sums, carried, tail: None, ranks: None },
            Encoded::Cut { sums, carried, tail } => SessionDetails { sums, carried, tail: Some(tail), ranks: None },
            Encoded::Ranked { sums, carried, tail, ranks } => {
                SessionDetails { sums, carried, tail, ranks: Some(ranks) }
            }
            Encoded::Reaching { sums, carried, tail, ranks, extra } => {
                SessionDetails { sums, carried, tail: Some(Tail { extra, ..tail }), ranks }
            }
        };
        Ok(Some(Arc::new(details)))
    }
}

/// First and last value of a field among the events that have it. Ties in time break by [`Rank`], then by content: the
/// least value enters, the greatest exits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Carried {
    /// Time and value of the first event that has the field.
    pub entry: (EventTime, Arc<str>),
    /// Time and value of the last event that has the field.
    pub exit: (EventTime, Arc<str>),
}

impl Session {
    /// Returns its id, which changes when its start does.
    pub fn id(&self, user: UserKey) -> SessionId {
        SessionId::of(user, self.start)
    }

    /// Returns the number of events by signature, in the order of signatures.
    pub fn counts(&self) -> impl Iterator<Item = (SignatureId, u64)> {
        let single = self.counts.is_none().then_some((self.first, self.events));
        single.into_iter().chain(self.counts.iter().flat_map(|counts| counts.iter().copied()))
    }

    /// Returns what is summed and carried; `None`: no field is.
    pub fn details(&self) -> Option<&SessionDetails> {
        self.details.as_deref()
    }

    /// Returns why it ended, if session policies say it.
    pub fn ended_by(&self) -> Option<EndedBy> {
        self.tail().map(|tail| tail.ended_by)
    }

    /// Returns the time that an event may be the gap behind, and no more, to extend the session. This is its end where all
    /// events have the same gap.
    pub fn until(&self) -> EventTime {
        self.end.saturating_add(self.tail().map_or(0, |tail| tail.extra))
    }

    pub(super) fn tail(&self) -> Option<Tail> {
        self.details().and_then(|details| details.tail)
    }

    /// The least possible session with this end: where to seek to.
    pub(super) fn ending_at(end: EventTime) -> Session {
        Session {
            end,
            start: EventTime::MIN,
            events: 0,
            first: SignatureId(0),
            last: SignatureId(0),
            counts: None,
            details: None,
        }
    }
}

/// A session under construction. One is reused for all: no allocation but for what a finished session keeps.
#[derive(Debug)]
pub(super) struct Builder {
    pub start: EventTime,
    pub end: EventTime,
    events: u64,
    first: SignatureId,
    last: SignatureId,
    /// Unsorted; a session has few signatures, and neighbouring events often share one.
    counts: Vec<(SignatureId, u64)>,
    sums: Vec<Measure>,
    carried: Vec<Option<Carried>>,
    /// Of the first and the last event, and of the events with the carried values; empty if no event has a rank.
    ends: [Rank; 2],
    ranks: Vec<[Rank; 2]>,
    /// Of the session to be finished; `None` without session policies.
    pub tail: Option<Tail>,
}

impl Builder {
    pub fn new() -> Builder {
        Builder {
            start: EventTime::MAX,
            end: EventTime::MIN,
            events: 0,
            first: SignatureId(0),
            last: SignatureId(0),
            counts: Vec::new(),
            sums: Vec::new(),
            carried: Vec::new(),
            ends: [Rank::default(); 2],
            ranks: Vec::new(),
            tail: None,
        }
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    pub fn add_visit(&mut self, visit: &Visit) {
        self.add_event(visit.time, visit.signature, visit.details.as_deref());
    }

    pub fn add_event(&mut self, time: EventTime, signature: SignatureId, details: Option<&Details>) {
        let rank = details.map_or(Rank::default(), |details| details.rank);
        self.extend([time, time], [rank, rank], [signature, signature], 1);
        self.count(signature, 1);
        if let Some(details) = details {
            self.add_details(time, details);
        }
    }

    pub fn add_session(&mut self, session: &Session) {
        let ranks = session.details().and_then(|details| details.ranks.as_deref());
        let ends = ranks.map_or([Rank::default(); 2], |ranks| ranks.ends);
        self.extend([session.start, session.end], ends, [session.first, session.last], session.events);
        session.counts().for_each(|(signature, count)| self.count(signature, count));
        if let Some(details) = session.details() {
            fit(&mut self.sums, details.sums.len());
            self.sums.iter_mut().zip(&details.sums).for_each(|(sum, other)| sum.add(other));
            fit(&mut self.carried, details.carried.len());
            if let Some(ranks) = ranks {
                fit(&mut self.ranks, ranks.carried.len());
            }
            for (field, other) in details.carried.iter().enumerate() {
                if let Some(Carried { entry, exit }) = other {
                    let [first, last] = ranks.map_or([Rank::default(); 2], |ranks| ranks.carried[field]);
                    self.carry(field, (entry.0, first, &entry.1), (exit.0, last, &exit.1));
                }
            }
        }
    }

    /// Each pair is of the first event and of the last one.
    fn extend(&mut self, [start, end]: [EventTime; 2], ranks: [Rank; 2], [first, last]: [SignatureId; 2], events: u64) {
        if self.is_empty() || (start, ranks[0], first) < (self.start, self.ends[0], self.first) {
            (self.start, self.ends[0], self.first) = (start, ranks[0], first);
        }
        if self.is_empty() || (end, ranks[1], last) > (self.end, self.ends[1], self.last) {
            (self.end, self.ends[1], self.last) = (end, ranks[1], last);
        }
        self.events += events;
    }

    fn count(&mut self, signature: SignatureId, count: u64) {
        match self.counts.iter_mut().rev().find(|(known, _)| *known == signature) {
            Some((_, known)) => *known += count,
            None => self.counts.push((signature, count)),
        }
    }

    fn add_details(&mut self, time: EventTime, details: &Details) {
        fit(&mut self.sums, details.sums.len());
        self.sums.iter_mut().zip(&details.sums).for_each(|(sum, value)| sum.add(value));
        fit(&mut self.carried, details.carried.len());
        let rank = details.rank;
        if rank != Rank::default() {
            fit(&mut self.ranks, details.carried.len());
        }
        for (field, value) in details.carried.iter().enumerate() {
            if let Some(value) = value {
                self.carry(field, (time, rank, value), (time, rank, value));
            }
        }
    }

    /// Takes in the time, the rank and the text of a first and a last value of a field.
    fn carry(&mut self, field: usize, entry: (EventTime, Rank, &Arc<str>), exit: (EventTime, Rank, &Arc<str>)) {
        let own = |(time, _, value): (EventTime, Rank, &Arc<str>)| (time, Arc::clone(value));
        let (mut none, carried) = ([Rank::default(); 2], &mut self.carried[field]);
        // Where no event has a rank, none is kept.
        let ranks = self.ranks.get_mut(field).unwrap_or(&mut none);
        match carried {
            None => {
                *carried = Some(Carried { entry: own(entry), exit: own(exit) });
                *ranks = [entry.1, exit.1];
            }
            Some(carried) => {
                if entry < (carried.entry.0, ranks[0], &carried.entry.1) {
                    carried.entry = own(entry);
                    ranks[0] = entry.1;
                }
                if exit > (carried.exit.0, ranks[1], &carried.exit.1) {
                    carried.exit = own(exit);
                    ranks[1] = exit.1;
                }
            }
        }
    }

    /// The finished session; the builder is empty again.
    pub fn finish(&mut self) -> Session {
        let counts = (self.counts.len() > 1).then(|| {
            self.counts.sort_unstable();
            Arc::from(self.counts.as_slice())
        });
        self.counts.clear();
        let tail = self.tail.take();
        let has_ranks = self.ends != [Rank::default(); 2] || !self.ranks.is_empty();
        let some = !self.sums.is_empty() || !self.carried.is_empty() || tail.is_some() || has_ranks;
        let details = some.then(|| {
            let ranks = has_ranks.then(|| {
                fit(&mut self.ranks, self.carried.len());
                Box::new(Ranks { ends: self.ends, carried: self.ranks.as_slice().into() })
            });
            let carried = self.carried.drain(..).collect();
            Arc::new(SessionDetails { sums: self.sums.as_slice().into(), carried, tail, ranks })
        });
        self.sums.clear();
        self.ranks.clear();
        let session = Session {
            end: self.end,
            start: self.start,
            events: self.events,
            first: self.first,
            last: self.last,
            counts,
            details,
        };
        self.events = 0;
        session
    }
}

fn fit<T: Default + Clone>(values: &mut Vec<T>, len: usize) {
    if values.len() < len {
        values.resize(len, T::default());
    }
}
