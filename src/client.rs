//! Talking to a process that runs.

use crate::error::Error;
use crate::status::Report;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);

/// How the process whose HTTP server is at `url` is doing.
///
/// # Errors
/// If it cannot be reached, or answers otherwise.
pub fn status(url: &str, token: Option<&str>) -> Result<Report, Error> {
    let attempt = || format!("ask {url} for its status");
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).build().into();
    let mut request = agent.get(format!("{}/v1/status", url.trim_end_matches('/')));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut answer = request.call().map_err(Error::run(attempt()))?;
    let body = answer.body_mut().read_to_string().map_err(Error::run(attempt()))?;
    serde_json::from_str(&body).map_err(Error::run(attempt()))
}
