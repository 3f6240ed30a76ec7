//! `GET /v1/collections`: lists the collections.

use super::Shared;
use super::access::Caller;
use super::problem::Problem;
use crate::collections::Collection;
use crate::observe::status::Phase;
use crate::plan::SequencePlan;
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn list(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<impl IntoResponse, Problem> {
    let caller = shared.access.caller(&headers)?;
    let subscriptions = &shared.services.subscriptions;
    let (since, upper) = (subscriptions.outputs.oldest(), subscriptions.outputs.upper());
    let sequences = || shared.services.plan.sequences.iter().map(sequence).collect::<Vec<_>>();
    let entry = |collection: Collection| {
        let mut entry = json!({
            "name": collection.name(),
            "kind": collection.kind(),
            "key": collection.key(),
            "schema": subscriptions.schemas.of(collection).json(),
            "since": since,
            "upper": upper,
        });
        if Collection::OF_SEQUENCES.contains(&collection) {
            entry["sequences"] = sequences().into();
        }
        entry
    };
    let readable = subscriptions.schemas.collections().filter(|collection| caller.may_read(collection.name()).is_ok());
    let collections: Vec<Value> = readable.map(entry).collect();
    Ok(([(CACHE_CONTROL, "no-store")], Json(json!({ "collections": collections }))))
}

/// What the rows of a sequence do not say: its steps in their order.
fn sequence(plan: &SequencePlan) -> Value {
    let steps = plan.schema().steps.into_iter().zip(&plan.spec.steps).zip(plan.definition.is_optional());
    let steps = steps.map(|((step, class), optional)| json!({ "step": step, "class": class, "optional": optional }));
    json!({ "name": plan.name, "within_us": plan.definition.within(), "steps": steps.collect::<Vec<_>>() })
}

/// The name of a collection in a path.
pub(super) struct Name(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Name, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Name(name)),
            Err(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "request", "the path is not in UTF-8")),
        }
    }
}

/// Returns the collection of this name, if the caller may read it now.
///
/// # Errors
/// 403, 404, 429, 503.
pub(super) fn find(shared: &Shared, caller: &Caller, name: &str) -> Result<Collection, Problem> {
    let schemas = &shared.services.subscriptions.schemas;
    let Some(collection) = schemas.named(name) else {
        let known: Vec<_> = schemas.collections().map(Collection::name).collect();
        let message = format!("there is no such collection, but {}", known.join(", "));
        return Err(Problem::new(StatusCode::NOT_FOUND, "collection", message));
    };
    caller.may_read(collection.name())?;
    caller.charge()?;
    match shared.services.status.phase() {
        Phase::Starting | Phase::Recovering => Err(Problem::later("starting", "the process is starting")),
        Phase::Draining => Err(Problem::later("draining", "the process is about to stop")),
        Phase::Ready => Ok(collection),
    }
}

/// As [`find`], of a view: a journal holds no rows.
///
/// # Errors
/// As [`find`]; 400.
pub(super) fn find_view(shared: &Shared, caller: &Caller, name: &str) -> Result<Collection, Problem> {
    let collection = find(shared, caller, name)?;
    if !collection.is_view() {
        let message = "a journal holds no rows: follow its changes";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "collection", message));
    }
    Ok(collection)
}
