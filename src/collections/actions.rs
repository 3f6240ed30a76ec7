//! `actions`: what actions have decided, each decision once and at a tick.
//!
//! A decision is never taken back. Its latencies are data: they compare the clock of the tick with the time of the cause, and
//! with the time at which the record of an event was received.

use super::{Begins, Column, Definition, Held, Kind, Nature, Row, Value, encoded, no_key};
use crate::observe::actions::Decided;
use dataflows::EventTime;
use serde::{Deserialize, Serialize};

pub(super) const DEFINITION: Definition = Definition {
    name: "actions",
    nature: Nature::Journal,
    key: &["key"],
    lookup: &["action", "key", "user"],
    columns: |_| {
        let columns = [
            ("action", Kind::Text),
            ("key", Kind::Text),
            ("decision", Kind::Text),
            ("do", Kind::Text),
            ("collection", Kind::Text),
            ("user", Kind::Text),
            ("cause", Kind::Object),
            ("decided_us", Kind::Integer),
            ("time_us", Kind::Integer),
            ("received_us", Kind::Integer),
            ("from_event_ms", Kind::Integer),
            ("from_arrival_ms", Kind::Integer),
            ("due_us", Kind::Integer),
        ];
        Column::nullable(
            Column::plain(columns),
            &["user", "time_us", "received_us", "from_event_ms", "from_arrival_ms", "due_us"],
        )
    },
    decode,
    same_key: no_key,
    held: Held::Nothing,
    begins: Begins::WithTheFolder,
};

/// What was decided. Snapshots hold it by its place: a new one comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The sink hands it over.
    Fired,
    /// It is counted.
    Counted,
    /// The cause is history, and the action only says what it would have done.
    WouldHaveFired,
    /// The cause is older than `max_age`.
    TooOld,
    /// The sink hands it over, since it has waited at a gate until the deadline.
    FiredAtDeadline,
    /// It has waited at a gate until the deadline.
    Dropped,
    /// Too many causes of its entity wait at the gate.
    Overflowed,
    /// The cause is gone, and was not handed over.
    Cancelled,
    /// The cause is gone, of a decision that was made before: with its key.
    Undone,
}

impl Verdict {
    pub const ALL: [Verdict; 9] = [
        Verdict::Fired,
        Verdict::Counted,
        Verdict::WouldHaveFired,
        Verdict::TooOld,
        Verdict::FiredAtDeadline,
        Verdict::Dropped,
        Verdict::Overflowed,
        Verdict::Cancelled,
        Verdict::Undone,
    ];

    /// Returns its name in rows.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Fired => "fired",
            Verdict::Counted => "counted",
            Verdict::WouldHaveFired => "would_have_fired",
            Verdict::TooOld => "too_old",
            Verdict::FiredAtDeadline => "fired_at_deadline",
            Verdict::Dropped => "dropped",
            Verdict::Overflowed => "overflowed",
            Verdict::Cancelled => "cancelled",
            Verdict::Undone => "undo",
        }
    }
}

/// A decision, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision<'d> {
    pub action: &'d str,
    /// In hexadecimal: equal for the same cause of the same action.
    pub key: &'d str,
    /// The name of a [`Verdict`].
    pub verdict: &'d str,
    /// What the action does.
    pub act: &'d str,
    /// `events`, or the name of a collection.
    pub on: &'d str,
    /// Whose event or row the cause is.
    pub user: Option<&'d str>,
    /// The event or the row, as a JSON object.
    pub cause: &'d str,
    /// The clock of the tick.
    pub decided: EventTime,
    /// The time of the cause.
    pub time: Option<EventTime>,
    /// When the record of an event was received.
    pub received: Option<EventTime>,
    /// When it is handed over; `None`: at once.
    pub due: Option<EventTime>,
}

pub fn encode(decision: &Decision<'_>) -> Vec<u8> {
    encoded(decision)
}

/// Returns the decision of a row; `None` if the bytes are none.
pub fn read(bytes: &[u8]) -> Option<Decision<'_>> {
    postcard::from_bytes(bytes).ok()
}

/// Returns what is measured of the decision of a row; `None` if the bytes are none.
pub fn decided(bytes: &[u8]) -> Option<Decided> {
    let Decision { action, verdict, decided, time, received, .. } = read(bytes)?;
    let ms = |time: EventTime| time.micros().div_euclid(1000);
    Some(Decided {
        action: action.to_owned(),
        verdict: verdict.to_owned(),
        time_ms: time.map(ms),
        received_ms: received.map(ms),
        decided_ms: ms(decided),
    })
}

fn decode(bytes: &[u8]) -> Option<Row<'_>> {
    let Decision { action, key, verdict, act, on, user, cause, decided, time, received, due } = read(bytes)?;
    let since = |time: Option<EventTime>| {
        Value::or_null(time, |time| Value::Integer((decided.micros() - time.micros()).div_euclid(1000)))
    };
    Some(Row::new([
        Value::Text(action),
        Value::Text(key),
        Value::Text(verdict),
        Value::Text(act),
        Value::Text(on),
        Value::or_null(user, Value::Text),
        Value::Json(cause),
        Value::time(decided),
        Value::or_null(time, Value::time),
        Value::or_null(received, Value::time),
        since(time),
        since(received),
        Value::or_null(due, Value::time),
    ]))
}
