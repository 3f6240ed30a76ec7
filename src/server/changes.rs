//! `GET` or `POST /v1/collections/{name}/changes`: follows a collection.

use super::collections::{self, Name};
use super::connections::Peer;
use super::parameters::{Parameters, wrong};
use super::problem::Problem;
use super::{Shared, body};
use crate::collections::{Collection, Held};
use crate::read::reads::{Unreadable, Wanted};
use crate::read::subscribe::frame::Encoding;
use crate::read::subscribe::query::{self, Envelope, Query, QueryError};
use crate::read::subscribe::snapshot;
use crate::read::subscribe::subscriber::{Start, Subscriber};
use crate::read::subscribe::token::Mistaken;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use dataflows::Tick;
use futures_util::stream;
use headwater_log::histories::StartId;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The header with which a browser's EventSource resumes.
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

const PARAMETERS: [&str; 10] =
    ["snapshot", "envelope", "filter", "key", "columns", "token", "heartbeat", "from", "history", "until"];
/// Progress is said so often, in seconds, unless it is asked for otherwise.
const HEARTBEAT: f64 = 5.0;
/// Pieces that wait to be written to a client, beside what its connection holds.
const PIECES: usize = 1;

pub(super) async fn serve(State(shared): State<Arc<Shared>>, Name(name): Name, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    match answer(&shared, &name, &parts, &mut body).await {
        Ok(response) => response,
        Err(problem) => body::refuse(&parts.headers, &mut body, problem).await,
    }
}

async fn answer(shared: &Arc<Shared>, name: &str, parts: &Parts, body: &mut Body) -> Result<Response, Problem> {
    let headers = &parts.headers;
    let collection = collections::find(shared, shared.access.caller(headers)?, name)?;
    let mut states = shared.services.plan.states.iter();
    if collection.held() == Held::State && !states.any(|state| state.changes && state.schema.collection() == collection)
    {
        let message =
            "the changes of this state are not published: add changes = true to its [[state]], or read its rows";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "collection", message));
    }
    let parameters = Parameters::of(shared, parts, body, &PARAMETERS).await?;
    let subscriptions = &shared.services.subscriptions;
    let query = Arc::new(query_of(shared, collection, &parameters)?);
    let encoding = encoding(headers);
    let seconds = parameters.parsed("heartbeat", "a number of seconds")?.unwrap_or(HEARTBEAT);
    let heartbeat = Some(seconds).filter(|seconds| (0.1..=3600.0).contains(seconds));
    let heartbeat = heartbeat.ok_or_else(|| wrong("heartbeat", &seconds.to_string(), "from 0.1 to 3600 seconds"))?;
    let upper = subscriptions.outputs.upper();
    let until = match parameters.get("until") {
        None => None,
        Some("caught_up") => Some(upper),
        Some(other) => return Err(wrong("until", other, "caught_up")),
    };
    let last_event_id = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let token = last_event_id.or(parameters.get("token"));
    let from: Option<Tick> = parameters.parsed("from", "the number of a tick")?;
    of_history(shared, &parameters, from)?;
    let snapshot = parameters.flag("snapshot")?;
    let start = match (token, from) {
        // A client that resumes already has the rows of a snapshot.
        (Some(token), _) => Start::From(resumed(shared, token, &query, upper)?),
        (None, Some(from)) if snapshot == Some(true) => {
            let message = format!("a snapshot is of now: leave out `snapshot`, or `from={from}`");
            return Err(Problem::new(StatusCode::BAD_REQUEST, "from", message));
        }
        (None, Some(from)) => Start::From(kept(shared, from, upper)?),
        (None, None) if snapshot == Some(true) && !collection.is_view() => {
            let message = "a journal has no snapshot: follow it from a tick, as in `from=0`";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "snapshot", message));
        }
        (None, None) if snapshot.unwrap_or(collection.is_view()) => take_snapshot(shared, &query, encoding).await?,
        (None, None) => Start::From(upper),
    };
    if let Some(peer) = parts.extensions.get::<Peer>() {
        peer.wait(shared.bounds.idle);
    }
    let (client, pieces) = mpsc::channel::<Bytes>(PIECES);
    let subscriber = Subscriber {
        subscriptions: Arc::clone(subscriptions),
        query,
        encoding,
        heartbeat: Duration::from_secs_f64(heartbeat),
        upper,
        until,
        client,
    };
    tokio::spawn(subscriber.run(start));
    let pieces = stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((Ok::<_, Infallible>(piece), pieces))
    });
    let headers = [
        (CONTENT_TYPE, encoding.media_type()),
        (CACHE_CONTROL, "no-store"),
        // Proxies are asked to pass on what there is.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// Returns the query of the parameters.
///
/// # Errors
/// 400.
pub(super) fn query_of(shared: &Shared, collection: Collection, parameters: &Parameters) -> Result<Query, Problem> {
    let envelope = match parameters.get("envelope") {
        None | Some("diff") => Envelope::Diff,
        Some("upsert") => Envelope::Upsert,
        Some(other) => return Err(wrong("envelope", other, "diff or upsert")),
    };
    let asked = query::Parameters {
        filter: parameters.get("filter").map(str::to_owned),
        keys: parameters.all("key").map(str::to_owned).collect(),
        columns: parameters.get("columns").map(str::to_owned),
        envelope,
    };
    let bad = |QueryError { code, message }| Problem::new(StatusCode::BAD_REQUEST, code, message);
    Query::new(shared.services.subscriptions.schemas.of(collection), &asked).map_err(bad)
}

fn encoding(headers: &HeaderMap) -> Encoding {
    let events = |value: &axum::http::HeaderValue| {
        value.to_str().is_ok_and(|value| value.to_ascii_lowercase().contains("text/event-stream"))
    };
    if headers.get_all(ACCEPT).iter().any(events) { Encoding::Events } else { Encoding::Lines }
}

/// Returns the tick that a token goes on with.
///
/// # Errors
/// 400, 409, 410.
fn resumed(shared: &Shared, token: &str, query: &Query, upper: Tick) -> Result<Tick, Problem> {
    let conflict = |code, message: &str| Problem::new(StatusCode::CONFLICT, code, message);
    let tick = shared.services.subscriptions.tokens.decode(token, query).map_err(|mistaken| match mistaken {
        Mistaken::Invalid => Problem::new(StatusCode::BAD_REQUEST, "token", "this is no resume token of this cluster"),
        Mistaken::Program => {
            conflict("program_changed", "what the token speaks of was computed otherwise: begin again with a snapshot")
        }
        Mistaken::History => other_history(
            "what the token speaks of happened in another copy of this data folder, as before a backup was restored: \
             begin again with a snapshot",
        ),
        Mistaken::Query => conflict(
            "other_query",
            "the token is of another collection, filter, key, envelope or of other columns: ask as you did then",
        ),
    })?;
    if tick > upper {
        return Err(conflict("token_ahead", "the token is of a time that this cluster has not seen: begin again"));
    }
    kept(shared, tick, upper)
}

/// Says that what a client knows is not of the history that is here.
pub(super) fn other_history(message: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, "other_history", message)
}

