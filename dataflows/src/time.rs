//! The two times: when it happened ([`EventTime`]) and when headwater learned of it ([`Tick`]).

use differential_dataflow::lattice::Lattice;
use serde::{Deserialize, Serialize};
use timely::order::TotalOrder;
use timely::progress::Timestamp;

/// A dataflow timestamp that stages can run on: any that is totally ordered, so that the ticks before one are one set.
///
/// A process runs on [`Tick`]. Within a scope of another time, stages are used alone.
pub trait TotalTime: Timestamp + TotalOrder + Lattice {}

impl<T: Timestamp + TotalOrder + Lattice> TotalTime for T {}

/// When headwater learned of something: the timestamp of every dataflow, minted in order by one sequencer.
pub type Tick = u64;

/// When something happened: microseconds since 1970-01-01T00:00:00Z. Data, never a timestamp of the dataflow.
///
/// Always within [`EventTime::MIN`]..=[`EventTime::MAX`], so that adding or subtracting any legal gap cannot overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventTime(i64);

impl EventTime {
    /// -9999-01-01T00:00:00Z.
    pub const MIN: EventTime = EventTime(-377_705_116_800_000_000);
    /// 9999-12-31T23:59:59.999999Z.
    pub const MAX: EventTime = EventTime(253_402_300_799_999_999);

    /// Makes a time of microseconds since 1970-01-01T00:00:00Z; `None` outside the years -9999 to 9999.
    #[inline]
    pub fn from_micros(micros: i64) -> Option<EventTime> {
        (Self::MIN.0..=Self::MAX.0).contains(&micros).then_some(EventTime(micros))
    }

    /// Returns microseconds since 1970-01-01T00:00:00Z.
    #[inline]
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Returns the time `micros` microseconds earlier, but not before [`EventTime::MIN`].
    #[inline]
    pub fn saturating_sub(self, micros: i64) -> EventTime {
        EventTime(self.0.saturating_sub(micros).max(Self::MIN.0))
    }

    /// Returns the time `micros` microseconds later, within [`EventTime::MIN`] and [`EventTime::MAX`].
    #[inline]
    pub fn saturating_add(self, micros: i64) -> EventTime {
        EventTime(self.0.saturating_add(micros).clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Returns the start of the hour (UTC) that this time falls into.
    #[inline]
    pub fn hour(self) -> EventTime {
        const HOUR: i64 = 3_600_000_000;
        EventTime(self.0.div_euclid(HOUR) * HOUR)
    }
}
