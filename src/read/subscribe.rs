//! Subscriptions to collections: the query of a subscriber, its frames, and their way to it.
//!
//! ```text
//! publisher ── tick ─▶ Hub ── frames ─▶ Mailbox ─▶ Subscriber ─▶ client        who keeps up
//! output log ── OutputReader ────────────────────▶ Subscriber ─▶ client        who begins, resumes, or is slow
//! views ── reads ── snapshot ────────────────────▶ Subscriber ─▶ client        who begins with a snapshot
//! ```
//! A tick's frames depend on its rows and on the [`query::Query`] alone, not on the way by which they come.

pub mod frame;
pub mod hub;
pub mod query;
pub mod snapshot;
pub mod spools;
pub mod subscriber;
#[cfg(test)]
mod tests;
pub mod token;
