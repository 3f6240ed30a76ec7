//! Posts to a receiver, and interprets its answers.
//!
//! ```text
//! 2xx                            delivered
//! 408, 429, 5xx, no answer       again later; not before Retry-After, if that is given
//! anything else                  refused: redirects are not followed either
//! ```

use super::Outcome;
use super::address::PublicOnly;
use super::changes::Change;
use crate::plan::{HeaderValue, HttpTarget};
use crate::queue::intake::wall_ms;
use std::fs;
use std::io::{self, Read};
use std::time::Duration;
use ureq::Agent;
use ureq::http::{self, HeaderMap, StatusCode};
use ureq::unversioned::transport::DefaultConnector;

/// For a request and its answer. A receiver that takes longer gets the request again.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A receiver that asks for more patience is asked again after that.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Bytes of an answer that are kept of a refusal.
const ANSWER: u64 = 500;

pub(super) struct Http {
    agent: Agent,
    /// The beginning of the body.
    head: Vec<u8>,
    target: HttpTarget,
}

impl Http {
    pub fn new(sink: &str, target: &HttpTarget) -> Http {
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .max_redirects(0)
            .http_status_as_error(false)
            // A proxy of the environment would look names up itself.
            .proxy(None)
            .user_agent(concat!("headwater/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = match target.allow_private {
            true => config.new_agent(),
            false => Agent::with_parts(config, DefaultConnector::default(), PublicOnly::default()),
        };
        // Names of sinks need no escapes.
        Http { agent, head: format!("{{\"sink\":\"{sink}\",\"changes\":[").into_bytes(), target: target.clone() }
    }

    pub fn deliver(&self, changes: &[Change]) -> Outcome {
        let mut body = self.head.clone();
        let mut key = blake3::Hasher::new();
        for (index, change) in changes.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&change.json);
            key.update(change.key.as_bytes());
        }
        body.extend_from_slice(b"]}");
        // Of the same changes it is the same.
        let key = &key.finalize().to_hex()[..32];
        let mut request = self.agent.post(&self.target.url).header("content-type", "application/json");
        request = request.header("idempotency-key", key);
        for (name, value) in &self.target.headers {
            match header(value) {
                Ok(value) => request = request.header(name, value),
                Err(error) => return Outcome::Later { why: format!("the header `{name}`: {error}"), after: None },
            }
        }
        match request.send(&body[..]) {
            Ok(answer) => judge(answer),
            Err(error) => Outcome::Later { why: format!("post to {}: {error}", self.target.url), after: None },
        }
    }
}

fn judge(mut answer: http::Response<ureq::Body>) -> Outcome {
    let status = answer.status();
    let after = retry_after(answer.headers(), wall_ms());
    let mut text = Vec::new();
    // Of a body that breaks off, what has come.
    let _broken = answer.body_mut().as_reader().take(ANSWER).read_to_end(&mut text);
    if status.is_success() {
        return Outcome::Delivered;
    }
    let again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    if status.is_server_error() || again.contains(&status) {
        return Outcome::Later { why: format!("the receiver answers {status}"), after };
    }
    let message = String::from_utf8_lossy(&text).into_owned();
    Outcome::Refused { reason: format!("status_{}", status.as_u16()), message }
}

/// Parses `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap, now_ms: i64) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            Duration::from_millis(u64::try_from(date.as_millisecond().saturating_sub(now_ms)).unwrap_or(0))
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

fn header(value: &HeaderValue) -> io::Result<http::HeaderValue> {
    let text = match value {
        HeaderValue::Text(text) => text.clone(),
        HeaderValue::File(path) => {
            let failed = |error| io::Error::other(format!("read {}: {error}", path.display()));
            fs::read_to_string(path).map_err(failed)?
        }
    };
    let mut header = http::HeaderValue::from_str(text.trim()).map_err(|_| io::Error::other("no value of a header"))?;
    // No log shows it.
    header.set_sensitive(matches!(value, HeaderValue::File(_)));
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_told_in_seconds_or_as_a_date() {
        let cases = [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("99999999", Some(3600)),
            ("Tue, 14 Nov 2023 22:13:35 GMT", Some(15)),
            ("Tue, 14 Nov 2023 22:13:05 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ];
        for (text, expected) in cases {
            let headers = [(http::header::RETRY_AFTER, text.parse().unwrap())].into_iter().collect();
            let wait = retry_after(&headers, 1_700_000_000_000);
            assert_eq!(wait, expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), 0), None);
    }
}
