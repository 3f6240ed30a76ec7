//! The routes, and the layers that all of them share.

use super::changes::LAST_EVENT_ID;
use super::connections::Peer;
use super::problem::Problem;
use super::{Shared, backfills, changes, collect, collections, exports, forget, health, hosts, labels, rows, rules};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post, put};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower_http::cors::CorsLayer;

/// Texts that clients choose are cut to this length in log lines.
const LOGGED_BYTES: usize = 256;
/// The time for which a browser may remember a permission.
const PREFLIGHT: Duration = Duration::from_secs(3600);

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new()
        .route("/v1/events", post(collect::post))
        .route("/v1/backfills", get(backfills::list).post(backfills::open))
        .route("/v1/backfills/{name}", get(backfills::one))
        .route("/v1/backfills/{name}/chunks", post(backfills::chunk))
        .route("/v1/backfills/{name}/pause", post(backfills::pause))
        .route("/v1/backfills/{name}/resume", post(backfills::resume))
        .route("/v1/backfills/{name}/cancel", post(backfills::cancel))
        .route("/v1/forget", get(forget::list).post(forget::ask))
        .route("/v1/rules", get(rules::list).put(rules::put))
        .route("/v1/rules/{version}", get(rules::one))
        .route("/v1/rules/{version}/rollback", post(rules::roll_back))
        .route("/v1/labels", get(labels::list))
        .route("/v1/labels/{shape}", put(labels::put).delete(labels::delete))
        .route("/v1/collections", get(collections::list))
        .route("/v1/collections/{file}", get(exports::serve))
        .route("/v1/collections/{name}/changes", get(changes::serve).post(changes::serve))
        .route("/v1/collections/{name}/rows", get(rows::serve).post(rows::serve))
        .route("/v1/status", get(health::status))
        .route("/metrics", get(health::metrics))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "not_found", "nothing is served at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this path is served by other methods: see `Allow`")
        });
    if let Some(cors) = cors(&shared.services.plan.http.origins) {
        router = router.layer(cors);
    }
    let router = router.layer(from_fn_with_state(Arc::clone(&shared), hosts::guard));
    router.layer(from_fn_with_state(Arc::clone(&shared), observe)).with_state(shared)
}

/// Returns the headers that a browser needs before a page of another origin may post.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    (!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST])
            .allow_headers([AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, LAST_EVENT_ID])
            .expose_headers([RETRY_AFTER])
            .max_age(PREFLIGHT)
    })
}

/// Counts the answer and notes it. Neither bodies nor headers are logged.
async fn observe(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let noted = tracing::enabled!(tracing::Level::DEBUG).then(|| {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.address);
        (request.method().clone(), cut(request.uri().path()).to_owned(), peer)
    });
    let response = next.run(request).await;
    let status = response.status().as_u16();
    shared.services.metrics.answered(status);
    if let Some((method, path, peer)) = noted {
        let ms = began.elapsed().as_secs_f64() * 1e3;
        let peer = peer.map(tracing::field::display);
        tracing::debug!(%method, path, status, ms, peer, "answered");
    }
    response
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LOGGED_BYTES)]
}
