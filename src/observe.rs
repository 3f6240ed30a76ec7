//! The state of a process: its metrics, its status, and its memory.

pub mod actions;
pub mod backfills;
pub mod forgets;
pub mod labels;
pub mod landing;
pub mod memory;
pub mod metrics;
mod quantiles;
pub mod rules;
pub mod sources;
pub mod status;
