//! The parameters of a query string, each of which is known.

use super::problem::Problem;
use crate::config::nearest::nearest;
use axum::extract::Query;
use axum::http::{StatusCode, Uri};
use std::str::FromStr;

/// Names with their values, as they came.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// # Errors
    /// 400 if there is one that is not `known`.
    pub(super) fn of(uri: &Uri, known: &[&str]) -> Result<Parameters, Problem> {
        let wrong = |error| Problem::new(StatusCode::BAD_REQUEST, "query", format!("cannot read the query: {error}"));
        let Query(all) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(wrong)?;
        if let Some((name, _)) = all.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            let help = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", known.join(", ")),
            };
            let message = format!("there is no parameter `{name}`: {help}");
            return Err(Problem::new(StatusCode::BAD_REQUEST, "query", message));
        }
        Ok(Parameters(all))
    }

    /// The last one of a name.
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

/// A parameter that cannot be read.
pub(super) fn wrong(name: &'static str, value: &str, wanted: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, name, format!("`{name}` is {wanted}, not `{value}`"))
}
