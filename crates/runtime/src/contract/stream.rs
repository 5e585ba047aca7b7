//! Responses that are passed on as they come.

use std::future::Future;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use sagebrush_core::worker::{Call, Session, StreamedReply, WorkerError};

use super::answer::{Said, broken, said};
use super::client::{Begun, ContractClient};
use super::failure::CallFailure;
use super::health::Beat;
use super::host::Contracted;

/// A response in the parts in which it comes.
pub(crate) struct InParts {
    content_type: Option<String>,
    custom_attributes: Option<String>,
    session: Option<Session>,
    pub(super) parts: BoxStream<'static, Result<Bytes, CallFailure>>,
}

/// Brings a call to its end, seen by those who watch the container's health.
pub(crate) async fn told_in_parts(
    container: &impl Contracted,
    call: impl Future<Output = Result<InParts, CallFailure>>,
) -> Result<StreamedReply, WorkerError> {
    let beat = container.pulse().begin();
    match call.await {
        Ok(InParts { content_type, custom_attributes, session, parts }) => {
            let under_way = UnderWay { parts, beat, cause: container.cause() };
            let parts = under_way.parts().boxed();
            Ok(StreamedReply { content_type, custom_attributes, session, parts })
        }
        Err(failure) => {
            let outcome = Err(failure.explained(container.cause()).await);
            beat.end(&outcome);
            outcome
        }
    }
}

impl ContractClient {
    /// `POST /invocations`, its response in parts. Dropped early, it closes the connection.
    pub(crate) async fn stream(&self, call: Call) -> Result<InParts, CallFailure> {
        self.stream_at(self.invocations(), call).await
    }

    pub(super) async fn stream_at(
        &self,
        path: &PathAndQuery,
        call: Call,
    ) -> Result<InParts, CallFailure> {
        let begun = self.begin(path, call).await?;
        let Said { content_type, custom_attributes, session } = said(begun.response.headers());
        Ok(InParts { content_type, custom_attributes, session, parts: begun.parts().boxed() })
    }
}

impl Begun {
    fn parts(self) -> impl Stream<Item = Result<Bytes, CallFailure>> {
        let Self { connection, response, pool } = self;
        let under_way: (_, Incoming) = (connection, response.into_body());
        stream::unfold(Some(under_way), move |under_way| {
            let pool = pool.clone();
            async move {
                let (mut connection, mut body) = under_way?;
                match connection.chunk(&mut body).await {
                    Ok(Some(part)) => Some((Ok(part), Some((connection, body)))),
                    Ok(None) => {
                        pool.give(connection);
                        None
                    }
                    Err(error) => Some((Err(broken(error)), None)),
                }
            }
        })
    }
}

/// A call whose parts come.
struct UnderWay {
    parts: BoxStream<'static, Result<Bytes, CallFailure>>,
    beat: Beat,
    cause: BoxFuture<'static, String>,
}

impl UnderWay {
    fn parts(self) -> impl Stream<Item = Result<Bytes, WorkerError>> {
        stream::unfold(Some(self), |under_way| async {
            let mut under_way = under_way?;
            match under_way.parts.next().await {
                Some(Ok(part)) => Some((Ok(part), Some(under_way))),
                Some(Err(failure)) => {
                    let outcome = Err(failure.explained(under_way.cause).await);
                    under_way.beat.end(&outcome);
                    Some((outcome, None))
                }
                None => {
                    under_way.beat.end(&Ok(()));
                    None
                }
            }
        })
    }
}
