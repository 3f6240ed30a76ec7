//! What events *mean*: pure graphs on timely and differential dataflow.
//!
//! This crate owns the nouns (below) and the stages that turn one into the next. It knows no file, socket, clock or
//! source of randomness: its manifest names no crate of that kind beyond timely itself, and `clippy.toml` refuses the
//! rest. The root crate `headwater` feeds it and reads from it.
//!
//! # Glossary
//! - [`EventTime`]: when something happened; data. [`Tick`]: when headwater learned of it; the dataflow timestamp.
//! - [`Position`]: where a record lies (source, part, offset). [`Record`]: a decoded record, reduced to fixed-size
//!   identities. [`Event`]: a record that counts, once per event id. [`DeadLetter`]: what could not become an event.
//! - [`UserKey`], [`ShapeId`], [`SignatureId`], [`EventId`]: the persisted identities, all made in [`identity`].
//! - [`Descriptor`]: what the rules may look at of all events that share a signature. [`Rule`]: a declared class.

pub mod changes;
pub mod classify;
pub mod close;
pub mod counts;
pub mod dead_letter;
pub mod describe;
pub mod engine;
pub mod identity;
pub mod ingest;
pub mod operators;
mod parcel;
pub mod pipeline;
pub mod record;
pub mod rules;
pub mod scan;
pub mod sessionize;
pub mod time;

pub use dead_letter::{DeadLetter, Reason};
pub use identity::{EventId, PathHash, SessionId, ShapeId, SignatureId, UserKey, ValueKind};
pub use record::{Details, Event, Identity, Measure, NoTime, Position, Record, Sessionless};
pub use rules::{Condition, Descriptor, Rule};
pub use time::{EventTime, Tick, TotalTime};
