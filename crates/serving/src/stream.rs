//! Calls whose reply comes in parts. SageMaker Runtime API: `InvokeEndpointWithResponseStream`.

mod frames;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Body;
use sagebrush_aws::{InvokeKind, request_id};

use self::frames::Frames;
use crate::door::{Arrived, Door, LetIn, Refusal};
use crate::invoke::Streamed;
use crate::reply::{self, Spent};

/// How long a call may take, to the last part of its reply.
///
/// SageMaker API: "the total timeout of a streamed response is 8 minutes".
const STREAM_TIMEOUT: Duration = Duration::from_mins(8);

/// A reply in parts, or an error in one piece.
pub type StreamBody = Either<Full<Bytes>, Frames>;

impl Door {
    /// Answers `POST /endpoints/{endpoint}/invocations-response-stream`.
    pub async fn stream<B>(&self, endpoint: &str, request: Request<B>) -> Response<StreamBody>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let id = request_id();
        let mut arrived = self.arrived("InvokeEndpointWithResponseStream", request.headers());
        let begun = self.begin(endpoint, request, &id, &mut arrived).await;
        let response = begun
            .unwrap_or_else(|refusal| refusal.into_response(&id, &mut arrived).map(Either::Left));
        if let Some(trace) = &mut arrived.trace {
            trace.answered(response.status(), &id);
        }
        response
    }

    /// The way of a call up to the first part of its reply.
    async fn begin<B>(
        &self,
        endpoint: &str,
        request: Request<B>,
        id: &Arc<str>,
        arrived: &mut Arrived,
    ) -> Result<Response<StreamBody>, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let within = arrived.within(STREAM_TIMEOUT);
        let let_in = self.let_in(endpoint, InvokeKind::Stream, request, id, within).await?;
        // The body is with the model when the first part is there, and its room is free then.
        let LetIn { target, mut call, held: _held } = let_in;
        arrived.let_in(&target, &mut call);
        let streamed = self.invoker.stream(&target, call).await.inspect_err(|error| {
            self.meters.refused(&target, error);
        })?;
        if let Some(trace) = &mut arrived.trace {
            trace.streamed(&streamed);
        }
        let Streamed { variant, instance, outcome, queued, model_latency, .. } = streamed;
        let total = arrived.at.elapsed();
        let spent = Spent { total, queued, model_latency, batch_size: 1, ..Spent::default() };
        Ok(match outcome {
            Ok(reply) => {
                let meter = self.meters.streamed(&target, (&variant, &instance), &spent);
                let head = reply::parted((), &reply, &variant.name, id, &spent);
                let mut trace = arrived.trace.take(); // It ends with the parts.
                if let Some(trace) = &mut trace {
                    trace.answered(head.status(), id);
                }
                let frames = Frames::new(reply.parts, meter, trace);
                head.map(|()| Either::Right(frames))
            }
            Err(error) => {
                self.meters.not_streamed(&target, (&variant, &instance), &error, &spent);
                reply::failure(&error, id, &spent).map(Either::Left)
            }
        })
    }
}
