//! May the caller invoke this endpoint?

use http::StatusCode;
use http::request::Parts;
use sagebrush_aws::guard::caller;
use sagebrush_aws::sigv4::Caller;
use sagebrush_aws::{ApiError, InvokeKind, Peer};
use sagebrush_core::Arn;
use sagebrush_core::access::Asked;

use crate::door::Door;
use crate::invoke::Target;

impl Door {
    /// One comparison for who may do everything.
    pub(crate) fn allow(
        &self,
        who: &Caller,
        parts: &Parts,
        target: &Target,
        kind: InvokeKind,
    ) -> Result<(), ApiError> {
        let caller = caller(&who.access_key, who.session.as_deref());
        if self.authorizer.is_unlimited(&caller) {
            return Ok(());
        }
        let account = &self.invoker.account;
        let endpoint =
            Arn::sagemaker(&target.region, account, "endpoint", target.endpoint.as_str());
        let resource = endpoint.to_string();
        let variant = target.variant.as_deref();
        let variant = variant.map(|variant| ("sagemaker:TargetVariant", variant));
        let more: Vec<_> = variant.into_iter().collect();
        let peer = parts.extensions.get::<Peer>();
        let asked = Asked {
            region: target.region.as_str(),
            source_ip: peer.map(|peer| peer.ip),
            is_secure: peer.is_some_and(|peer| peer.is_secure),
            more: &more,
            ..Asked::new(action(kind), &resource)
        };
        self.authorizer.check(&caller, &asked).map_err(|denied| {
            ApiError::new("AccessDeniedException", StatusCode::FORBIDDEN, denied.to_string())
        })
    }
}

fn action(kind: InvokeKind) -> &'static str {
    match kind {
        InvokeKind::RealTime => "sagemaker:InvokeEndpoint",
        InvokeKind::Async => "sagemaker:InvokeEndpointAsync",
        InvokeKind::Stream => "sagemaker:InvokeEndpointWithResponseStream",
    }
}
