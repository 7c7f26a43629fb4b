//! What the command line asks the daemon, over its unix socket.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};

use crate::{
    daemon::{DaemonStatus, RuleStatus, View},
    model::RuleId,
};

pub fn router(view: &Arc<View>) -> Router {
    Router::new().route("/status", get(status)).route("/rules/{id}", get(rule)).with_state(view.clone())
}

async fn status(State(view): State<Arc<View>>) -> Json<DaemonStatus> {
    Json(view.status())
}

async fn rule(State(view): State<Arc<View>>, Path(id): Path<String>) -> Result<Json<RuleStatus>, StatusCode> {
    let id: RuleId = id.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    view.rule(id).map(Json).ok_or(StatusCode::NOT_FOUND)
}
