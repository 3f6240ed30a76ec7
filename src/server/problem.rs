//! Every answer that is no success: `{"error":{"code":"…","message":"…"}}` with its status. Codes are part of the
//! interface.

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

    /// The same request may succeed later. Nothing was stored, but where there was no space: see
    /// [`crate::intake::Intake::append`].
    pub(super) fn later(code: &'static str, message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, message).after(Duration::from_secs(1))
    }

    /// With the time after which it may be tried again.
    pub(super) fn after(self, wait: Duration) -> Problem {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// With the oldest tick that could be had.
    pub(super) fn since(mut self, oldest: u64) -> Problem {
        self.oldest = Some(oldest);
        self
    }

    pub(super) fn rejecting(mut self, rejected: Rejections) -> Problem {
        self.rejected = Some(Box::new(rejected));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let said = Said { code: self.code, message: &self.message, oldest: self.oldest };
        let text = Json(Text { error: said, rejected: self.rejected.as_deref() });
        (self.status, self.headers.into_iter().collect::<HeaderMap>(), text).into_response()
    }
}
