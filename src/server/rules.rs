//! `/v1/rules`: shows which rules hold and held, and lets others hold. All of it needs the scope `admin`.

use super::Shared;
use super::body;
use super::collect::refused;
use super::problem::Problem;
use crate::config::{self, RulesFile};
use crate::observe::rules::{Changed, RulesReport, Shown};
use crate::observe::status::Phase;
use crate::plan::Plan;
use crate::plan::lint::{Fault, Lint, lint};
use crate::queue::applied::Origin;
use crate::queue::intake::wall_ms;
use crate::queue::rulebook::{Asked, Change, Refused, Step};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{CACHE_CONTROL, ETAG, IF_MATCH};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use dataflows::rules::Rule;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// Rules of which no tick is published after so long are answered all the same.
const PATIENCE: Duration = Duration::from_secs(30);
/// Another change is stored within this time, or the client has to try again.
const STORING: Duration = Duration::from_secs(2);
/// Bytes of a name: of a file, or of who asks.
const NAME_BYTES: usize = 256;

/// Faults of rules that an answer lists.
const LINTS: usize = 20;

/// The query of a change.
#[derive(Default, Deserialize)]
pub(super) struct Asking {
    /// Of the file.
    #[serde(default)]
    file: String,
    #[serde(default)]
    by: String,
    /// As the header `If-Match`.
    expect: Option<u64>,
}

pub(super) async fn list(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<impl IntoResponse, Problem> {
    shared.access.caller(&headers)?.may_administer()?;
    let report: RulesReport = shared.services.rules.report();
    let tag = report.versions.last().map_or(0, |version| version.version);
    Ok(([(CACHE_CONTROL, "no-store".to_owned()), (ETAG, format!("\"{tag}\""))], Json(report)))
}

pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Path(number): Path<String>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    shared.access.caller(&headers)?.may_administer()?;
    let (number, rules) = (version(&number)?, &shared.services.rules);
    let (version, text) =
        rules.version(number).zip(rules.text(number)).ok_or_else(|| problem(&Refused::Unknown(number)))?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(Shown { version, text })))
}

pub(super) async fn put(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    match apply(&shared, &parts.headers, &parts.uri, &mut body).await {
        Ok(changed) => answer(changed),
        Err(problem) => body::refuse(&parts.headers, &mut body, problem).await,
    }
}

pub(super) async fn roll_back(
    State(shared): State<Arc<Shared>>,
    Path(number): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let (by, expected) = asking(&shared, &headers, &uri).map(|(asking, by, expected)| {
        drop(asking);
        (by, expected)
    })?;
    let number = version(&number)?;
    let rules = shared.services.rules.rules(number).map_err(|refused| problem(&refused))?;
    change(&shared, rules, Origin::Version(number), by, expected, Vec::new()).await.map(answer)
}

fn answer(changed: Changed) -> Response {
    let tag = format!("\"{}\"", changed.version.version);
    (StatusCode::OK, [(ETAG, tag)], Json(changed)).into_response()
}

/// Reads the number of a version.
fn version(text: &str) -> Result<u64, Problem> {
    let wrong = |_| Problem::new(StatusCode::BAD_REQUEST, "version", "a version of the rules is a number");
    text.parse().map_err(wrong)
}

