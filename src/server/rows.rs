//! `GET` or `POST /v1/collections/{name}/rows`: the rows of a view at a tick, by key or by a filter, a page at a time.

use super::changes::{of_history, other_history, query_of, unreadable};
use super::collections::{self, Name};
use super::parameters::{Parameters, wrong};
use super::problem::Problem;
use super::token::Mistaken;
use super::{Shared, body};
use crate::read::reads::{Chunk, Rank, Wanted};
use crate::read::subscribe::snapshot::whose;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dataflows::{EventTime, Tick, UserKey};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const PARAMETERS: [&str; 8] = ["key", "filter", "columns", "limit", "after", "as_of", "history", "wait_for"];
/// Rows of a page.
const LIMIT: usize = 1000;
const MOST: usize = 10_000;
/// A page that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn serve(State(shared): State<Arc<Shared>>, Name(name): Name, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    match answer(&shared, &name, &parts, &mut body).await {
        Ok(response) => response,
        Err(problem) => body::refuse(&parts.headers, &mut body, problem).await,
    }
}

async fn answer(shared: &Arc<Shared>, name: &str, parts: &Parts, body: &mut Body) -> Result<Response, Problem> {
    let collection = collections::find_view(shared, shared.access.caller(&parts.headers)?, name)?;
    let parameters = Parameters::of(shared, parts, body, &PARAMETERS).await?;
    let query = query_of(shared, collection, &parameters)?;
    let limit = parameters.parsed("limit", "a number of rows")?.unwrap_or(LIMIT);
    if !(1..=MOST).contains(&limit) {
        return Err(wrong("limit", &limit.to_string(), &format!("from 1 to {MOST} rows")));
    }
    let as_of: Option<Tick> = parameters.parsed("as_of", "the number of a tick")?;
    of_history(shared, &parameters, as_of.map(|tick| tick.saturating_add(1)))?;
    if let Some(token) = parameters.get("wait_for") {
        wait_for(shared, token).await?;
    }
    let schema = shared.services.subscriptions.schemas.of(collection);
    let after = |after| place(after).ok_or_else(|| wrong("after", after, "what `next` said"));
    let wanted = Wanted { of: whose(&query, schema), after: parameters.get("after").map(after).transpose()? };
    let reads = &shared.services.reads;
    let mut answer = reads.at(as_of, collection, wanted, query.filter.clone(), limit + 1).map_err(unreadable)?;
    let mut rows = Chunk::new();
    let all = async {
        while let Some(chunk) = answer.next().await {
            rows.extend(chunk);
        }
    };
    timeout(PATIENCE, all).await.map_err(|_| Problem::later("busy", "the workers have no time to look"))?;
    // The same order whatever the number of workers.
    rows.sort_unstable();
    let more = rows.len() > limit;
    rows.truncate(limit);

    let history = shared.services.subscriptions.tokens.histories.current();
    let mut text = format!("{{\"as_of\":{},\"history\":\"{history}\",\"rows\":[", answer.tick).into_bytes();
    for (index, row) in rows.iter().filter_map(|(_, row)| collection.decode(row)).enumerate() {
        if index > 0 {
            text.push(b',');
        }
        row.json(schema, query.columns.iter().copied(), &mut text);
    }
    text.push(b']');
    let last = rows.last().filter(|_| more);
    if last.is_some() {
        text.extend_from_slice(b",\"more\":true");
    }
    if let Some(rank) = last.and_then(|(rank, _)| *rank) {
        write!(text, ",\"next\":\"{}\"", shown(rank)).expect("memory can be written to");
    }
    text.push(b'}');
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from(text)).into_response())
}

/// Waits until the posted events are in the views.
pub(super) async fn wait_for(shared: &Shared, token: &str) -> Result<(), Problem> {
    let ticket = shared.ingest_tokens.decode(token).map_err(|mistaken| match mistaken {
        Mistaken::Invalid => {
            let message = "`wait_for` is no token that `POST /v1/events` of this cluster has answered";
            Problem::new(StatusCode::BAD_REQUEST, "wait_for", message)
        }
        Mistaken::History => other_history("the events of `wait_for` are not in this data folder: post them again"),
    })?;
    let reads = &shared.services.reads;
    let mut upper = reads.upper();
    let waited = timeout(PATIENCE, upper.wait_for(|_| reads.has(ticket))).await;
    waited
        .map_err(|_| Problem::later("not_yet", "those events are not published yet"))?
        .map(|_| ())
        .map_err(|_| Problem::later("draining", "the process is about to stop"))
}

/// Returns the place as opaque text.
fn shown((user, start, mark): Rank) -> String {
    let mut bytes = user.bytes().to_vec();
    bytes.extend_from_slice(&start.micros().to_be_bytes());
    if mark > 0 {
        bytes.extend_from_slice(&mark.to_be_bytes());
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

fn place(text: &str) -> Option<Rank> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (user, rest) = bytes.split_first_chunk::<16>()?;
    let (start, mark) = rest.split_first_chunk::<8>()?;
    let start = EventTime::from_micros(i64::from_be_bytes(*start))?;
    let mark = if mark.is_empty() { 0 } else { u64::from_be_bytes(mark.try_into().ok()?) };
    Some((UserKey::from_bytes(*user)?, start, mark))
}
