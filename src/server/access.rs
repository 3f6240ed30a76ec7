//! Access: bearer tokens, their scopes and rates, and the web pages that may post.

use super::problem::Problem;
use super::rate::Bucket;
use crate::config::tokens::{Scope, Token};
use crate::plan::HttpPlan;
use axum::http::header::{AUTHORIZATION, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};
use std::time::Instant;
use subtle::ConstantTimeEq;

pub(super) struct Access {
    /// `None`: no client needs a token.
    callers: Option<Vec<Caller>>,
    anonymous: Caller,
    origins: Vec<String>,
}

/// The holder of one token.
pub(super) struct Caller {
    /// `None`: all who come without one.
    token: Option<Token>,
    bucket: Option<Bucket>,
}

impl Access {
    pub(super) fn new(tokens: Option<Vec<Token>>, http: &HttpPlan) -> Access {
        let caller = |token| Caller { token, bucket: http.rate.map(Bucket::new) };
        Access {
            callers: tokens.map(|tokens| tokens.into_iter().map(|token| caller(Some(token))).collect()),
            anonymous: caller(None),
            origins: http.origins.clone(),
        }
    }

    /// Returns the sender of a request with these headers.
    ///
    /// # Errors
    /// 401 if the sender is unknown; 403 for a web page that may not send any.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<&Caller, Problem> {
        // Browsers send simple requests to anywhere, without asking first. Without this, any page that a developer
        // visits could post to their own machine.
        let foreign = |origin: &HeaderValue| !self.origins.iter().any(|known| known.as_bytes() == origin.as_bytes());
        if headers.get(ORIGIN).is_some_and(foreign) {
            let message = "web pages of this origin may not use the server; `origins` of [http] lists those that may";
            return Err(Problem::new(StatusCode::FORBIDDEN, "origin", message));
        }
        let Some(callers) = &self.callers else { return Ok(&self.anonymous) };
        let Some(token) = headers.get(AUTHORIZATION).and_then(bearer) else {
            return Err(unauthorized("Bearer realm=\"headwater\"", "send a token: `Authorization: Bearer TOKEN`"));
        };
        let sha256 = Sha256::digest(token);
        // All are compared, each in constant time: how long it takes says nothing about what they are.
        let mut found = None;
        for caller in callers {
            if caller.token.as_ref().is_some_and(|token| token.sha256.ct_eq(&sha256).into()) {
                found = Some(caller);
            }
        }
        let realm = "Bearer realm=\"headwater\", error=\"invalid_token\"";
        found.ok_or_else(|| unauthorized(realm, "the token is not known here"))
    }
}

impl Caller {
    /// Returns the name of the token.
    pub(super) fn name(&self) -> &str {
        self.token.as_ref().map_or("", |token| &token.name)
    }

    /// # Errors
    /// 403.
    pub(super) fn may_ingest(&self, source: &str) -> Result<(), Problem> {
        let fits =
            |scope: &Scope| matches!(scope, Scope::Ingest(name) if name.as_deref().is_none_or(|name| name == source));
        self.may(fits, &format!("ingest:{source}"))
    }

    /// # Errors
    /// 403.
    pub(super) fn may_read(&self, collection: &str) -> Result<(), Problem> {
        let fits = |scope: &Scope| matches!(scope, Scope::Subscribe(name) if name.as_deref().is_none_or(|name| name == collection));
        self.may(fits, &format!("subscribe:{collection}"))
    }

    /// # Errors
    /// 403.
    pub(super) fn may_administer(&self) -> Result<(), Problem> {
        self.may(|scope| *scope == Scope::Admin, "admin")
    }

    fn may(&self, fits: impl Fn(&Scope) -> bool, wanted: &str) -> Result<(), Problem> {
        let Some(token) = self.token.as_ref().filter(|token| !token.scopes.iter().any(fits)) else { return Ok(()) };
        let message = format!("the token `{}` lacks the scope `{wanted}`", token.name);
        Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", message))
    }

    /// Counts one request.
    ///
    /// # Errors
    /// 429.
    pub(super) fn charge(&self) -> Result<(), Problem> {
        let Some(wait) = self.bucket.as_ref().and_then(|bucket| bucket.take(Instant::now()).err()) else {
            return Ok(());
        };
        let message = "more requests than `rate` of [http] allows";
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate", message).after(wait))
    }
}

fn unauthorized(challenge: &'static str, message: &str) -> Problem {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", message);
    problem.header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

/// Returns the token of `Bearer TOKEN`.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii()).filter(|token| !token.is_empty())
}
