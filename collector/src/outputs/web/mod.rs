//! The page of a running collector, with the snapshots that it shows.
//!
//! Plain HTML, CSS and JavaScript, in the program: nothing is built, nothing is loaded from elsewhere, and the
//! content security policy lets nothing be. `page/main.js` says which file does what.

use super::live::feed::{Feed, LISTENERS};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// What the page may load: its own files and snapshots, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
struct File {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($name:literal $media_type:literal,)*) => {
        &[$(File {
            name: $name,
            media_type: $media_type,
            text: include_str!(concat!("page/", $name)),
        }),*]
    };
}

const FILES: &[File] = files! {
    "index.html" "text/html; charset=utf-8",
    "page.css" "text/css; charset=utf-8",
    "main.js" "text/javascript; charset=utf-8",
    "store.js" "text/javascript; charset=utf-8",
    "connection.js" "text/javascript; charset=utf-8",
    "dom.js" "text/javascript; charset=utf-8",
    "format.js" "text/javascript; charset=utf-8",
    "columns.js" "text/javascript; charset=utf-8",
    "matrix.js" "text/javascript; charset=utf-8",
    "overview.js" "text/javascript; charset=utf-8",
    "traffic.js" "text/javascript; charset=utf-8",
    "ranks.js" "text/javascript; charset=utf-8",
    "peers.js" "text/javascript; charset=utf-8",
    "steps.js" "text/javascript; charset=utf-8",
    "coverage.js" "text/javascript; charset=utf-8",
    "prediction.js" "text/javascript; charset=utf-8",
};

/// The page, and the snapshots of `feed`.
pub(super) fn routes(feed: Arc<Feed>) -> Router {
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { file("index.html", &headers) }))
        .route(
            "/page/{name}",
            get(
                |Path(name): Path<String>, headers: HeaderMap| async move { file(&name, &headers) },
            ),
        )
        .route("/api/v1/live", get(live))
        .route("/api/v1/events", get(events))
        .with_state(feed)
}

fn file(name: &str, asked: &HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return (StatusCode::NOT_FOUND, "no such file of the page\n").into_response();
    };
    let tag = tag(file.text);
    let has_it = asked
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|tags| tags.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .any(|known| known.trim() == tag);
    let mut answer = match has_it {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => file.text.into_response(),
    };
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, file.media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // It is asked for again each time, and sent again only when it is another.
        (header::CACHE_CONTROL, "no-cache"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    answer
}

/// Another text has another tag.
fn tag(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

async fn live(State(feed): State<Arc<Feed>>) -> Response {
    match feed.live().await {
        Some(live) => ([(header::CACHE_CONTROL, "no-store")], Json(live)).into_response(),
        None => unavailable("the collector is stopping"),
    }
}

async fn events(State(feed): State<Arc<Feed>>) -> Response {
    let Some(events) = feed.listen() else {
        return unavailable(&format!("{LISTENERS} pages listen already, as many as may"));
    };
    let events = ReceiverStream::new(events).map(Ok::<_, Infallible>);
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, Body::from_stream(events)).into_response()
}

fn unavailable(sentence: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{sentence}\n")).into_response()
}
