//! Asks a server to forget a user, and which users it has forgotten.

use super::connection::Endpoint;
use super::error::ClientError;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A server that sends nothing for this time counts as gone. It answers within some seconds, done or not.
const SILENCE: Duration = Duration::from_secs(60);
const ANSWER_BYTES: u64 = 64 << 20;

/// The users that a server forgets. Every request can be repeated: while a user is being forgotten, another request is the
/// same one.
///
/// Answers are read as what the caller wants. They are JSON.
#[derive(Clone, Debug)]
pub struct Forgets {
    endpoint: Endpoint,
}

impl Forgets {
    /// `url` and `bearer` as in [`post`](crate::post()). The token needs the scope `admin`.
    ///
    /// # Errors
    /// [`ClientError::Usage`].
    pub fn new(url: &str, bearer: Option<&str>) -> Result<Forgets, ClientError> {
        Ok(Forgets { endpoint: Endpoint::new(url, bearer, SILENCE)? })
    }

    /// Lists the receipts: `GET /v1/forget`.
    ///
    /// # Errors
    /// Any [`ClientError`]; nothing is tried again.
    pub fn list<R: DeserializeOwned>(&self) -> Result<R, ClientError> {
        read(&self.endpoint.get_all("/v1/forget", &[], ANSWER_BYTES)?)
    }

    /// Asks for a user to be forgotten: `POST /v1/forget` with a JSON object.
    ///
    /// # Errors
    /// Any [`ClientError`]; nothing is tried again.
    pub fn ask<R: DeserializeOwned>(&self, asked: &str) -> Result<R, ClientError> {
        let bytes = self.endpoint.post("/v1/forget", &[], asked.as_bytes(), ANSWER_BYTES)?;
        let url = self.endpoint.url().to_owned();
        read(&bytes.map_err(|reason| ClientError::Unreachable { url, reason })?)
    }
}

fn read<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, ClientError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ClientError::protocol(format!("the server sent what is no answer to this: {error}")))
}
