//! What the command line asks the daemon, over its unix socket.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::{
    daemon::{
        Asked, Call, DaemonStatus, Refusal, Reloaded, RuleAnswer, RuleRequest, Stream, UpgradeRequest, Upgraded, View,
        Wanted, Wishes,
    },
    model::RuleId,
};

/// Whom changes are asked of: the daemon's own loop, one after the other.
type Callers = mpsc::Sender<Call>;

pub fn router(view: &Arc<View>, callers: &Callers) -> Router {
    let changes = Router::new()
        .route("/reload", post(reload))
        .route("/upgrade", post(upgrade))
        .route("/rules", get(list).post(create))
        .route("/rules/{id}", get(one).patch(update).delete(delete))
        .with_state(callers.clone());
    Router::new().route("/status", get(status)).route("/events", get(events)).with_state(view.clone()).merge(changes)
}

async fn status(State(view): State<Arc<View>>) -> Json<DaemonStatus> {
    Json(view.status())
}

/// Which rules: those that name this.
#[derive(Deserialize)]
struct Meant {
    value: Option<String>,
}

async fn list(State(callers): State<Callers>, Query(meant): Query<Meant>) -> Response {
    call(&callers, RuleRequest::List(meant.value)).await
}

async fn create(State(callers): State<Callers>, Json(body): Json<Value>) -> Response {
    call(&callers, RuleRequest::Create(body)).await
}

async fn one(State(callers): State<Callers>, Path(id): Path<String>) -> Response {
    about(&callers, &id, RuleRequest::Get).await
}

async fn update(State(callers): State<Callers>, Path(id): Path<String>, Json(body): Json<Value>) -> Response {
    about(&callers, &id, |id| RuleRequest::Update(id, body)).await
}

async fn delete(State(callers): State<Callers>, Path(id): Path<String>, wishes: Option<Json<Wishes>>) -> Response {
    about(&callers, &id, |id| RuleRequest::Delete(id, wishes.map(|Json(wishes)| wishes).unwrap_or_default())).await
}

async fn reload(State(callers): State<Callers>, wishes: Option<Json<Wishes>>) -> Response {
    let wishes = wishes.map(|Json(wishes)| wishes).unwrap_or_default();
    ask::<_, Reloaded>(&callers, wishes, Call::Reload).await
}

async fn upgrade(State(callers): State<Callers>, request: Option<Json<UpgradeRequest>>) -> Response {
    let request = request.map(|Json(request)| request).unwrap_or_default();
    ask::<_, Upgraded>(&callers, request, Call::Upgrade).await
}

async fn about(callers: &Callers, id: &str, request: impl FnOnce(RuleId) -> RuleRequest) -> Response {
    match id.parse() {
        Ok(id) => call(callers, request(id)).await,
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

async fn call(callers: &Callers, request: RuleRequest) -> Response {
    ask::<_, RuleAnswer>(callers, request, Call::Rule).await
}

async fn ask<Q, A: Serialize>(callers: &Callers, request: Q, call: impl FnOnce(Asked<Q, A>) -> Call) -> Response {
    let (answer, answered) = oneshot::channel::<Result<A, Refusal>>();
    let sent = callers.send(call(Asked { request, answer })).await;
    match (sent, answered.await) {
        (Ok(()), Ok(Ok(answer))) => Json(answer).into_response(),
        (Ok(()), Ok(Err(refusal))) => {
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, Json(refusal)).into_response()
        }
        // It drains: nothing changes any more.
        _ => (StatusCode::SERVICE_UNAVAILABLE, "this process has stopped, or another one has taken over: ask again\n")
            .into_response(),
    }
}

/// Lines of JSON from now on, until the reader has enough or the daemon ends.
async fn events(State(view): State<Arc<View>>, Query(wanted): Query<Wanted>) -> impl IntoResponse {
    let lines = unfold(Stream::new(&view, wanted), |mut stream| async move {
        let line = stream.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), stream))
    });
    ([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines))
}
