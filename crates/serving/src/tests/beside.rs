//! Which calls are kept for the probes of the next deployment.

use std::sync::Arc;

use bytes::Bytes;
use sagebrush_core::route::VariantRoute;
use sagebrush_core::sample::{LONGEST, Sample};
use sagebrush_core::worker::{Call, WorkerError};

use super::{Does, call, instance, invoker, routed, target};
use crate::headers::{CUSTOM_ATTRIBUTES, INFERENCE_ID, SESSION_ID};

/// What is kept of a call that the model answers so.
async fn kept(does: Does, call: Call) -> Option<Call> {
    let sample = Arc::new(Sample::default());
    let variant = VariantRoute {
        sample: Some(sample.clone()),
        ..VariantRoute::new("v", "c".into(), vec![instance(does, 8)])
    };
    let (invoker, _routes) = invoker(routed(variant));
    let _outcome = invoker.invoke(&target("e", None), call).await;
    assert_eq!(sample.is_wanted(), sample.last().is_none());
    sample.last()
}

#[tokio::test(start_paused = true)]
async fn a_call_is_kept_as_its_model_saw_it() {
    let mut asked = call();
    asked.payload.content_type = Some("text/csv".to_owned());
    asked.accept = Some("application/json".to_owned());
    let header = |name, value: &str| (name, value.to_owned());
    asked.headers = vec![header(INFERENCE_ID, "1"), header(CUSTOM_ATTRIBUTES, "a=b")];
    let kept = kept(Does::Echo, asked.clone()).await.expect("it is answered well");
    assert_eq!(kept.payload, asked.payload);
    assert_eq!(kept.accept, asked.accept);
    assert_eq!(kept.headers, [header(CUSTOM_ATTRIBUTES, "a=b")]);
    assert_eq!(&*kept.request_id, "probe");
}

#[tokio::test(start_paused = true)]
async fn some_calls_are_never_kept() {
    assert!(kept(Does::Fail(WorkerError::TimedOut), call()).await.is_none());
    assert!(kept(Does::Fail(WorkerError::bad_input("x")), call()).await.is_none());
    let mut in_session = call();
    in_session.headers = vec![(SESSION_ID, "NEW_SESSION".to_owned())];
    assert!(kept(Does::Echo, in_session).await.is_none());
    let long = |n| {
        let mut call = call();
        call.payload.body = Bytes::from(vec![0; n]);
        call
    };
    assert!(kept(Does::Echo, long(LONGEST + 1)).await.is_none());
    assert!(kept(Does::Echo, long(LONGEST)).await.is_some());
}
