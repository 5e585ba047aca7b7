//! What conditions and policy variables may ask of a request.

use std::borrow::Cow;

use sagebrush_core::Timestamp;
use sagebrush_core::access::Asked;

/// All that is known of one request.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub asked: &'a Asked<'a>,
    pub account: &'a str,
    /// Of the user, or of the role.
    pub principal_arn: &'a str,
    /// Of the user, or of the role's session. Trust policies name either.
    pub caller_arn: &'a str,
    pub user_name: Option<&'a str>,
    pub now: Timestamp,
}

impl<'a> Facts<'a> {
    #[must_use]
    pub fn new(asked: &'a Asked<'a>, account: &'a str, arn: &'a str, now: Timestamp) -> Self {
        Self { asked, account, principal_arn: arn, caller_arn: arn, user_name: None, now }
    }

    /// The value of a condition key, by its name in lower case; `None` if the request has none.
    pub(super) fn value(&self, key: &str) -> Option<Cow<'a, str>> {
        let more = self.asked.more.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
        if let Some((_, value)) = more {
            return Some(Cow::Borrowed(value));
        }
        match key {
            "aws:sourceip" => self.asked.source_ip.map(|ip| ip.to_canonical().to_string().into()),
            "aws:requestedregion" => {
                Some(self.asked.region).filter(|region| !region.is_empty()).map(Cow::Borrowed)
            }
            "aws:principalarn" => Some(self.principal_arn.into()),
            "aws:principalaccount" => Some(self.account.into()),
            "aws:principaltype" => Some(self.principal_type().into()),
            "aws:username" => self.user_name.map(Cow::Borrowed),
            "aws:securetransport" => {
                Some(if self.asked.is_secure { "true" } else { "false" }.into())
            }
            "aws:currenttime" => Some(self.instant().to_string().into()),
            "aws:epochtime" => Some(self.instant().as_second().to_string().into()),
            _ => None,
        }
    }

    fn principal_type(&self) -> &'static str {
        if self.user_name.is_some() { "User" } else { "AssumedRole" }
    }

    fn instant(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.now.0).unwrap_or_default()
    }
}
