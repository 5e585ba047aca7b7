//! Who did what: the seam between the door and the log of calls.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use crate::{AccountId, Region};

/// Takes calls. Never waits; drops and counts when it is behind.
pub trait AuditSink: Send + Sync + 'static {
    /// Whether calls of this operation are kept. Asked first, for the rest costs something.
    fn wants(&self, service: &str, operation: &str) -> bool;

    /// Takes a call that was answered. Secrets are still in it.
    fn record(&self, call: AuditedCall);
}

/// A call whose signature was good, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditedCall {
    pub region: Region,
    pub account: AccountId,
    pub request_id: Arc<str>,
    /// The name in the credential scope: `sagemaker`.
    pub service: String,
    pub operation: String,
    pub caller: Caller,
    /// `Null` where it could not be read.
    pub parameters: Value,
    /// What else CloudTrail tells of calls of a service; `Null` for most.
    pub additional: Value,
    /// In JSON; empty where there is none.
    pub response: Vec<u8>,
    /// Code and message of the refusal.
    pub error: Option<(String, String)>,
}

/// Who called, and from where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// Empty if nobody signed.
    pub access_key: Arc<str>,
    /// The role's ARN and the session's name, of temporary keys.
    pub session: Option<(String, String)>,
    pub source_ip: Option<IpAddr>,
    pub user_agent: Option<String>,
}
