//! A worker's error in the words that SageMaker's users look for.

use sagebrush_core::worker::WorkerError;
use sagebrush_core::{AccountId, ResourceName};

use crate::error::InvokeError;

/// What a call of the endpoint is told of what its `container` said.
pub(crate) fn explain(
    account: &AccountId,
    endpoint: &ResourceName,
    container: &str,
    error: WorkerError,
) -> InvokeError {
    let model_error =
        |status, message| model_error(account, endpoint, container, (status, message));
    match error {
        WorkerError::Invalid { message } => InvokeError::Invalid(message),
        WorkerError::NotReady { message } => InvokeError::NotReady(message),
        WorkerError::At { container, error } => explain(account, endpoint, &container, *error),
        WorkerError::Model { status, message, .. } => model_error(status, message),
        WorkerError::TimedOut => model_error(0, timed_out(container)),
        WorkerError::Died { message, .. } => model_error(500, message),
        WorkerError::Gone { reason } => model_error(500, reason),
    }
}

fn model_error(
    account: &AccountId,
    endpoint: &ResourceName,
    container: &str,
    (original_status, original_message): (u16, String),
) -> InvokeError {
    let log_group = format!("/aws/sagemaker/Endpoints/{endpoint}");
    let kind = if (400..500).contains(&original_status) { "client" } else { "server" };
    let message = format!(
        "Received {kind} error ({original_status}) from {container} with message \
         \"{original_message}\". See the log group {log_group} (`sagebrush logs {endpoint}`) in \
         account {account} for more information.",
    );
    InvokeError::Model { message, original_status, original_message, log_group }
}

fn timed_out(container: &str) -> String {
    format!(
        "Your invocation timed out while waiting for a response from container {container}. Review \
         the latency metrics for each container in Amazon CloudWatch, resolve the issue, and try \
         again."
    )
}
