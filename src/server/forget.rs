//! `/v1/forget`: forgets a user, and lists who was forgotten. All of it needs the scope `admin`.

use super::Shared;
use super::body;
use super::problem::Problem;
use crate::observe::forgets::{Disk, ForgetListing, ForgetReport};
use crate::observe::status::Phase;
use crate::queue::forgets::Refused;
use crate::queue::intake::{Ticket, wall_ms};
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use dataflows::UserKey;
use headwater_decode::longest::bounded;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Bytes of a request.
const ASKED_BYTES: usize = 64 << 10;
/// A user who is not forgotten after so long is answered for all the same.
const PATIENCE: Duration = Duration::from_secs(10);

/// The body of `POST /v1/forget`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    user: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    partial: bool,
}

pub(super) async fn list(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<impl IntoResponse, Problem> {
    shared.access.caller(&headers)?.may_administer()?;
    let reports = shared.services.intake.forgets().reports();
    let listing = ForgetListing { forgets: reports.into_iter().map(|report| with_disk(&shared, report)).collect() };
    Ok(([(CACHE_CONTROL, "no-store")], Json(listing)))
}

pub(super) async fn ask(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    match begin(&shared, &parts.headers, &mut body).await {
        Ok(report) => (StatusCode::ACCEPTED, Json(report)).into_response(),
        Err(problem) => body::refuse(&parts.headers, &mut body, problem).await,
    }
}

/// Makes it durable, and waits for a while until the user is forgotten.
async fn begin(shared: &Arc<Shared>, headers: &HeaderMap, body: &mut Body) -> Result<ForgetReport, Problem> {
    shared.access.caller(headers)?.may_administer()?;
    match shared.services.status.phase() {
        Phase::Starting | Phase::Recovering => return Err(Problem::later("starting", "the process is starting")),
        Phase::Draining => return Err(Problem::later("draining", "the process is about to stop")),
        Phase::Ready => {}
    }
    let held = body::read(body, ASKED_BYTES, shared.bounds.body, &shared.bodies).await?;
    let wrong = |code, error: String| Problem::new(StatusCode::BAD_REQUEST, code, error);
    let described: Described = serde_json::from_slice(&held.bytes)
        .map_err(|error| wrong("body", format!("cannot read the request: {error}")))?;
    if described.user.is_empty() {
        return Err(wrong("user", Refused::Empty.to_string()));
    }
    // As events have it.
    let user = UserKey::of(&bounded(&described.user));
    let intake = &shared.services.intake;
    taken(shared).await?;
    let asked = intake.forgets().ask(user, described.reason, described.partial, wall_ms());
    let (forget, record) = asked.map_err(|refused| match refused {
        Refused::Empty | Refused::Reason => wrong("reason", refused.to_string()),
        Refused::Many => Problem::later("many", refused.to_string()),
    })?;
    record.into_iter().for_each(|record| intake.put_control(record));
    tracing::info!(forget, "a user is to be forgotten");
    let forgets = Arc::clone(intake.forgets());
    let settled = spawn_blocking(move || forgets.settled(forget, PATIENCE)).await.unwrap_or(None);
    let settled = settled.map(|report| with_disk(shared, report));
    settled.ok_or_else(|| Problem::later("storing", "it is not durable yet: ask again, it is the same request"))
}

/// Waits until all that was acknowledged by now is in the views: it goes too.
async fn taken(shared: &Shared) -> Result<(), Problem> {
    let readers = (0..).zip(shared.services.intake.readers());
    let last = readers.filter_map(|(part, reader)| Some(Ticket { part, offset: reader.durable().checked_sub(1)? }));
    let last: Vec<Ticket> = last.collect();
    let reads = &shared.services.reads;
    let mut upper = reads.upper();
    let all = upper.wait_for(|_| last.iter().all(|ticket| reads.has(*ticket)));
    let behind = || Problem::later("behind", "too many events wait to be processed: ask again later");
    timeout(PATIENCE, all).await.map_or_else(|_| Err(behind()), |_| Ok(()))
}

/// Adds what is still on disk.
fn with_disk(shared: &Shared, mut report: ForgetReport) -> ForgetReport {
    let Some(at) = report.forgotten_ms else { return report };
    let plan = &shared.services.plan;
    let landed = shared.services.intake.forgets().has_landed(report.forget);
    let until = plan.landing.as_ref().zip(landed);
    let until = until.map(|(landing, landed)| landed.at_ms.saturating_add(landing.vacuum_after.as_millis() as i64));
    let age = plan.log.retention.ms;
    report.disk = Some(Disk {
        landed_rows: landed.map(|landed| landed.rows),
        landed_files: landed.map(|landed| landed.files),
        landing_until_ms: until,
        landing_waits: plan.landing.is_some() && landed.is_none(),
        outputs_until_ms: Some(at.saturating_add(age)).filter(|_| age < i64::MAX),
    });
    report
}
