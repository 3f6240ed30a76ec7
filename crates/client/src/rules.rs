//! Asks which rules hold, and lets others hold.

use super::connection::Endpoint;
use super::error::ClientError;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A server that sends nothing for this time counts as gone. It answers when the rules are in the views.
const SILENCE: Duration = Duration::from_secs(60);
const ANSWER_BYTES: u64 = 64 << 20;

/// The rules of a server. A change can be repeated: rules that hold are not applied again.
///
/// Answers are read as what the caller wants. They are JSON. The token needs the scope `admin`.
#[derive(Clone, Debug)]
pub struct Rules {
    endpoint: Endpoint,
}

impl Rules {
    /// `url` and `bearer` as in [`post`](crate::post()).
    ///
    /// # Errors
    /// [`ClientError::Usage`].
    pub fn new(url: &str, bearer: Option<&str>) -> Result<Rules, ClientError> {
        Ok(Rules { endpoint: Endpoint::new(url, bearer, SILENCE)? })
    }

    /// Lists the versions: `GET /v1/rules`.
    ///
    /// # Errors
    /// Any [`ClientError`]; nothing is tried again.
    pub fn list<R: DeserializeOwned>(&self) -> Result<R, ClientError> {
        read(&self.endpoint.get_all("/v1/rules", &[], ANSWER_BYTES)?)
    }

    /// Shows a version: `GET /v1/rules/VERSION`.
    ///
    /// # Errors
    /// Any [`ClientError`]; nothing is tried again.
    pub fn show<R: DeserializeOwned>(&self, version: u64) -> Result<R, ClientError> {
        read(&self.endpoint.get_all(&format!("/v1/rules/{version}"), &[], ANSWER_BYTES)?)
    }

    /// Applies the rules of a file: `PUT /v1/rules` with its text.
    ///
    /// # Errors
    /// Any [`ClientError`]; nothing is tried again. After [`ClientError::Unreachable`] the rules may have been applied.
    pub fn apply<R: DeserializeOwned>(&self, parameters: &[(&str, String)], text: &[u8]) -> Result<R, ClientError> {
        let answer = self.endpoint.put("/v1/rules", parameters, text, ANSWER_BYTES)?;
        self.answered(answer)
    }

    /// Applies an older version: `POST /v1/rules/VERSION/rollback`.
    ///
    /// # Errors
    /// As [`Rules::apply`].
    pub fn roll_back<R: DeserializeOwned>(
        &self,
        version: u64,
        parameters: &[(&str, String)],
    ) -> Result<R, ClientError> {
        let path = format!("/v1/rules/{version}/rollback");
        let answer = self.endpoint.post(&path, parameters, b"", ANSWER_BYTES)?;
        self.answered(answer)
    }

    fn answered<R: DeserializeOwned>(&self, answer: Result<Vec<u8>, String>) -> Result<R, ClientError> {
        let url = self.endpoint.url().to_owned();
        read(&answer.map_err(|reason| ClientError::Unreachable { url, reason })?)
    }
}

pub(crate) fn read<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, ClientError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ClientError::protocol(format!("the server sent what is no answer to this: {error}")))
}
