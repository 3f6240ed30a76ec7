//! Posting events.

use crate::connection::{Endpoint, Failure};
use crate::error::ClientError;
use serde::Deserialize;
use std::time::Duration;

/// A server that sends nothing for this time counts as gone. It answers when the events are durable.
const SILENCE: Duration = Duration::from_secs(60);
const ANSWER_BYTES: u64 = 16 << 20;

/// The answer of a server that has taken events.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Receipt {
    /// Names these events. A reader that waits for it ([`Query::wait_for`](crate::Query::wait_for)) finds them counted.
    pub token: String,
    /// Events that are durable.
    pub accepted: u64,
    /// The first of the events that became dead letters.
    #[serde(default)]
    pub rejected: Vec<Rejection>,
    /// The number of events that became dead letters.
    #[serde(default)]
    pub rejected_total: u64,
}

/// An event that the server could not read. It is kept as a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Rejection {
    /// Its place among the posted events, from 0.
    pub index: u64,
    /// A word for the reason, such as `no_json`.
    pub reason: String,
    /// The reason in words.
    pub message: String,
}

/// The reason why there is no receipt.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// Not done: the server has taken none of the events. [`PostError::may_succeed_later`] says whether to try again.
    #[error(transparent)]
    NotTaken(ClientError),
    /// Maybe done: the request was sent, and no answer came back, or the server failed within the request. Posted again, events with ids count once, others may
    /// count twice.
    #[error("{url} may have taken the events: {reason}")]
    Unknown {
        /// The server that was asked.
        url: String,
        /// Why no answer came, or which one.
        reason: String,
    },
}

impl PostError {
    /// Returns whether the same post may succeed later: the server is busy, starts, stops, or cannot be reached.
    pub fn may_succeed_later(&self) -> bool {
        match self {
            PostError::NotTaken(ClientError::Refused { status, .. }) => matches!(status, Some(408 | 429 | 503)),
            PostError::NotTaken(ClientError::Unreachable { .. }) | PostError::Unknown { .. } => true,
            PostError::NotTaken(_) => false,
        }
    }
}

/// Posts events to the server at `url` and waits until they are durable. `events` is one JSON object, a JSON array of
/// objects, or one object on each line; `source` names the source that they belong to, where the server has several.
///
/// ```no_run
/// # use headwater_client::{PostError, Query, peek, post};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let url = "http://127.0.0.1:7474";
/// let receipt = post(url, None, None, br#"{"user_id":"u42","event_type":"login","time_utc":"2024-05-01T12:00:00Z"}"#)?;
/// let query = Query { keys: vec!["u42".into()], wait_for: Some(receipt.token), ..Query::default() };
/// println!("{}", peek(url, None, "sessions", &query)?.rows.len());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`PostError`] says whether the events were not taken or may have been. Nothing is tried again.
pub fn post(url: &str, bearer: Option<&str>, source: Option<&str>, events: &[u8]) -> Result<Receipt, PostError> {
    let endpoint = Endpoint::new(url, bearer, SILENCE).map_err(PostError::NotTaken)?;
    let parameters: Vec<_> = source.map(|source| ("source", source.to_owned())).into_iter().collect();
    let unknown = |reason: String| PostError::Unknown { url: url.to_owned(), reason };
    let bytes = match endpoint.post("/v1/events", &parameters, events, ANSWER_BYTES) {
        Ok(bytes) => bytes.map_err(unknown)?,
        // A proxy between here and the server has given up: the server may not have.
        Err(Failure::Later { answered: Some((502 | 504, _)), reason, .. }) => return Err(unknown(reason)),
        Err(Failure::Later { answered: None, sent: true, reason, .. }) => return Err(unknown(reason)),
        // The server failed within the request, maybe after it had stored the events.
        Err(Failure::Never(ClientError::Refused { status: Some(500), message, .. })) => return Err(unknown(message)),
        Err(failure) => return Err(PostError::NotTaken(failure.into())),
    };
    serde_json::from_slice(&bytes).map_err(|error| unknown(format!("its answer is no receipt: {error}")))
}
