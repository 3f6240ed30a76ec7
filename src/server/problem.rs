//! Every error answer: `{"error":{"code":"…","message":"…"}}` with its status. Codes are part of the interface.

use super::check::Rejections;
use axum::Json;
use axum::http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    rejected: Option<Box<Rejections>>,
    oldest: Option<u64>,
}

#[derive(Serialize)]
struct Text<'p> {
    error: Said<'p>,
    #[serde(flatten)]
    rejected: Option<&'p Rejections>,
}

#[derive(Serialize)]
struct Said<'p> {
    code: &'static str,
    message: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Problem {
        Problem { status, code, message: message.into(), headers: Vec::new(), rejected: None, oldest: None }
    }

    /// Returns an error after which the same request may succeed later. Nothing was stored, except where there was no
    /// space: see [`crate::queue::intake::Intake::append`].
    pub(super) fn later(code: &'static str, message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, message).after(Duration::from_secs(1))
    }

    /// Adds the time after which a client may try again.
    pub(super) fn after(self, wait: Duration) -> Problem {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// Adds the oldest tick that can be read.
    pub(super) fn since(mut self, oldest: u64) -> Problem {
        self.oldest = Some(oldest);
        self
    }

    pub(super) fn rejecting(mut self, rejected: Rejections) -> Problem {
        self.rejected = Some(Box::new(rejected));
        self
    }
}

impl Problem {
    fn text(&self) -> Text<'_> {
        let error = Said { code: self.code, message: &self.message, oldest: self.oldest };
        Text { error, rejected: self.rejected.as_deref() }
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let headers: HeaderMap = std::mem::take(&mut self.headers).into_iter().collect();
        (self.status, headers, Json(self.text())).into_response()
    }
}

/// Returns the answer, from its first byte to its last, that stands for one of hyper: to a head that it could not read
/// it says nothing but the status. `None`: it is another answer.
pub(super) fn of_parser(answer: &[u8]) -> Option<Vec<u8>> {
    const EMPTY: &str = "\r\ncontent-length: 0\r\n";
    let status = answer.strip_prefix(b"HTTP/1.1 ")?.first_chunk::<3>()?;
    let (code, message) = match status {
        b"400" => ("request", "this is no request of HTTP/1.1 that can be read"),
        b"414" => ("uri_too_long", "the address has more than 65,534 bytes: `POST` takes a long query as its body"),
        b"431" => ("head_too_large", "the head of the request has more than 64 fields, or more than 64 KiB"),
        _ => return None,
    };
    let (head, _) = std::str::from_utf8(answer).ok()?.split_once("\r\n\r\n").filter(|(_, body)| body.is_empty())?;
    let head = format!("{head}\r\n");
    let problem = Problem::new(StatusCode::from_bytes(status).ok()?, code, message);
    let text = serde_json::to_string(&problem.text()).ok()?;
    let (before, after) = head.split_once(EMPTY)?;
    let length = text.len();
    Some(format!("{before}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{after}\r\n{text}").into())
}