/// Checks that the caller may change rules. Returns what it asks, who it is, and which version it expects.
pub(super) fn asking(
    shared: &Shared,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<(Asking, String, Option<u64>), Problem> {
    let caller = shared.access.caller(headers)?;
    caller.may_administer()?;
    match shared.services.status.phase() {
        Phase::Starting | Phase::Recovering => return Err(Problem::later("starting", "the process is starting")),
        Phase::Draining => return Err(Problem::later("draining", "the process is about to stop: nothing has changed")),
        Phase::Ready => {}
    }
    let wrong = |error| Problem::new(StatusCode::BAD_REQUEST, "query", format!("cannot read the query: {error}"));
    let Query(asking) = Query::<Asking>::try_from_uri(uri).map_err(wrong)?;
    if asking.by.len() > NAME_BYTES || asking.file.len() > NAME_BYTES {
        let message = format!("`by` and `file` have at most {NAME_BYTES} bytes");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "query", message));
    }
    let tag = headers.get(IF_MATCH).map(|tag| {
        let number = tag.to_str().ok().and_then(|tag| tag.trim().trim_matches('"').parse().ok());
        let message = "`If-Match` has the number of a version in quotes";
        number.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "version", message))
    });
    let expected = tag.transpose()?.or(asking.expect);
    let by = match (caller.name(), asking.by.as_str()) {
        ("", by) => by.to_owned(),
        (token, "") => token.to_owned(),
        (token, by) => format!("{by} ({token})"),
    };
    Ok((asking, by, expected))
}

async fn apply(shared: &Arc<Shared>, headers: &HeaderMap, uri: &Uri, body: &mut Body) -> Result<Changed, Problem> {
    let (asking, by, expected) = asking(shared, headers, uri)?;
    let held = body::read(body, config::APPLIED_BYTES, shared.bounds.body, &shared.bodies).await?;
    let name = if asking.file.is_empty() { "rules.toml" } else { &asking.file };
    let wrong = |_| Problem::new(StatusCode::BAD_REQUEST, "rules", "the file of rules is not UTF-8");
    let text = str::from_utf8(&held.bytes).map_err(wrong)?;
    let of_task = (Arc::clone(shared), name.to_owned(), text.to_owned());
    // Thousands of rules take a while to be compared with each other.
    let read = spawn_blocking(move || read(&of_task.0, &of_task.1, &of_task.2)).await;
    let (rules, notes) = read.map_err(|error| {
        tracing::error!(%error, "a request failed");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request failed")
    })??;
    change(shared, rules, Origin::File(name.to_owned()), by, expected, notes).await
}

/// Returns the rules of a file over the tests of the data folder, and what there is to say of them.
fn read(shared: &Shared, name: &str, text: &str) -> Result<(Vec<Rule>, Vec<String>), Problem> {
    let wrong = |message| Problem::new(StatusCode::BAD_REQUEST, "rules", message);
    let RulesFile { plan, others } =
        config::parse_rules(name, text, &shared.services.plan).map_err(|error| wrong(error.on_one_line()))?;
    let rules = shared.services.rules.bind(&plan).map_err(|refused| problem(&refused))?;
    let lints = lint(&plan);
    let contradicts = |lint: &&Lint| matches!(&lint.fault, Fault::Equals(_, known) if *known != lint.class);
    if let Some(contradiction) = lints.iter().find(contradicts) {
        return Err(wrong(format!("{name}: {}", contradiction.message())));
    }
    let mut notes: Vec<String> = lints.iter().take(LINTS).map(Lint::message).collect();
    if lints.len() > LINTS {
        notes.push(format!("{} more rules give no event its class: `headwater plan` lists all", lints.len() - LINTS));
    }
    if !others.is_empty() {
        let tables = others.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        notes.push(format!("{tables}: rules alone are applied. Other settings change at a restart"));
    }
    Ok((rules, notes))
}

async fn change(
    shared: &Arc<Shared>,
    rules: Vec<Rule>,
    origin: Origin,
    by: String,
    expected: Option<u64>,
    mut notes: Vec<String>,
) -> Result<Changed, Problem> {
    let book = &shared.services.rules;
    let before = book.holding();
    notes.extend(kept(&shared.services.plan, &before, &rules));
    let ask = || {
        let (rules, by, origin) = (rules.clone(), by.clone(), origin.clone());
        book.change(Change { rules, by, origin, expected, now_ms: wall_ms() })
    };
    let gone = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the version is not known");
    let number = match patiently(ask, |refused| *refused == Refused::Busy).await.map_err(|refused| problem(&refused))? {
        Asked::Already(number) => {
            let version = book.version(number).ok_or_else(gone)?;
            return Ok(Changed { version, changed: false, notes: Vec::new() });
        }
        Asked::Step(step) => store(shared, step).await?,
    };
    let mut taken = book.taken();
    let _late = timeout(PATIENCE, taken.wait_for(|taken| *taken >= number)).await;
    let version = book.version(number).ok_or_else(gone)?;
    Ok(Changed { version, changed: true, notes })
}

