//! The data plane.

use std::sync::Arc;

use sagebrush_core::route::Routes;
use sagebrush_serving::invoke::Invoker;
use sagebrush_serving::{
    AsyncInference, Door, Meters, Retries, Sessions, Settings, async_inference,
};

use super::shared::Shared;
use super::{beside, unusable};
use crate::config::Config;
use crate::failure::Failure;

/// Opens the backlogs of asynchronous endpoints, and the door.
///
/// # Errors
/// When what waits cannot be read.
pub(super) async fn open(
    config: &Config,
    shared: &Shared,
    routes: &Routes,
) -> Result<Door, Failure> {
    let invoker = invoker(shared, routes);
    let max_payload = usize::try_from(config.max_payload_bytes).unwrap_or(usize::MAX);
    Ok(Door {
        asynchronous: asynchronous(shared, &invoker).await?,
        invoker,
        verifier: shared.verifier.clone(),
        authorizer: shared.access.clone(),
        meters: Arc::new(Meters::new(shared.ground.metrics.clone()).enhanced(routes.clone())),
        settings: Settings { max_payload, body_memory: shared.memory.clone() },
        tracer: shared.tracer.clone(),
    })
}

fn invoker(shared: &Shared, routes: &Routes) -> Invoker {
    Invoker {
        routes: routes.clone(),
        account: shared.ground.account.clone(),
        chance: rand::random::<f32>,
        turns: Arc::default(),
        sessions: Sessions::new(shared.ground.clock.clone()),
        retries: Retries::new(shared.ground.metrics.clone()),
        beside: beside::open(&shared.ground, &shared.watched),
    }
}

async fn asynchronous(shared: &Shared, invoker: &Invoker) -> Result<AsyncInference, Failure> {
    let ground = &shared.ground;
    let parts = async_inference::Parts {
        store: ground.store.clone(),
        objects: Arc::new(ground.objects.clone()),
        authorizer: shared.access.clone(),
        publisher: shared.messaging.publisher(),
        invoker: invoker.clone(),
        clock: ground.clock.clone(),
        log: ground.logs.clone(),
        metrics: ground.metrics.clone(),
        tracer: shared.tracer.clone(),
        spool: ground.data.join("async-input"),
    };
    AsyncInference::open(parts).await.map_err(|error| unusable(&ground.data, &error))
}
