//! The parameters of a query: in the query string of a `GET`, or as JSON in the body of a `POST`, which may be longer.
//! Unknown parameters are errors.

use super::problem::Problem;
use super::{Shared, body};
use crate::text::nearest::nearest;
use axum::body::Body;
use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use serde_json::{Map, Value};
use std::str::FromStr;

/// Bytes of the parameters of a `POST`; beyond that, 413. Workers evaluate filters, so they cannot be of any length.
const BODY_BYTES: usize = 256 << 10;

/// Names with their values, as they came.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads those of a `GET` from its query string, those of a `POST` from its body.
    ///
    /// # Errors
    /// 400 if they cannot be read or one is not `known`; those of [`body::read`].
    pub(super) async fn of(
        shared: &Shared,
        parts: &Parts,
        body: &mut Body,
        known: &[&str],
    ) -> Result<Parameters, Problem> {
        let all = if parts.method == Method::POST {
            if parts.uri.query().is_some_and(|query| !query.is_empty()) {
                return Err(bad("a POST has its parameters in the body, and none behind the path"));
            }
            let limit = BODY_BYTES.min(shared.services.plan.http.max_body);
            let held = body::read(body, limit, shared.bounds.body, &shared.bodies).await.map_err(|problem| {
                match problem.status {
                    StatusCode::PAYLOAD_TOO_LARGE => {
                        let message = format!("the parameters have more than {limit} bytes");
                        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
                    }
                    _ => problem,
                }
            })?;
            of_json(&held.bytes)?
        } else {
            let wrong = |error| bad(format!("cannot read the query: {error}"));
            Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(wrong)?.0
        };
        if let Some((name, _)) = all.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            let help = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", known.join(", ")),
            };
            return Err(bad(format!("there is no parameter `{name}`: {help}")));
        }
        Ok(Parameters(all))
    }

    /// Returns the last one of a name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).last()
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// # Errors
    /// 400 if it is there and cannot be read; `wanted` says what would be right.
    pub(super) fn parsed<T: FromStr>(&self, name: &'static str, wanted: &str) -> Result<Option<T>, Problem> {
        let parse = |value: &str| value.parse().map_err(|_| wrong(name, value, wanted));
        self.get(name).map(parse).transpose()
    }

    /// # Errors
    /// 400 if it is there and neither yes nor no.
    pub(super) fn flag(&self, name: &'static str) -> Result<Option<bool>, Problem> {
        let parse = |value: &str| match value {
            "true" | "1" | "" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(wrong(name, value, "true or false")),
        };
        self.get(name).map(parse).transpose()
    }
}

/// Returns the error for a parameter that cannot be read.
pub(super) fn wrong(name: &'static str, value: &str, wanted: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, name, format!("`{name}` is {wanted}, not `{value}`"))
}

/// Returns the members of an object: texts, numbers and flags; a list of keys, or of columns.
fn of_json(bytes: &[u8]) -> Result<Vec<(String, String)>, Problem> {
    let wrong = |error| bad(format!("the body is no JSON object with parameters: {error}"));
    let object: Map<String, Value> = serde_json::from_slice(bytes).map_err(wrong)?;
    let mut all = Vec::with_capacity(object.len());
    for (name, value) in object {
        match (name.as_str(), value) {
            ("key", Value::Array(keys)) => {
                for key in keys {
                    all.push((name.clone(), text(&name, key)?));
                }
            }
            ("columns", Value::Array(columns)) => {
                let columns: Result<Vec<String>, Problem> =
                    columns.into_iter().map(|column| text(&name, column)).collect();
                all.push((name, columns?.join(",")));
            }
            (_, value) => {
                let value = text(&name, value)?;
                all.push((name, value));
            }
        }
    }
    Ok(all)
}

fn text(name: &str, value: Value) -> Result<String, Problem> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(bad(format!("`{name}` is neither text nor a number nor true or false")))
        }
    }
}

fn bad(message: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "query", message)
}
