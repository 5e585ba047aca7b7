//! What several doors and planes share: who may do what, messages, metrics, alarms, traces.

use std::sync::Arc;

use sagebrush_access::Access;
use sagebrush_aws::sigv4::Verifier;
use sagebrush_aws::{Api, BodyMemory};
use sagebrush_control::{Control, Watched};
use sagebrush_core::trace::Tracer;
use sagebrush_messaging::Messaging;
use sagebrush_telemetry::alarms::{self, Alarms};
use sagebrush_telemetry::metrics::{self, CloudWatch};
use sagebrush_telemetry::traces::Traces;
use sagebrush_telemetry::{audit, logs};
use sha2::{Digest as _, Sha256};

use super::ground::Ground;
use super::{access, otlp, unusable, watched};
use crate::config::Config;
use crate::failure::Failure;
use crate::secrets::master_secret;

pub(super) struct Shared {
    pub(super) ground: Ground,
    pub(super) access: Arc<Access>,
    pub(super) verifier: Arc<Verifier>,
    /// For the bodies of all requests together.
    pub(super) memory: BodyMemory,
    pub(super) messaging: Messaging,
    pub(super) watched: Watched,
    pub(super) cloudwatch: Arc<CloudWatch>,
    pub(super) alarms: Arc<Alarms>,
    pub(super) tracer: Tracer,
    pub(super) traces: Option<Arc<Traces>>,
}

impl Shared {
    /// Opens the data directory, and all that is read at the start.
    ///
    /// # Errors
    /// When it cannot be used.
    pub(super) async fn open(config: &Config) -> Result<Self, Failure> {
        let ground = Ground::lay(config).await?;
        let master = master_secret(&ground.data).map_err(|error| unusable(&ground.data, &error))?;
        let access = access::open(config, &ground, master).await?;
        let messaging = messaging(config, &ground, &master).await?;
        ground.objects.tell(messaging.events());
        let (watched, cloudwatch, alarms) = watched::open(&ground, &messaging).await?;
        let (tracer, traces) = otlp::traces(config, &ground);
        Ok(Self {
            verifier: Arc::new(Verifier::new(access.clone(), ground.clock.clone())),
            memory: BodyMemory::new(usize::try_from(config.max_body_memory).unwrap_or(usize::MAX)),
            ground,
            access,
            messaging,
            watched,
            cloudwatch,
            alarms,
            tracer,
            traces,
        })
    }

    /// The door of all operations but the data plane's.
    pub(super) fn aws_door(&self, control: Arc<Control>) -> sagebrush_aws::Door {
        let (access, verifier) = (self.access.clone(), self.verifier.clone());
        let (account, memory) = (self.ground.account.clone(), self.memory.clone());
        sagebrush_aws::Door::new(self.api(control), verifier, access, account, memory)
            .traced(self.tracer.clone())
            .audited(self.ground.audit.clone())
    }

    fn api(&self, control: Arc<Control>) -> Api {
        sagebrush_control::operations()
            .serve(control)
            .and(logs::operations().serve(self.ground.logs.clone()))
            .and(audit::operations().serve(self.ground.audit.clone()))
            .and(metrics::operations().serve(self.cloudwatch.clone()))
            .and(alarms::operations().serve(self.alarms.clone()))
            .and(sagebrush_access::operations().serve(self.access.clone()))
            .and(self.messaging.api())
    }
}

/// Topics, queues and events. The secrets of topics are made from another secret than session keys.
async fn messaging(
    config: &Config,
    ground: &Ground,
    master: &[u8; 32],
) -> Result<Messaging, Failure> {
    let mut secret = Sha256::new();
    secret.update(b"sagebrush topics ");
    secret.update(master);
    let parts = sagebrush_messaging::Parts {
        store: ground.store.clone(),
        clock: ground.clock.clone(),
        account: ground.account.clone(),
        secret: secret.finalize().into(),
        metrics: ground.metrics.clone(),
        smtp: config.smtp.clone(),
        log: ground.logs.clone(),
    };
    Messaging::open(parts).await.map_err(|error| unusable(&ground.data, &error))
}
