//! `/v1/backfills`: takes history in chunks, each of which is durable and in the views before it is answered, and says how
//! far each backfill is. All of it needs the scope `admin`: history may be of any time.

use super::Shared;
use super::body;
use super::collect::refused;
use super::collections::Name;
use super::problem::Problem;
use crate::collections::place::{DELIVERY_BYTES, SourceIndex};
use crate::observe::backfills::{Changed, Listed, Listing};
use crate::observe::status::Phase;
use crate::plan::SourcePlan;
use crate::queue::backfills::{Advance, Asked, Opening, Refused, Step, settings};
use crate::queue::cursor::{Amount, BackfillPlace, Cursor};
use crate::queue::delivery::Delivery;
use crate::queue::intake::{Ticket, wall_ms};
use crate::queue::numbers::SourceNumber;
use axum::Json;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use headwater_decode::framing::Framing;
use headwater_decode::spec::Format;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// Bytes of the description of a backfill.
const OPENING_BYTES: usize = 64 << 10;
/// Bytes of a chunk: of its events, and of what says how to read them.
const CHUNK_BYTES: usize = DELIVERY_BYTES + (2 << 20);
/// A chunk that is not in the views after so long is answered all the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// Another request of a backfill is stored within this time, or the client has to try again.
const STORING: Duration = Duration::from_secs(2);

/// The body of `POST /v1/backfills`.
#[derive(Deserialize)]
struct Described {
    name: String,
    source: String,
    /// Hexadecimal digits.
    content: String,
    files: u32,
    records: u64,
    bytes: u64,
    settings: String,
}

/// The query of a chunk.
#[derive(Deserialize)]
struct Behind {
    lease: String,
    after_file: u32,
    after: u64,
    file: u32,
    to: u64,
    from: u64,
    records: u64,
    bytes: u64,
    #[serde(default)]
    last: bool,
}

pub(super) async fn list(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<impl IntoResponse, Problem> {
    check(&shared, &headers)?;
    let plan = &shared.services.plan;
    let listed = |source: &SourcePlan| Listed { name: source.name.clone(), settings: settings(plan, source) };
    let sources = plan.sources.iter().map(listed).collect();
    let listing = Listing { sources, backfills: shared.services.backfills.reports() };
    Ok(([(CACHE_CONTROL, "no-store")], Json(listing)))
}

pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Name(name): Name,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    check(&shared, &headers)?;
    let report = shared.services.backfills.report(&name).ok_or_else(|| problem(&Refused::Unknown(name)))?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(report)))
}

pub(super) async fn open(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    match begin(&shared, &parts.headers, &mut body).await {
        Ok(changed) => (StatusCode::ACCEPTED, Json(changed)).into_response(),
        Err(problem) => body::refuse(&parts.headers, &mut body, problem).await,
    }
}

async fn begin(shared: &Arc<Shared>, headers: &HeaderMap, body: &mut Body) -> Result<Changed, Problem> {
    check(shared, headers)?;
    is_ready(shared)?;
    let held = body::read(body, OPENING_BYTES, shared.bounds.body, &shared.bodies).await?;
    let wrong = |error: String| Problem::new(StatusCode::BAD_REQUEST, "body", error);
    let described: Described =
        serde_json::from_slice(&held.bytes).map_err(|error| wrong(format!("cannot read the backfill: {error}")))?;
    let content = u128::from_str_radix(&described.content, 16);
    let content = content.map_err(|_| wrong("`content` has hexadecimal digits".into()))?;
    let plan = &shared.services.plan;
    let Some(source) = plan.sources.iter().find(|source| source.name == described.source) else {
        let names: Vec<_> = plan.sources.iter().map(|source| format!("`{}`", source.name)).collect();
        let message = format!("the engine has no source `{}`, but {}", described.source, names.join(", "));
        return Err(Problem::new(StatusCode::NOT_FOUND, "source", message));
    };
    if described.settings != settings(plan, source) {
        let message = format!(
            "the engine reads `{}` with other settings than the client: give the configuration that it runs with",
            source.name
        );
        return Err(Problem::new(StatusCode::CONFLICT, "settings", message));
    }
    let opening = Opening {
        name: described.name,
        source: described.source,
        content: [(content >> 64) as u64, content as u64],
        files: described.files,
        all: Amount { records: described.records, bytes: described.bytes },
    };
    let (lease, asked) = patiently(|| shared.services.backfills.open(&opening, wall_ms())).await?;
    let number = number(shared, &opening.source)?;
    settle(shared, number, asked, empty(number)).await?;
    tracing::info!(backfill = opening.name, source = opening.source, "a client goes on with a backfill");
    changed(shared, &opening.name, Some(lease))
}

