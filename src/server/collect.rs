//! `POST /v1/events`: takes a body of events, and answers when it is durable.
//!
//! If any event of a body is good, the body is stored as one delivery, as it came except for its compression. The
//! answer lists the bad events, and they become dead letters in the graph.

use super::Shared;
use super::access::Caller;
use super::body::{self, BodyBytes, Encoding};
use super::check::{Rejections, Verdict, check, framing_of};
use super::problem::Problem;
use crate::collections::place::{DELIVERY_BYTES, SourceIndex};
use crate::ending::end;
use crate::error::EXIT_AGAIN;
use crate::observe::metrics::Stage;
use crate::observe::status::Phase;
use crate::plan::SourceKind;
use crate::queue::delivery::Delivery;
use crate::queue::intake::{Refusal, Ticket};
use axum::Json;
use axum::extract::{Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use headwater_decode::Decoder;
use headwater_decode::framing::Framing;
use headwater_decode::spec::Format;
use headwater_log::error::LogError;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Bodies up to this size are checked where they were read: a hundred microseconds.
const SMALL_BYTES: usize = 32 << 10;

/// Media types that say that each line is an event.
const LINES: [&[u8]; 4] =
    [b"application/x-ndjson", b"application/ndjson", b"application/jsonl", b"application/x-jsonlines"];

/// The answer when events are durable.
#[derive(Serialize)]
struct Receipt {
    /// See [`super::token`].
    token: String,
    accepted: u64,
    #[serde(flatten)]
    rejected: Rejections,
}

#[derive(Deserialize)]
struct Parameters {
    source: Option<String>,
}

pub(super) async fn post(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    match take(&shared, &parts, &mut body).await {
        Ok(receipt) => (StatusCode::ACCEPTED, Json(receipt)).into_response(),
        Err(problem) => body::refuse(&parts.headers, &mut body, problem).await,
    }
}

async fn take(shared: &Arc<Shared>, parts: &Parts, body: &mut axum::body::Body) -> Result<Receipt, Problem> {
    let caller = shared.access.caller(&parts.headers)?;
    let source = source(shared, &parts.uri, caller)?;
    caller.charge()?;
    match shared.services.status.phase() {
        Phase::Starting | Phase::Recovering => return Err(Problem::later("starting", "the process is starting")),
        Phase::Draining => return Err(draining()),
        Phase::Ready => {}
    }
    let encoding = Encoding::of(&parts.headers)?;
    let lines = parts.headers.get(CONTENT_TYPE).is_some_and(|value| {
        let media_type = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        LINES.iter().any(|lines| media_type.eq_ignore_ascii_case(lines))
    });
    let sent = body::read(body, shared.services.plan.http.max_body, shared.bounds.body, &shared.bodies).await?;
    let arrived = Instant::now();

    let busy = || Problem::later("busy", "too many requests wait for the disk");
    let turn = timeout(shared.bounds.turn, Arc::clone(&shared.appending).acquire_owned()).await;
    let turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
    // A task of its own: it goes on when the client leaves, as what has been handed in becomes durable in any case.
    let storing = Storing { shared: Arc::clone(shared), source, encoding, lines, sent, arrived, _turn: turn };
    let stored = tokio::spawn(storing.store()).await.unwrap_or_else(|error| Err(failed(&error)));
    if let Ok(Receipt { accepted, rejected, .. }) = &stored {
        let (source, token) = (shared.services.plan.sources[usize::from(source.0)].name.as_str(), caller.name());
        tracing::debug!(source, token, accepted, rejected = rejected.total, "events are durable");
    }
    stored
}

/// Returns the index of the source that is posted to, if the caller may.
///
/// # Errors
/// 400, 403, 404.
fn source(shared: &Shared, uri: &Uri, caller: &Caller) -> Result<SourceIndex, Problem> {
    let sources = || {
        let sources = (0..).map(SourceIndex).zip(&shared.services.plan.sources);
        sources.filter(|(_, source)| source.kind == SourceKind::Http)
    };
    let names = || sources().map(|(_, source)| format!("`{}`", source.name)).collect::<Vec<_>>().join(", ");
    let wrong = |error| Problem::new(StatusCode::BAD_REQUEST, "query", format!("cannot read the query: {error}"));
    let Query(Parameters { source: name }) = Query::try_from_uri(uri).map_err(wrong)?;
    let found = match &name {
        Some(name) => sources().find(|(_, source)| source.name == *name),
        None if sources().nth(1).is_some() => {
            let message = format!("say which source the events are of, as in ?source=NAME: {}", names());
            return Err(Problem::new(StatusCode::BAD_REQUEST, "source", message));
        }
        None => sources().next(),
    };
    let Some((index, source)) = found else {
        let message = match sources().next() {
            Some(_) => format!("no source of this name can be posted to, but {}", names()),
            None => "the configuration has no [[source]] of kind \"http\"".into(),
        };
        return Err(Problem::new(StatusCode::NOT_FOUND, "source", message));
    };
    caller.may_ingest(&source.name)?;
    Ok(index)
}

/// A body that has been read.
struct Storing {
    shared: Arc<Shared>,
    source: SourceIndex,
    encoding: Encoding,
    lines: bool,
    sent: BodyBytes,
    arrived: Instant,
    _turn: OwnedSemaphorePermit,
}

/// A body whose events have been looked at.
struct Checked {
    body: BodyBytes,
    /// Where the events begin in it.
    from: usize,
    framing: Framing,
    verdict: Verdict,
}

impl Storing {
    /// Decompresses, checks, and makes durable.
    async fn store(self) -> Result<Receipt, Problem> {
        let small = self.encoding == Encoding::Plain && self.sent.bytes.len() <= SMALL_BYTES;
        let shared = Arc::clone(&self.shared);
        let Some(mut decoder) = shared.decoders.try_lend().filter(|_| small) else {
            return spawn_blocking(move || self.store_blocking()).await.unwrap_or_else(|error| Err(failed(&error)));
        };
        let Storing { source, encoding, lines, sent, arrived, _turn, .. } = self;
        let checked = checked(&shared, &mut decoder, source, encoding, lines, sent)?;
        drop(decoder);
        let ticket = shared.services.intake.deliver(&checked.delivery(&shared, source)).await;
        checked.receipt(&shared, arrived, ticket)
    }

    /// As [`Storing::store`]. Computes, and blocks for a sync.
    fn store_blocking(self) -> Result<Receipt, Problem> {
        let Storing { shared, source, encoding, lines, sent, arrived, _turn } = self;
        // Also bounds how many bodies are decompressed at a time.
        let checked = checked(&shared, &mut shared.decoders.lend(), source, encoding, lines, sent)?;
        let ticket = shared.services.intake.append(&checked.delivery(&shared, source));
        checked.receipt(&shared, arrived, ticket)
    }
}

impl Checked {
    fn events(&self) -> &[u8] {
        &self.body.bytes[self.from..]
    }

    fn delivery(&self, shared: &Shared, source: SourceIndex) -> Delivery<'_> {
        let (source, framing) = (shared.services.sources.number(source), self.framing);
        Delivery {
            source,
            format: Format::Json,
            framing,
            messages: false,
            header: None,
            cursors: Vec::new(),
            events: self.events(),
        }
    }

    /// Returns the answer, as the events are durable or refused.
    fn receipt(self, shared: &Shared, arrived: Instant, ticket: Result<Ticket, Refusal>) -> Result<Receipt, Problem> {
        let ticket = ticket.map_err(|refusal| refused(shared, refusal))?;
        if shared.full.swap(false, Ordering::Relaxed) {
            tracing::info!("there is space for the log again");
        }
        let metrics = &shared.services.metrics;
        metrics.took(Stage::Durable, arrived.elapsed().as_secs_f64());
        metrics.bytes.inc_by(self.events().len() as u64);
        let Verdict { accepted, rejected } = self.verdict;
        Ok(Receipt { token: shared.ingest_tokens.encode(ticket), accepted, rejected })
    }
}