/// Checks the parameter `history`, if there is one: what an answer said beside a tick. `upper`: the tick after that.
///
/// # Errors
/// 400, 409.
pub(super) fn of_history(shared: &Shared, parameters: &Parameters, upper: Option<Tick>) -> Result<(), Problem> {
    let Some(history) = parameters.get("history") else { return Ok(()) };
    let start = StartId::parse(history).ok_or_else(|| wrong("history", history, "what an answer said"))?;
    match upper {
        None => Err(wrong("history", history, "given with the tick that came with it")),
        Some(upper) if shared.services.subscriptions.tokens.histories.has_ticks(start, upper) => Ok(()),
        Some(_) => Err(other_history("that tick is not of the history of this data folder: begin again")),
    }
}

/// Returns a tick from which on all changes can be had.
///
/// # Errors
/// 400, 410.
fn kept(shared: &Shared, tick: Tick, upper: Tick) -> Result<Tick, Problem> {
    let oldest = shared.services.subscriptions.outputs.oldest();
    if tick > upper {
        return Err(wrong("from", &tick.to_string(), &format!("at most {upper}, the next tick")));
    }
    if tick < oldest {
        let message = format!("the changes before tick {oldest} are not kept any more: begin again with a snapshot");
        return Err(Problem::new(StatusCode::GONE, "token_expired", message).since(oldest));
    }
    Ok(tick)
}

async fn take_snapshot(shared: &Arc<Shared>, query: &Arc<Query>, encoding: Encoding) -> Result<Start, Problem> {
    let services = &shared.services;
    let turn = timeout(shared.bounds.snapshot_turn, Arc::clone(&shared.snapshots).acquire_owned()).await;
    let busy = || Problem::later("busy", "too many snapshots are being taken");
    let permit = turn.map_err(|_| busy())?.map_err(|_| busy())?;
    let schema = services.subscriptions.schemas.of(query.collection);
    let wanted = Wanted { of: snapshot::whose(query, schema), after: None };
    let answer = services.reads.at(None, query.collection, wanted, query.filter.clone(), usize::MAX);
    let answer = answer.map_err(unreadable)?;
    let tick = answer.tick;
    let spool = snapshot::spool(&shared.spools, answer, Arc::clone(query), Arc::new(schema.clone()), encoding, permit);
    let spool = spool.map_err(|error| {
        tracing::warn!(%error, "no snapshot can be taken");
        Problem::later("full", "there is no space for the snapshot")
    })?;
    Ok(Start::Snapshot(tick + 1, spool))
}

pub(super) fn unreadable(unreadable: Unreadable) -> Problem {
    match unreadable {
        Unreadable::Nothing => Problem::later("starting", "nothing is published yet"),
        Unreadable::Ahead { upper } => {
            let message = format!("that tick is not published yet: the next one is {upper}");
            Problem::new(StatusCode::BAD_REQUEST, "as_of", message)
        }
        Unreadable::Gone { since } => {
            let message = format!("the rows before tick {since} can no longer be read");
            Problem::new(StatusCode::GONE, "as_of", message).since(since)
        }
    }
}
