//! Why a queue refuses, in the words of SQS.

use http::StatusCode;
use sagebrush_aws::ApiError;
use sagebrush_core::store::StoreError;

use crate::attribute::InvalidAttribute;

#[derive(Debug, thiserror::Error)]
pub(crate) enum QueueError {
    #[error("The specified queue does not exist.")]
    NoQueue,
    #[error("A queue already exists with the same name and a different value for {0}.")]
    Exists(String),
    #[error(
        "A queue's name has 1 to 80 characters, which are alphanumeric, hyphens or underscores."
    )]
    InvalidName,
    #[error("FIFO queues are not served here.")]
    Fifo,
    #[error("Invalid value for the parameter {0}.")]
    InvalidAttributeValue(String),
    #[error("The attribute {0} is not served here.")]
    AttributeNotServed(String),
    #[error("Unknown Attribute {0}.")]
    UnknownAttribute(String),
    #[error("Value for parameter {0} is invalid. Reason: {1}")]
    InvalidParameter(&'static str, String),
    #[error("Message contains characters outside the allowed set.")]
    InvalidContents,
    #[error("The request must contain the parameter MessageBody.")]
    NoBody,
    #[error("One or more parameters are invalid. Reason: Message must be shorter than {0} bytes.")]
    TooLong(u32),
    #[error(transparent)]
    Attribute(#[from] InvalidAttribute),
    #[error("The receipt handle \"{0}\" is not valid for this queue.")]
    InvalidReceipt(String),
    #[error("Value {0} for parameter ReceiptHandle is invalid. Reason: Message is not in flight.")]
    NotInFlight(String),
    #[error("There should be at least one entry in the request.")]
    EmptyBatch,
    #[error("Maximum number of entries per request are 10. You have sent {0}.")]
    TooManyEntries(usize),
    #[error("Id {0} repeated.")]
    RepeatedId(String),
    #[error(
        "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It \
         can be at most 80 letters long."
    )]
    InvalidId,
    #[error("Batch requests cannot be longer than {0} bytes.")]
    BatchTooLong(u32),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl QueueError {
    /// The code that clients know it by, and the one of the JSON protocol where that differs.
    fn codes(&self) -> (&'static str, &'static str) {
        match self {
            Self::NoQueue => ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"),
            Self::Exists(_) => ("QueueAlreadyExists", "QueueNameExists"),
            Self::Fifo => ("AWS.SimpleQueueService.UnsupportedOperation", "UnsupportedOperation"),
            Self::InvalidAttributeValue(_) => ("InvalidAttributeValue", "InvalidAttributeValue"),
            Self::AttributeNotServed(_) | Self::UnknownAttribute(_) => {
                ("InvalidAttributeName", "InvalidAttributeName")
            }
            Self::InvalidName
            | Self::InvalidParameter(..)
            | Self::TooLong(_)
            | Self::Attribute(_) => ("InvalidParameterValue", "InvalidParameterValueException"),
            Self::NoBody => ("MissingParameter", "MissingRequiredParameterException"),
            Self::InvalidContents => ("InvalidMessageContents", "InvalidMessageContents"),
            Self::InvalidReceipt(_) => ("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid"),
            Self::NotInFlight(_) => {
                ("AWS.SimpleQueueService.MessageNotInflight", "MessageNotInflight")
            }
            Self::EmptyBatch => ("AWS.SimpleQueueService.EmptyBatchRequest", "EmptyBatchRequest"),
            Self::TooManyEntries(_) => (
                "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
                "TooManyEntriesInBatchRequest",
            ),
            Self::RepeatedId(_) => {
                ("AWS.SimpleQueueService.BatchEntryIdsNotDistinct", "BatchEntryIdsNotDistinct")
            }
            Self::InvalidId => {
                ("AWS.SimpleQueueService.InvalidBatchEntryId", "InvalidBatchEntryId")
            }
            Self::BatchTooLong(_) => {
                ("AWS.SimpleQueueService.BatchRequestTooLong", "BatchRequestTooLong")
            }
            Self::Store(_) => ("InternalError", "InternalFailure"),
        }
    }

    /// The code in the answer to one entry of a batch.
    pub(super) fn query_code(&self) -> &'static str {
        self.codes().0
    }

    /// Whether the entry of a batch was at fault.
    pub(super) fn is_senders_fault(&self) -> bool {
        !matches!(self, Self::Store(_))
    }
}

impl From<QueueError> for ApiError {
    fn from(error: QueueError) -> Self {
        let (query_code, code) = error.codes();
        if let QueueError::Store(error) = error {
            return error.into();
        }
        Self::new(code, StatusCode::BAD_REQUEST, error.to_string()).once_called(query_code)
    }
}
