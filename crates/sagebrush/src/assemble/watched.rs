//! What is measured, watched and told, for all that need it.

use std::sync::Arc;

use sagebrush_control::Watched;
use sagebrush_messaging::Messaging;
use sagebrush_telemetry::alarms::{Alarms, Parts};
use sagebrush_telemetry::metrics::CloudWatch;

use super::ground::Ground;
use super::unusable;
use crate::failure::Failure;

/// The alarms look at nothing until they are told who carries out their scaling policies.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn open(
    ground: &Ground,
    messaging: &Messaging,
) -> Result<(Watched, Arc<CloudWatch>, Arc<Alarms>), Failure> {
    let metrics = ground.measured.clone();
    let cloudwatch = CloudWatch::new(metrics.clone(), ground.store.clone(), ground.clock.clone());
    let parts = Parts {
        store: ground.store.clone(),
        clock: ground.clock.clone(),
        account: ground.account.clone(),
        metrics: metrics.clone(),
        math: Some(cloudwatch.clone()),
        publisher: messaging.publisher(),
        events: messaging.events(),
    };
    let alarms = Alarms::open(parts).await.map_err(|error| unusable(&ground.data, &error))?;
    let events = messaging.events();
    let math = cloudwatch.clone();
    Ok((Watched { metrics, math, alarms: alarms.clone(), events }, cloudwatch, alarms))
}