fn failed(error: &JoinError) -> Problem {
    tracing::error!(%error, "a request failed");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request failed")
}

/// Decompresses and checks a body. Computes.
fn checked(
    shared: &Shared,
    decoder: &mut Decoder,
    source: SourceIndex,
    encoding: Encoding,
    lines: bool,
    sent: BodyBytes,
) -> Result<Checked, Problem> {
    // The configuration keeps `max_body` below what a delivery can hold.
    let limit = shared.services.plan.http.max_body.min(DELIVERY_BYTES);
    let body = body::decompress(sent, encoding, limit, &shared.bodies)?;
    let events = body.bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&body.bytes);
    if events.trim_ascii().is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "empty", "the body is empty"));
    }
    let framing = framing_of(lines, events);
    let verdict = check(decoder, source, framing, events);
    if verdict.accepted == 0 {
        let message = match verdict.rejected.total {
            0 => "the body holds no events",
            _ => "none of the events can be read",
        };
        return Err(Problem::new(StatusCode::BAD_REQUEST, "no_event", message).rejecting(verdict.rejected));
    }
    let from = body.bytes.len() - events.len();
    Ok(Checked { body, from, framing, verdict })
}

/// Returns the answer, if there is one.
pub(super) fn refused(shared: &Shared, refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Busy => Problem::later("busy", "too many events wait to be processed"),
        Refusal::Draining => draining(),
        Refusal::NoSpace => {
            shared.spools.clear();
            no_space()
        }
        Refusal::Log(LogError::Full(error)) => {
            // Readers begin again; a sender comes first.
            shared.spools.clear();
            if !shared.full.swap(true, Ordering::Relaxed) {
                tracing::warn!(%error, "no space for the log: events are refused until there is");
            }
            no_space()
        }
        Refusal::Log(error) => {
            tracing::error!(%error, "cannot make events durable: the process has to end");
            end(EXIT_AGAIN)
        }
    }
}

fn no_space() -> Problem {
    Problem::later("full", "there is no space for events")
}

fn draining() -> Problem {
    Problem::later("draining", "the process is about to stop")
}
