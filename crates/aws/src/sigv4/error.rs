//! Why a call is not let in, in the words of AWS.

use http::StatusCode;

use crate::ApiError;

/// Which protocol a call speaks: JSON and CBOR have other codes than the query protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Json,
    Query,
    Cbor,
}

/// Why a signature was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("Missing Authentication Token")]
    Missing,
    /// The header or the query parameters lack something, or cannot be read.
    #[error("{0}")]
    Incomplete(String),
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    #[error("The security token included in the request is expired")]
    TokenExpired,
    /// Too old, too new, or scoped to something else.
    #[error("{0}")]
    OutOfScope(String),
    #[error("There were headers present in the request which were not signed: {0}")]
    Unsigned(String),
    #[error("The provided 'x-amz-content-sha256' header does not match what was computed.")]
    OtherPayload,
    #[error(
        "The request signature we calculated does not match the signature you provided. Check \
         your AWS Secret Access Key and signing method. Consult the service documentation for \
         details."
    )]
    Mismatch,
}

impl AuthError {
    #[must_use]
    pub fn into_api_error(self, dialect: Dialect) -> ApiError {
        let (json, query, status) = match self {
            Self::Missing => (
                "MissingAuthenticationTokenException",
                "MissingAuthenticationToken",
                StatusCode::FORBIDDEN,
            ),
            Self::Incomplete(_) => {
                ("IncompleteSignatureException", "IncompleteSignature", StatusCode::BAD_REQUEST)
            }
            Self::UnknownKey => {
                ("UnrecognizedClientException", "InvalidClientTokenId", StatusCode::FORBIDDEN)
            }
            Self::TokenExpired => ("ExpiredTokenException", "ExpiredToken", StatusCode::FORBIDDEN),
            Self::OutOfScope(_) | Self::Unsigned(_) | Self::OtherPayload | Self::Mismatch => {
                ("InvalidSignatureException", "SignatureDoesNotMatch", StatusCode::FORBIDDEN)
            }
        };
        let code = match dialect {
            Dialect::Json | Dialect::Cbor => json,
            Dialect::Query => query,
        };
        ApiError::new(code, status, self.to_string())
    }
}
