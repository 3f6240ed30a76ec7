//! From arrival to tick: the intake makes deliveries durable, and the sequencer binds them to ticks.
//!
//! ```text
//! HTTP, followed files ── intake ── queue of the log ──┐
//! definitions, tables ──────────── control partition ──┴─ sequencer ── remap: tick -> offsets ── workers
//! ```

pub mod applied;
pub mod backfills;
pub mod control;
pub mod cursor;
pub mod definitions;
pub mod delivery;
pub mod forgets;
pub mod forgotten;
pub mod intake;
pub mod labels;
pub mod numbers;
pub mod reference;
pub mod rulebook;
pub mod sequencer;
pub mod timeline;
pub mod versions;
