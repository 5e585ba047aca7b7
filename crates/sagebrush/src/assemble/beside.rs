//! What is done with calls beside answering them.

use std::sync::Arc;

use sagebrush_control::Watched;
use sagebrush_serving::capture::{self, DiskSpace};
use sagebrush_serving::{Beside, Capture, Shadows, shadow};

use super::ground::Ground;

pub(super) fn open(ground: &Ground, watched: &Watched) -> Beside {
    let capture = Capture::start(capture::Parts {
        objects: Arc::new(ground.objects.clone()),
        space: Arc::new(DiskSpace(ground.data.clone())),
        clock: ground.clock.clone(),
        registry: ground.metrics.clone(),
        metrics: watched.metrics.clone(),
    });
    let shadows = Shadows::start(shadow::Parts {
        capture: Some(capture.clone()),
        chance: rand::random::<f32>,
        account: ground.account.clone(),
        clock: ground.clock.clone(),
        registry: ground.metrics.clone(),
        metrics: watched.metrics.clone(),
    });
    Beside { capture: Some(capture), shadows: Some(shadows) }
}
