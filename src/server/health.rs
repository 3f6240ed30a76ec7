//! The state of the process: for load balancers, for Prometheus, for people.

use super::Shared;
use super::problem::Problem;
use crate::observe::status::{Phase, Report};
use crate::queue::intake::wall_ms;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// It serves.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// Returns whether the process takes events and its published ticks are current.
pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> Result<&'static str, Problem> {
    match shared.services.status.phase() {
        Phase::Ready => Ok("ready\n"),
        Phase::Starting => Err(Problem::later("starting", "the process opens its log")),
        Phase::Recovering => Err(Problem::later("recovering", "the process computes what it had computed before")),
        Phase::Draining => Err(Problem::later("draining", "the process is about to stop")),
    }
}

pub(super) async fn metrics(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    shared.access.caller(&headers)?.may_administer()?;
    let metrics = &shared.services.metrics;
    metrics.subscribers.set(shared.services.subscriptions.hub.subscribers() as i64);
    metrics.subscribers_waiting.set(shared.services.subscriptions.hub.waiting() as i64);
    let backlog = shared.services.intake.backlog();
    metrics.backlog_bytes.set(backlog as i64);
    metrics.frontier_age.set(shared.services.status.behind_ms(backlog, wall_ms()) as f64 / 1e3);
    metrics.resident_bytes.set(shared.services.status.resident_bytes() as i64);
    metrics.processes.set(shared.services.plan.processes as i64);
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], metrics.text()))
}

pub(super) async fn status(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    shared.access.caller(&headers)?.may_administer()?;
    let services = &shared.services;
    let published = services.status.published.load(Ordering::Relaxed);
    let backlog_bytes = services.intake.backlog();
    let report = Report {
        version: env!("CARGO_PKG_VERSION").into(),
        phase: services.status.phase(),
        epoch: services.epoch,
        workers: services.plan.all_workers(),
        processes: services.plan.processes,
        bound: services.status.bound.load(Ordering::Relaxed),
        published,
        now_ms: services.status.now_ms.load(Ordering::Relaxed),
        backlog_bytes,
        behind_ms: services.status.behind_ms(backlog_bytes, wall_ms()),
        events: services.metrics.events.get(),
        sessions: services.metrics.sessions.get().max(0).unsigned_abs(),
        dead_letters: services.metrics.all_dead_letters(),
        resident_bytes: services.status.resident_bytes(),
        uptime_s: shared.started.elapsed().as_secs(),
        sources: services.status.sources.reports(),
        landing: services.status.landing.get().map(|landing| landing.report(published)),
        actions: services.metrics.actions.reports(),
        backfills: services.backfills.reports(),
        rules: services.rules.holds(),
    };
    Ok(([(CACHE_CONTROL, "no-store")], Json(report)))
}
