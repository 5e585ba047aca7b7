//! The part of the contract that multi-model containers keep beside the rest.

use std::future::Future;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use sagebrush_core::worker::{Call, LaunchError, LoadError, Reply, WorkerError};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::client::{ContractClient, Outgoing};
use super::failure::CallFailure;
use super::stream::InParts;

impl ContractClient {
    /// `POST /models`: the container loads the files at `url`, a path as it sees it. `ended` as in
    /// [`CallFailure::explained`].
    pub(crate) async fn load_model(
        &self,
        name: &str,
        url: &str,
        deadline: Instant,
        ended: impl Future<Output = String>,
    ) -> Result<(), LoadError> {
        let body = json!({"model_name": name, "url": url}).to_string();
        let json = HeaderValue::from_static("application/json");
        let request = Outgoing {
            method: Method::POST,
            path: PathAndQuery::from_static("/models"),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, json)]),
            body: Bytes::from(body),
        };
        let answer = match timeout_at(deadline, self.exchange(&request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => return Err(transient(&failure.explained(ended).await).into()),
            Err(_late) => return Err(transient(&WorkerError::TimedOut).into()),
        };
        match answer.status {
            status if status.is_success() => Ok(()),
            StatusCode::CONFLICT => Ok(()), // It is loaded already.
            StatusCode::INSUFFICIENT_STORAGE => Err(LoadError::NoRoom),
            _ => {
                let reason = format!("The container did not load it: {}.", answer.into_error());
                Err(LaunchError::Permanent { reason }.into())
            }
        }
    }

    /// `DELETE /models/{name}`: its memory is free when this returns. One that is not there is
    /// unloaded.
    pub(crate) async fn unload_model(
        &self,
        name: &str,
        deadline: Instant,
    ) -> Result<(), CallFailure> {
        let request = Outgoing {
            method: Method::DELETE,
            path: path(format!("/models/{name}"))?,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let answer = timeout_at(deadline, self.exchange(&request)).await;
        let answer = answer.unwrap_or(Err(CallFailure::Final(WorkerError::TimedOut)))?;
        if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(CallFailure::Final(answer.into_error()))
    }

    /// `POST /models/{name}/invoke`. A container that does not know the model has lost it.
    pub(crate) async fn invoke_model(&self, name: &str, call: Call) -> Result<Reply, CallFailure> {
        let reply = self.invoke_at(&invoke_path(name)?, call).await;
        reply.map_err(lost_model)
    }

    /// As [`Self::invoke_model`], in parts.
    pub(crate) async fn stream_model(
        &self,
        name: &str,
        call: Call,
    ) -> Result<InParts, CallFailure> {
        self.stream_at(&invoke_path(name)?, call).await.map_err(lost_model)
    }
}

fn invoke_path(name: &str) -> Result<PathAndQuery, CallFailure> {
    path(format!("/models/{name}/invoke"))
}

fn lost_model(failure: CallFailure) -> CallFailure {
    match failure {
        CallFailure::Final(WorkerError::Model { status: 404, message, .. }) => {
            let reason = format!("the container does not have the model: {message}");
            CallFailure::Final(WorkerError::Gone { reason })
        }
        CallFailure::Final(_) | CallFailure::NotSent { .. } | CallFailure::Broken { .. } => failure,
    }
}

fn path(path: String) -> Result<PathAndQuery, CallFailure> {
    let unfit = format!("{path} is no path");
    PathAndQuery::try_from(path)
        .map_err(|_unfit| CallFailure::Final(WorkerError::Invalid { message: unfit }))
}

fn transient(error: &WorkerError) -> LaunchError {
    let words = match error {
        WorkerError::Model { message, .. } | WorkerError::Died { message, .. } => message.clone(),
        WorkerError::TimedOut
        | WorkerError::Invalid { .. }
        | WorkerError::NotReady { .. }
        | WorkerError::At { .. }
        | WorkerError::Gone { .. } => error.to_string(),
    };
    let words = words.trim_end_matches('.');
    LaunchError::Transient { reason: format!("The container did not load it: {words}.") }
}
