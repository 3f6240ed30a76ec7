//! From arrival to tick: what comes in is made durable here, and the sequencer binds it to ticks.
//!
//! ```text
//! HTTP, followed files ── intake ── queue of the log ──┐
//! definitions (rules) ──────────── control partition ──┴─ sequencer ── remap: tick -> offsets ── workers
//! ```

pub mod control;
pub mod definitions;
pub mod delivery;
pub mod intake;
pub mod sequencer;
