//! Talking to a process that runs: how it is, which rows it has, and how they change.

mod connection;
mod error;
mod frame;
mod order;
mod peek;
mod row;
mod subscription;

pub use error::ClientError;
pub use frame::{Frame, Head, Hello, Kind, Progress, Refusal};
pub use peek::{PAGE, Page, Query, peek};
pub use row::{Row, Update};
pub use subscription::{Batch, Builder, Event, Subscription};

use connection::Endpoint;

use crate::error::Error;
use crate::observe::status::Report;
use std::time::Duration;

/// A server that sends nothing for so long does not answer.
const SILENCE: Duration = Duration::from_secs(10);
const REPORT_BYTES: u64 = 1 << 20;

/// How the process whose HTTP server is at `url` is doing.
///
/// # Errors
/// If it cannot be reached, or answers otherwise.
pub fn status(url: &str, token: Option<&str>) -> Result<Report, Error> {
    let attempt = || format!("ask {url} for its status");
    let endpoint = Endpoint::new(url, token, SILENCE).map_err(Error::run(attempt()))?;
    let bytes = endpoint.get_all("/v1/status", &[], REPORT_BYTES).map_err(Error::run(attempt()))?;
    serde_json::from_slice(&bytes).map_err(Error::run(attempt()))
}