pub(super) async fn chunk(State(shared): State<Arc<Shared>>, Name(name): Name, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    match take(&shared, &name, &parts.headers, &parts.uri, &mut body).await {
        Ok(changed) => (StatusCode::ACCEPTED, Json(changed)).into_response(),
        Err(problem) => body::refuse(&parts.headers, &mut body, problem).await,
    }
}

async fn take(
    shared: &Arc<Shared>,
    name: &str,
    headers: &HeaderMap,
    uri: &Uri,
    body: &mut Body,
) -> Result<Changed, Problem> {
    check(shared, headers)?;
    is_ready(shared)?;
    let behind: Behind = query(uri)?;
    let held = body::read(body, CHUNK_BYTES, shared.bounds.body, &shared.bodies).await?;
    let is_chunk =
        |chunk: &Delivery<'_>| chunk.cursors.is_empty() && !chunk.messages && chunk.events.len() <= DELIVERY_BYTES;
    let wrong = || Problem::new(StatusCode::BAD_REQUEST, "chunk", "the body is no chunk that this version knows");
    if !Delivery::decode(&held.bytes).is_some_and(|chunk| is_chunk(&chunk)) {
        return Err(wrong());
    }
    let chunk = Advance {
        after: BackfillPlace { file: behind.after_file, offset: behind.after },
        to: BackfillPlace { file: behind.file, offset: behind.to },
        from: behind.from,
        records: behind.records,
        bytes: behind.bytes,
        last: behind.last,
    };
    let asked = patiently(|| shared.services.backfills.advance(name, &behind.lease, chunk)).await?;
    let report = shared.services.backfills.report(name).ok_or_else(|| problem(&Refused::Unknown(name.into())))?;
    let number = number(shared, &report.source)?;
    let bytes = held.bytes.len() as u64;
    let ticket = settle(shared, number, asked, held.bytes).await?;
    if let Some(ticket) = ticket {
        shared.services.metrics.backfilled(behind.records, bytes);
        // What is published is an answer to how much the engine bears.
        let reads = &shared.services.reads;
        let mut upper = reads.upper();
        let _late = timeout(PATIENCE, upper.wait_for(|_| reads.has(ticket))).await;
    }
    changed(shared, name, None)
}

pub(super) async fn pause(
    State(shared): State<Arc<Shared>>,
    Name(name): Name,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    set(&shared, &name, &headers, true).await
}

pub(super) async fn resume(
    State(shared): State<Arc<Shared>>,
    Name(name): Name,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    set(&shared, &name, &headers, false).await
}

async fn set(
    shared: &Arc<Shared>,
    name: &str,
    headers: &HeaderMap,
    pauses: bool,
) -> Result<impl IntoResponse + use<>, Problem> {
    check(shared, headers)?;
    is_ready(shared)?;
    let report = shared.services.backfills.report(name).ok_or_else(|| problem(&Refused::Unknown(name.into())))?;
    let number = number(shared, &report.source)?;
    let asked = patiently(|| shared.services.backfills.pause(name, pauses)).await?;
    settle(shared, number, asked, empty(number)).await?;
    tracing::info!(backfill = name, pauses, "a backfill was paused or resumed");
    Ok((StatusCode::ACCEPTED, Json(changed(shared, name, None)?)))
}

/// No event can be taken back out of the views: they hold sums of events, and not the events.
pub(super) async fn cancel(
    State(shared): State<Arc<Shared>>,
    Name(name): Name,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check(&shared, &headers)?;
    shared.services.backfills.report(&name).ok_or_else(|| problem(&Refused::Unknown(name)))?;
    let message =
        "a backfill cannot be cancelled: events that are in cannot be taken back. Pause it, and no others come";
    Err(Problem::new(StatusCode::CONFLICT, "cancel", message))
}

/// # Errors
/// 401, 403.
fn check(shared: &Shared, headers: &HeaderMap) -> Result<(), Problem> {
    shared.access.caller(headers)?.may_administer()
}

