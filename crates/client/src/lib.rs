//! The wire of a headwater server and its reader: follow a collection, read rows by key, post events.
//!
//! ```text
//! Subscription ── GET /v1/collections/NAME/changes ── frames, in order, resumed from a token after a lost connection
//! peek         ── GET /v1/collections/NAME/rows    ── rows as of one tick
//! post         ── POST /v1/events                  ── a receipt, once the events are durable
//! Backfills    ── POST /v1/backfills/NAME/chunks   ── how far a backfill is, once a chunk is durable
//! Forgets      ── POST /v1/forget               ── a receipt, once a user is forgotten
//! Labels       ── PUT /v1/labels/SHAPE             ── what a label has changed, once it holds
//! Rules        ── PUT /v1/rules                    ── what rules have changed, once they hold
//! ```
//!
//! It knows no engine and no Arrow: rows are JSON. Absent on purpose: TLS (reach the server through a tunnel) and an
//! asynchronous form.

#![warn(missing_docs)]

mod backfill;
mod backoff;
mod connection;
mod error;
mod forget;
mod frame;
mod labels;
mod order;
mod peek;
mod post;
mod row;
mod rules;
mod subscription;
pub mod text;

pub use backfill::Backfills;
pub use backoff::Backoff;
pub use error::ClientError;
pub use forget::Forgets;
pub use frame::{Frame, Head, Hello, Kind, Progress, Refusal};
pub use labels::Labels;
pub use peek::{PAGE, Page, Query, collections, peek, status};
pub use post::{PostError, Receipt, Rejection, post};
pub use row::{Row, Update};
pub use rules::Rules;
pub use subscription::{Batch, Builder, Event, Subscription};

/// A number of the server's sequencer. The updates that are published together have one tick. Ticks only grow, and are
/// not times.
pub type Tick = u64;
