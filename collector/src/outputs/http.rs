//! The HTTP API.
//!
//! | route | gives |
//! |---|---|
//! | `GET /` | the page, see docs/page.md |
//! | `GET /metrics` | metrics in the text format, OpenMetrics or protobuf, as `Accept` says, see docs/metrics.md |
//! | `GET /live` | 200 while the process runs |
//! | `GET /ready` | 200 while streams are accepted, 503 while it stops |
//! | `GET /api/v1/report?view=operations\|collectives&format=json\|text` | the rows of `nccltap report` |
//! | `GET /api/v1/report?view=summary&format=json\|text\|html` | its summary; `html` is a page with plots |
//! | `GET /api/v1/report?view=processes&format=json\|text` | who is tapped, and where its calls have gone |
//! | `GET /api/v1/processes` | identity, accounting, communicators, libraries with doors, trouble, calls in flight |
//! | `GET /api/v1/live` | what the page shows, with the last 300 seconds: [`Live`](super::live::view::Live) |
//! | `GET /api/v1/events` | the same as server-sent events, twice a second, each with the last 10 seconds |
//!
//! Answers are compressed by gzip where `Accept-Encoding` takes it, but for events.
//!
//! The same routes are on the address of `--http` and on each collector socket, where TCP peers
//! must send `Authorization: Bearer TOKEN` when the collector has a token.

use super::live::feed::Feed;
use super::processes::{Overview, overview};
use super::prometheus::expected::Expected;
use super::prometheus::{Exposition, Format as Exposed};
use super::views::{PageFormat, ReportView, told};
use super::web;
use crate::collector::Collector;
use crate::ingest::{Peer, Token};
use crate::refusals::Refusal;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::watch;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

#[derive(Clone)]
struct Shared {
    collector: Arc<Collector>,
    exposition: Arc<Exposition>,
    stop: watch::Receiver<bool>,
}

#[derive(Debug, Deserialize)]
struct ReportQuery {
    #[serde(default)]
    view: ReportView,
    #[serde(default = "for_programs")]
    format: PageFormat,
}

const fn for_programs() -> PageFormat {
    PageFormat::Json
}

/// The routes, for the collector, what is `expected` of it, and the time until `stop` changes. Within a
/// runtime.
pub fn router(
    collector: Arc<Collector>,
    expected: Option<Expected>,
    stop: watch::Receiver<bool>,
) -> Router {
    let feed = Feed::start(Arc::clone(&collector), expected.clone(), stop.clone());
    let exposition = Arc::new(Exposition::against(Arc::clone(&collector), expected));
    Router::new()
        .route("/metrics", get(metrics))
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/api/v1/report", get(report))
        .route("/api/v1/processes", get(processes))
        .with_state(Shared { collector, exposition, stop })
        .merge(web::routes(feed))
        // The least effort: a scrape is less than a tenth of its size by it, and waits for the work.
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
}

/// The routes for a collector socket: TCP peers show the token.
pub fn guarded(router: Router, collector: Arc<Collector>, token: Option<Arc<Token>>) -> Router {
    let Some(token) = token else { return router };
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let (token, collector) = (Arc::clone(&token), Arc::clone(&collector));
        async move {
            let from_here = matches!(request.extensions().get::<Peer>(), Some(Peer::Unix(_)));
            let shown = request.headers().get(header::AUTHORIZATION);
            let shown = shown.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
            if from_here || shown.is_some_and(|shown| token.is(shown)) {
                return next.run(request).await;
            }
            let sentence = "this collector wants a token: Authorization: Bearer TOKEN";
            match request.extensions().get::<Peer>() {
                Some(peer) => collector.refuse(Refusal::Token, peer, sentence),
                None => collector.refuse(Refusal::Token, &"an HTTP peer", sentence),
            }
            (StatusCode::UNAUTHORIZED, format!("{sentence}\n")).into_response()
        }
    }))
}

async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let accept: Vec<_> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Exposed::wanted(&accept.join(","));
    let written = aside(move || shared.exposition.write(format)).await;
    let head = [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept")];
    match written {
        Some(Ok(metrics)) => (head, metrics).into_response(),
        _ => failed("the metrics could not be written"),
    }
}

async fn ready(State(shared): State<Shared>) -> Response {
    match *shared.stop.borrow() {
        false => "ready\n".into_response(),
        true => (StatusCode::SERVICE_UNAVAILABLE, "the collector is stopping\n").into_response(),
    }
}

async fn report(State(shared): State<Shared>, Query(query): Query<ReportQuery>) -> Response {
    let ReportQuery { view, format } = query;
    if view != ReportView::Summary && format == PageFormat::Html {
        let sentence = "rows and processes are JSON or text; HTML is of view=summary\n";
        return (StatusCode::BAD_REQUEST, sentence).into_response();
    }
    let source = "this collector".to_owned();
    match aside(move || told(&shared.collector, source, view, format)).await {
        Some(Ok(text)) => ([(header::CONTENT_TYPE, format.media_type())], text).into_response(),
        _ => failed("the report could not be written"),
    }
}

async fn processes(State(shared): State<Shared>) -> Response {
    let overview: Option<Overview> = aside(move || overview(&shared.collector)).await;
    overview
        .map_or_else(|| failed("the processes could not be listed"), |o| Json(o).into_response())
}

/// Does sums away from the threads that take records in.
async fn aside<T: Send + 'static>(sums: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(sums).await.ok()
}

fn failed(sentence: &str) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{sentence}\n")).into_response()
}