/// # Errors
/// 503.
fn is_ready(shared: &Shared) -> Result<(), Problem> {
    match shared.services.status.phase() {
        Phase::Starting | Phase::Recovering => Err(Problem::later("starting", "the process is starting")),
        Phase::Draining => Err(Problem::later("draining", "the process is about to stop")),
        Phase::Ready => Ok(()),
    }
}

fn query<Q: DeserializeOwned>(uri: &Uri) -> Result<Q, Problem> {
    let wrong = |error| Problem::new(StatusCode::BAD_REQUEST, "query", format!("cannot read the query: {error}"));
    Query::try_from_uri(uri).map(|Query(query)| query).map_err(wrong)
}

/// Returns the number of a source in deliveries.
fn number(shared: &Shared, source: &str) -> Result<SourceNumber, Problem> {
    let found = (0..).map(SourceIndex).zip(&shared.services.plan.sources).find(|(_, plan)| plan.name == source);
    let message = || format!("the configuration of the engine has no source `{source}` any more");
    let (index, _) = found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "source", message()))?;
    Ok(shared.services.sources.number(index))
}

/// Returns a delivery without events.
fn empty(source: SourceNumber) -> Vec<u8> {
    let (format, framing, header, cursors) = (Format::Json, Framing::Lines, None, Vec::new());
    Delivery { source, format, framing, messages: false, header, cursors, events: b"" }.encode()
}

/// Asks again while another request of the backfill is stored.
async fn patiently<A>(mut ask: impl FnMut() -> Result<A, Refused>) -> Result<A, Problem> {
    let stored = async {
        loop {
            match ask() {
                Err(Refused::Busy) => sleep(Duration::from_millis(2)).await,
                answer => return answer,
            }
        }
    };
    timeout(STORING, stored).await.unwrap_or(Err(Refused::Busy)).map_err(|refused| problem(&refused))
}

/// Makes a step durable with `chunk`, the bytes of a delivery. Returns where that lies, if it has been stored now.
async fn settle(
    shared: &Arc<Shared>,
    source: SourceNumber,
    asked: Asked,
    chunk: Vec<u8>,
) -> Result<Option<Ticket>, Problem> {
    let Asked::Step(step) = asked else { return Ok(None) };
    let of_task = Arc::clone(shared);
    // It goes on when the client leaves: what has been handed in becomes durable in any case.
    let stored = spawn_blocking(move || store(&of_task, source, step, &chunk)).await;
    stored.unwrap_or_else(|error| {
        tracing::error!(%error, "a request failed");
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request failed"))
    })
}

fn store(shared: &Shared, source: SourceNumber, step: Step, chunk: &[u8]) -> Result<Option<Ticket>, Problem> {
    let Some(chunk) = Delivery::decode(chunk) else { return Ok(None) };
    let cursors = vec![Cursor::Backfill(Box::new(step.cursor.clone()))];
    let intake = &shared.services.intake;
    // One part for all, so that chunks keep their order.
    let part = u32::from(source.0) % intake.parts().len() as u32;
    let ticket = intake.append_to(part, &Delivery { source, cursors, ..chunk });
    let ticket = ticket.map_err(|refusal| refused(shared, refusal))?;
    step.taken();
    Ok(Some(ticket))
}

fn changed(shared: &Shared, name: &str, lease: Option<String>) -> Result<Changed, Problem> {
    let report = shared.services.backfills.report(name).ok_or_else(|| problem(&Refused::Unknown(name.into())))?;
    Ok(Changed { report, lease })
}

fn problem(refused: &Refused) -> Problem {
    let conflict = |code| Problem::new(StatusCode::CONFLICT, code, refused.to_string());
    match refused {
        Refused::Unknown(_) => Problem::new(StatusCode::NOT_FOUND, "backfill", refused.to_string()),
        Refused::Name => Problem::new(StatusCode::BAD_REQUEST, "name", refused.to_string()),
        Refused::Other(_) => conflict("other_files"),
        Refused::Same(_) => conflict("same_files"),
        Refused::Many => conflict("many"),
        Refused::Paused(_) => conflict("paused"),
        Refused::Done(_) => conflict("done"),
        Refused::Lease(_) => conflict("lease"),
        Refused::Closed(_) => conflict("closed"),
        Refused::Place => conflict("place"),
        Refused::Busy => Problem::later("busy", refused.to_string()),
    }
}
