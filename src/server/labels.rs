//! `/v1/labels`: gives classes to shapes, and takes them back. All of it needs the scope `admin`.

use super::Shared;
use super::body;
use super::collect::refused;
use super::problem::Problem;
use super::rules::{asking, patiently};
use crate::observe::labels::{LabelChanged, LabelsReport};
use crate::queue::control::Control;
use crate::queue::intake::wall_ms;
use crate::queue::labels::{Asked, Refused, Step};
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Bytes of a body: the name of a class.
const CLASS_BYTES: usize = 4 << 10;
/// A label of which no tick is published after so long is answered all the same.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn list(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<impl IntoResponse, Problem> {
    shared.access.caller(&headers)?.may_administer()?;
    let report = LabelsReport { labels: shared.services.labels.reports() };
    Ok(([(CACHE_CONTROL, "no-store")], Json(report)))
}

pub(super) async fn put(State(shared): State<Arc<Shared>>, Path(shape): Path<String>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let labelled = async {
        let (_, by, _) = asking(&shared, &parts.headers, &parts.uri)?;
        let held = body::read(&mut body, CLASS_BYTES, shared.bounds.body, &shared.bodies).await?;
        let class = str::from_utf8(&held.bytes).map_err(|_| problem(&Refused::Class))?;
        change(&shared, shape, Some(class.trim().to_owned()), by).await
    };
    match labelled.await {
        Ok(changed) => Json(changed).into_response(),
        Err(problem) => body::refuse(&parts.headers, &mut body, problem).await,
    }
}

pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Path(shape): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<impl IntoResponse, Problem> {
    let (_, by, _) = asking(&shared, &headers, &uri)?;
    change(&shared, shape, None, by).await.map(Json)
}

async fn change(
    shared: &Arc<Shared>,
    shape: String,
    class: Option<String>,
    by: String,
) -> Result<LabelChanged, Problem> {
    let labels = &shared.services.labels;
    let ask = || labels.change(&shape, class.as_deref(), &by, wall_ms());
    let asked = patiently(ask, |refused| *refused == Refused::Busy).await.map_err(|refused| problem(&refused))?;
    let none = LabelChanged {
        shape: shape.clone(),
        class: class.clone(),
        changed: false,
        tick: None,
        sessions: None,
        events: None,
    };
    let Asked::Step(step) = asked else { return Ok(none) };
    let offset = store(shared, step).await?;
    let effect = timeout(PATIENCE, labels.effect(offset)).await.ok().flatten();
    Ok(LabelChanged {
        changed: true,
        tick: effect.map(|effect| effect.tick),
        sessions: effect.map(|effect| effect.sessions),
        events: effect.map(|effect| effect.events),
        ..none
    })
}

/// Makes a label durable. Returns its offset in the control partition.
async fn store(shared: &Shared, step: Step) -> Result<u64, Problem> {
    let record = Control::Label { label: step.label.clone() }.encode();
    let (durable, becomes) = oneshot::channel();
    let then = move |offset| {
        step.durable();
        // The client may have left.
        let _ = durable.send(offset);
    };
    shared.services.intake.change(record, Box::new(then)).map_err(|refusal| refused(shared, refusal))?;
    let lost = "the process ends: the label may hold after the next start";
    becomes.await.map_err(|_| Problem::later("draining", lost))
}

fn problem(refused: &Refused) -> Problem {
    let because = |status, code| Problem::new(status, code, refused.to_string());
    match refused {
        Refused::Shape(_) => because(StatusCode::BAD_REQUEST, "shape"),
        Refused::Class | Refused::Reserved(_) => because(StatusCode::BAD_REQUEST, "class"),
        Refused::Many => because(StatusCode::CONFLICT, "many"),
        Refused::Busy => Problem::later("busy", refused.to_string()),
    }
}
