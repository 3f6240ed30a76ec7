//! Gives classes to shapes, and takes them back.

use super::connection::Endpoint;
use super::error::ClientError;
use super::rules::read;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A server that sends nothing for this time counts as gone. It answers when the label is in the views.
const SILENCE: Duration = Duration::from_secs(60);
const ANSWER_BYTES: u64 = 16 << 20;

/// The labels of a server. A change can be repeated.
///
/// Answers are read as what the caller wants. They are JSON. The token needs the scope `admin`.
#[derive(Clone, Debug)]
pub struct Labels {
    endpoint: Endpoint,
}

impl Labels {
    /// `url` and `bearer` as in [`post`](crate::post()).
    ///
    /// # Errors
    /// [`ClientError::Usage`].
    pub fn new(url: &str, bearer: Option<&str>) -> Result<Labels, ClientError> {
        Ok(Labels { endpoint: Endpoint::new(url, bearer, SILENCE)? })
    }

    /// Lists the labels: `GET /v1/labels`.
    ///
    /// # Errors
    /// Any [`ClientError`]; nothing is tried again.
    pub fn list<R: DeserializeOwned>(&self) -> Result<R, ClientError> {
        read(&self.endpoint.get_all("/v1/labels", &[], ANSWER_BYTES)?)
    }

    /// Gives a class to a shape (`PUT /v1/labels/SHAPE`), or takes it back (`DELETE`). `shape` as the rows of `shapes` have it.
    ///
    /// # Errors
    /// Any [`ClientError`]; nothing is tried again. After [`ClientError::Unreachable`] the label may have changed.
    pub fn change<R: DeserializeOwned>(
        &self,
        shape: &str,
        class: Option<&str>,
        parameters: &[(&str, String)],
    ) -> Result<R, ClientError> {
        if !shape.bytes().all(|byte| byte.is_ascii_alphanumeric()) || shape.is_empty() {
            return Err(ClientError::Usage { message: format!("`{shape}` is no shape") });
        }
        let path = format!("/v1/labels/{shape}");
        let answer = match class {
            Some(class) => self.endpoint.put(&path, parameters, class.as_bytes(), ANSWER_BYTES)?,
            None => self.endpoint.delete(&path, parameters, ANSWER_BYTES)?,
        };
        let url = self.endpoint.url().to_owned();
        read(&answer.map_err(|reason| ClientError::Unreachable { url, reason })?)
    }
}
