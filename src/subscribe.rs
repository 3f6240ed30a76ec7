//! Following collections: what a subscriber wants, the frames that it gets, and how they come to it.
//!
//! ```text
//! publisher ── tick ─▶ Hub ── frames ─▶ Queue ─▶ Follower ─▶ client        who keeps up
//! output log ── OutputReader ────────────────▶ Follower ─▶ client        who begins, resumes, or is slow
//! views ── reads ── snapshot ────────────────▶ Follower ─▶ client        who begins with a snapshot
//! ```
//! A tick's frames depend on its rows and on the [`query::Query`] alone, not on the way by which they come.

pub mod follow;
pub mod frame;
pub mod hub;
pub mod query;
pub mod snapshot;
#[cfg(test)]
mod tests;
pub mod token;