/// Makes a version durable. Returns its number.
async fn store(shared: &Shared, mut step: Step) -> Result<u64, Problem> {
    let (number, record) = (step.number(), std::mem::take(&mut step.record));
    let bytes = record.len();
    let (durable, becomes) = oneshot::channel();
    let then = move |offset| {
        step.durable(offset, bytes);
        // The client may have left.
        let _ = durable.send(());
    };
    shared.services.intake.change(record, Box::new(then)).map_err(|refusal| refused(shared, refusal))?;
    let lost =
        "the process ends: the rules may hold after the next start, and `headwater rules list` shows whether they do";
    becomes.await.map_err(|_| Problem::later("draining", lost))?;
    Ok(number)
}

/// Returns what keeps the classes of before, as readers of records decide on it.
fn kept(plan: &Plan, before: &[Rule], after: &[Rule]) -> Vec<String> {
    let mut notes = Vec::new();
    let apart = |rules: &[Rule]| rules.iter().filter(|rule| !rule.sessions).cloned().collect::<Vec<_>>();
    if apart(before) != apart(after) {
        notes.push("`sessions = false` holds for the events that come from now on".to_owned());
    }
    let named = |names: Vec<&str>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let sequences: Vec<&str> = plan.sequences.iter().map(|sequence| sequence.name.as_str()).collect();
    if !sequences.is_empty() {
        let names = named(sequences);
        notes.push(format!("sequences {names}: events that were read keep the steps that they were"));
    }
    let states = plan.states.iter().filter(|state| state.names_classes());
    let states: Vec<&str> = states.map(|state| state.schema.name.as_str()).collect();
    if !states.is_empty() {
        notes.push(format!("states {}: events that were counted keep the class that they had", named(states)));
    }
    let cues = plan.sessions.policies.as_ref().map(|policies| &policies.cues);
    let by_class = cues.is_some_and(|cues| {
        !(cues.start.is_empty() && cues.end.is_empty() && cues.keepalive.is_empty() && cues.class_gaps.is_empty())
    });
    if by_class {
        notes.push("classes that begin, end or delimit sessions: events that were read keep what they did".to_owned());
    }
    notes
}

/// Asks again while another change is stored.
pub(super) async fn patiently<A, E>(
    mut ask: impl FnMut() -> Result<A, E>,
    is_busy: impl Fn(&E) -> bool,
) -> Result<A, E> {
    let stored = async {
        loop {
            match ask() {
                Err(refused) if is_busy(&refused) => sleep(Duration::from_millis(2)).await,
                answer => return answer,
            }
        }
    };
    match timeout(STORING, stored).await {
        Ok(answer) => answer,
        Err(_) => ask(),
    }
}

fn problem(refused: &Refused) -> Problem {
    let because = |status, code| Problem::new(status, code, refused.to_string());
    match refused {
        Refused::Unknown(_) => because(StatusCode::NOT_FOUND, "version"),
        Refused::Expected { .. } => because(StatusCode::PRECONDITION_FAILED, "version"),
        Refused::Missing(_) => because(StatusCode::CONFLICT, "new_tests"),
        Refused::Large(_) => because(StatusCode::PAYLOAD_TOO_LARGE, "large"),
        Refused::Many => because(StatusCode::CONFLICT, "many"),
        Refused::Busy => Problem::later("busy", refused.to_string()),
    }
}
