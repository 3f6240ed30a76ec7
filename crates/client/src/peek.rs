//! Reads rows as they are at one tick.

use super::connection::{Endpoint, path};
use super::error::ClientError;
use super::row::Row;
use crate::Tick;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A server that sends nothing for so long is gone. It may have to wait for what it is asked to wait for.
const SILENCE: Duration = Duration::from_secs(60);
/// An answer above this is refused. Servers send many rows as several pages.
const ANSWER_BYTES: u64 = 256 << 20;

/// Rows that one answer has at most.
pub const PAGE: u64 = 10_000;

/// The query of a read: which rows of a collection.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only rows with one of these keys; of `sessions` a session id or a user. None: whatever their key.
    pub keys: Vec<String>,
    /// Only rows for which this expression holds.
    pub filter: Option<String>,
    /// Only these fields of each row, separated by commas.
    pub columns: Option<String>,
    /// The largest number of rows: 1,000 by default, at most [`PAGE`].
    pub limit: Option<u64>,
    /// Goes on after a page: its [`Page::next`].
    pub after: Option<String>,
    /// Rows as of this tick, and not of the last one that can be read.
    pub as_of: Option<Tick>,
    /// With [`Query::as_of`]: the [`Page::history`] that came with that tick. Refused if the server's is another one.
    pub history: Option<String>,
    /// Waits until the events of this ingest token count.
    pub wait_for: Option<String>,
}

/// Rows as of one tick.
#[derive(Clone, Debug, Deserialize)]
pub struct Page {
    /// The tick whose rows these are.
    pub as_of: Tick,
    /// Which history of the data folder the tick is of.
    #[serde(default)]
    pub history: Option<String>,
    /// In the order of their keys.
    pub rows: Vec<Row>,
    /// There are more than these.
    #[serde(default)]
    pub more: bool,
    /// The value of `after` for the next page. Not every collection has one.
    pub next: Option<String>,
}

/// Reads a page of a collection of the process whose HTTP server is at `url`.
///
/// ```no_run
/// # use headwater_client::{ClientError, Query, peek};
/// # fn main() -> Result<(), ClientError> {
/// let query = Query { keys: vec!["u42".into()], ..Query::default() };
/// for row in peek("http://127.0.0.1:7474", None, "sessions", &query)?.rows {
///     println!("{}", row.json());
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Any [`ClientError`]. Nothing is tried again: that the server starts or has no time is [`ClientError::Refused`], with
/// 503 or 429.
pub fn peek(url: &str, bearer: Option<&str>, collection: &str, query: &Query) -> Result<Page, ClientError> {
    let endpoint = Endpoint::new(url, bearer, SILENCE)?;
    let parameters = [
        ("filter", query.filter.clone()),
        ("columns", query.columns.clone()),
        ("limit", query.limit.map(|limit| limit.to_string())),
        ("after", query.after.clone()),
        ("as_of", query.as_of.map(|tick| tick.to_string())),
        ("history", query.history.clone().filter(|_| query.as_of.is_some())),
        ("wait_for", query.wait_for.clone()),
    ];
    let keys = query.keys.iter().map(|key| ("key", key.clone()));
    let others = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let parameters: Vec<_> = keys.chain(others).collect();
    let bytes = endpoint.get_all(&path(collection, "/rows"), &parameters, ANSWER_BYTES)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ClientError::protocol(format!("the server sent what are no rows: {error}")))
}

/// Lists the collections of the server at `url`, and reads the answer of `GET /v1/collections` as `R`.
///
/// # Errors
/// Any [`ClientError`]; nothing is tried again.
pub fn collections<R: DeserializeOwned>(url: &str, bearer: Option<&str>) -> Result<R, ClientError> {
    let endpoint = Endpoint::new(url, bearer, STATUS_SILENCE)?;
    let bytes = endpoint.get_all("/v1/collections", &[], STATUS_BYTES)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ClientError::protocol(format!("the server sent what is no list of collections: {error}")))
}

/// A server that sends nothing for this time does not answer.
const STATUS_SILENCE: Duration = Duration::from_secs(10);
const STATUS_BYTES: u64 = 1 << 20;

/// Asks the server at `url` for its status, and reads the answer of `GET /v1/status` as `R`.
///
/// # Errors
/// Any [`ClientError`]; nothing is tried again.
pub fn status<R: DeserializeOwned>(url: &str, bearer: Option<&str>) -> Result<R, ClientError> {
    let endpoint = Endpoint::new(url, bearer, STATUS_SILENCE)?;
    let bytes = endpoint.get_all("/v1/status", &[], STATUS_BYTES)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ClientError::protocol(format!("the server sent what is no status: {error}")))
}
