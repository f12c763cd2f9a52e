//! The HTTP API.
//!
//! | route | gives |
//! |---|---|
//! | `GET /metrics` | metrics in the text format, OpenMetrics or protobuf, as `Accept` says, see docs/metrics.md |
//! | `GET /live` | 200 while the process runs |
//! | `GET /ready` | 200 while streams are accepted, 503 while it stops |
//! | `GET /api/v1/report?view=operations\|collectives&format=json\|text` | the rows of `nccltap report` |
//! | `GET /api/v1/report?view=summary&format=json\|text\|html` | its summary; `html` is a page with plots |
//! | `GET /api/v1/processes` | identity, accounting, communicators, libraries with doors, trouble, calls in flight |
//!
//! The same routes are on the address of `--http` and on each collector socket, where TCP peers
//! must send `Authorization: Bearer TOKEN` when the collector has a token.

use super::processes::{Overview, overview};
use super::prometheus::expected::Expected;
use super::prometheus::{Exposition, Format as Exposed};
use super::report::{Report, render, summary::summary};
use super::rows::{Row, View, json, rows};
use super::text;
use crate::collector::Collector;
use crate::ingest::{Peer, Token};
use crate::refusals::Refusal;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::watch;

/// What rows are printed as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Tables for people.
    #[default]
    Text,
    /// Rows for programs.
    Json,
}

impl Format {
    /// The name in commands and addresses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// What a report is printed as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PageFormat {
    /// Tables for people.
    #[default]
    Text,
    /// The same for programs.
    Json,
    /// One page with tables and plots, that needs nothing else.
    Html,
}

impl PageFormat {
    /// The name in commands and addresses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Html => "html",
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/json",
            Self::Html => "text/html; charset=utf-8",
        }
    }
}

/// What a report tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ReportView {
    /// What NCCL was told, row by row.
    #[default]
    Operations,
    /// The collectives that this amounts to, row by row.
    Collectives,
    /// Sums over ranks, the tables of the paper, sizes, peers.
    Summary,
}

impl ReportView {
    /// The view of its rows, `None` for the summary.
    pub const fn rows(self) -> Option<View> {
        match self {
            Self::Operations => Some(View::Operations),
            Self::Collectives => Some(View::Collectives),
            Self::Summary => None,
        }
    }
}

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

/// The routes, for the collector, what is `expected` of it, and the time until `stop` changes.
pub fn router(
    collector: Arc<Collector>,
    expected: Option<Expected>,
    stop: watch::Receiver<bool>,
) -> Router {
    let exposition = Arc::new(Exposition::against(Arc::clone(&collector), expected));
    Router::new()
        .route("/metrics", get(metrics))
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/api/v1/report", get(report))
        .route("/api/v1/processes", get(processes))
        .with_state(Shared { collector, exposition, stop })
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
    if view.rows().is_some() && format == PageFormat::Html {
        let sentence = "rows are JSON or text; HTML is of view=summary\n";
        return (StatusCode::BAD_REQUEST, sentence).into_response();
    }
    let text = aside(move || match view.rows() {
        Some(view) => {
            let rows: Vec<Row> = rows(&shared.collector, view);
            match format {
                PageFormat::Json => json(&rows),
                _ => Ok(text::report(&rows, &overview(&shared.collector), view)),
            }
        }
        None => {
            let source = "this collector".to_owned();
            let summary = summary(&shared.collector);
            render(&Report { source, summary, compared: None }, format)
        }
    });
    match text.await {
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
