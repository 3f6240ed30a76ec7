//! Sends history in chunks, and asks how far it is.

use super::connection::Endpoint;
use super::error::ClientError;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A server that sends nothing for this time counts as gone. It answers when a chunk is in the views.
const SILENCE: Duration = Duration::from_secs(60);
const ANSWER_BYTES: u64 = 16 << 20;

/// The backfills of a server. Every request can be repeated: a chunk that was taken is taken no other time.
///
/// Answers are read as what the caller wants. They are JSON.
#[derive(Clone, Debug)]
pub struct Backfills {
    endpoint: Endpoint,
}

impl Backfills {
    /// `url` and `bearer` as in [`post`](crate::post()). The token needs the scope `admin`.
    ///
    /// # Errors
    /// [`ClientError::Usage`].
    pub fn new(url: &str, bearer: Option<&str>) -> Result<Backfills, ClientError> {
        Ok(Backfills { endpoint: Endpoint::new(url, bearer, SILENCE)? })
    }

    /// Lists the backfills, and the sources that they can be of: `GET /v1/backfills`.
    ///
    /// # Errors
    /// Any [`ClientError`]; nothing is tried again.
    pub fn list<R: DeserializeOwned>(&self) -> Result<R, ClientError> {
        let bytes = self.endpoint.get_all("/v1/backfills", &[], ANSWER_BYTES)?;
        read(&bytes)
    }

    /// Begins a backfill or goes on with one: `POST /v1/backfills` with a JSON object.
    ///
    /// # Errors
    /// Any [`ClientError`]; nothing is tried again.
    pub fn open<R: DeserializeOwned>(&self, described: &str) -> Result<R, ClientError> {
        self.post("/v1/backfills", &[], described.as_bytes())
    }

    /// Sends a chunk: `POST /v1/backfills/NAME/chunks`.
    ///
    /// # Errors
    /// Any [`ClientError`]; nothing is tried again.
    pub fn chunk<R: DeserializeOwned>(
        &self,
        name: &str,
        parameters: &[(&str, String)],
        chunk: &[u8],
    ) -> Result<R, ClientError> {
        self.post(&format!("/v1/backfills/{name}/chunks"), parameters, chunk)
    }

    /// Changes a backfill: `POST /v1/backfills/NAME/pause`, `resume` or `cancel`.
    ///
    /// # Errors
    /// Any [`ClientError`]; nothing is tried again.
    pub fn change<R: DeserializeOwned>(&self, name: &str, to: &str) -> Result<R, ClientError> {
        self.post(&format!("/v1/backfills/{name}/{to}"), &[], b"")
    }

    fn post<R: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &[(&str, String)],
        body: &[u8],
    ) -> Result<R, ClientError> {
        let bytes = self.endpoint.post(path, parameters, body, ANSWER_BYTES)?;
        let url = self.endpoint.url().to_owned();
        read(&bytes.map_err(|reason| ClientError::Unreachable { url, reason })?)
    }
}

fn read<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, ClientError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ClientError::protocol(format!("the server sent what is no answer to this: {error}")))
}
