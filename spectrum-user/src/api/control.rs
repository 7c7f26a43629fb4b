//! What the command line asks the daemon, over its unix socket.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use futures_util::stream::unfold;

use crate::{
    daemon::{DaemonStatus, RuleStatus, Stream, View, Wanted},
    model::RuleId,
};

pub fn router(view: &Arc<View>) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/rules/{id}", get(rule))
        .route("/events", get(events))
        .with_state(view.clone())
}

async fn status(State(view): State<Arc<View>>) -> Json<DaemonStatus> {
    Json(view.status())
}

async fn rule(State(view): State<Arc<View>>, Path(id): Path<String>) -> Result<Json<RuleStatus>, StatusCode> {
    let id: RuleId = id.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    view.rule(id).map(Json).ok_or(StatusCode::NOT_FOUND)
}

/// Lines of JSON from now on, until the reader has enough or the daemon ends.
async fn events(State(view): State<Arc<View>>, Query(wanted): Query<Wanted>) -> impl IntoResponse {
    let lines = unfold(Stream::new(&view, wanted), |mut stream| async move {
        let line = stream.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), stream))
    });
    ([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines))
}
