//! Tells what becomes of endpoints: to the log, and as SageMaker's events.

use std::collections::HashMap;
use std::sync::Arc;

use sagebrush_core::events::{Event, EventSink};
use sagebrush_core::fleet::FleetView;
use sagebrush_core::resource::{Resource as _, Stored};
use sagebrush_core::{AccountId, Arn, Clock, Region};
use serde_json::{Map, Value, json};

use super::rollout::Stage;
use super::{Endpoint, EndpointState, describe};
use crate::resources::stored_request;

const STATE_CHANGE: &str = "SageMaker Endpoint State Change";
const DEPLOYMENT_CHANGE: &str = "SageMaker Endpoint Deployment State Change";

/// Writes a change to the log of this server.
pub(super) fn log_change(before: &Stored<Endpoint>, after: Option<&Stored<Endpoint>>) {
    let (endpoint, from) = (&before.name, before.status.word());
    let Some(status) = after.map(|after| &after.status) else {
        tracing::info!(%endpoint, from, "endpoint deleted");
        return;
    };
    let (to, stage) = (status.word(), stage(status));
    match status.failure() {
        Some(reason) => {
            tracing::error!(%endpoint, from, to, %reason, "endpoint failed or fell back");
        }
        None => tracing::info!(%endpoint, from, to, ?stage, "endpoint changed"),
    }
}

fn stage(status: &EndpointState) -> Option<Stage> {
    match status {
        EndpointState::Updating { rollout, .. } => Some(rollout.stage),
        EndpointState::Creating
        | EndpointState::InService { .. }
        | EndpointState::RollingBack { .. }
        | EndpointState::UpdateRollbackFailed { .. }
        | EndpointState::Failed { .. }
        | EndpointState::Deleting => None,
    }
}

/// Emits an event for each change that it sees.
pub(super) struct Herald {
    pub(super) events: Arc<dyn EventSink>,
    pub(super) account: AccountId,
    pub(super) clock: Arc<dyn Clock>,
    /// Where each endpoint stood last. `None` before the first look, of which nothing is told: it
    /// was told before the server was started.
    told: Option<HashMap<(Region, String), Told>>,
}

#[derive(Clone, PartialEq)]
struct Told {
    status: &'static str,
    /// Of a deployment, its stage or how far it is back.
    deployment: Option<(Option<Stage>, u32)>,
}

impl Told {
    fn of(state: &EndpointState) -> Self {
        let deployment = match state {
            EndpointState::Updating { rollout, .. } => Some((Some(rollout.stage), 0)),
            EndpointState::RollingBack { rollback, .. }
            | EndpointState::UpdateRollbackFailed { rollback, .. } => Some((None, rollback.back)),
            EndpointState::Creating
            | EndpointState::InService { .. }
            | EndpointState::Failed { .. }
            | EndpointState::Deleting => None,
        };
        Self { status: state.word(), deployment }
    }
}

impl Herald {
    pub(super) fn new(
        events: Arc<dyn EventSink>,
        account: AccountId,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { events, account, clock, told: None }
    }

    /// Tells what was changed by others since the last look.
    pub(super) fn look(&mut self, endpoints: &[Stored<Endpoint>], seen: &FleetView) {
        if self.told.is_none() {
            let told = |endpoint: &Stored<Endpoint>| (key(endpoint), Told::of(&endpoint.status));
            self.told = Some(endpoints.iter().map(told).collect());
        }
        for endpoint in endpoints {
            self.tell(endpoint, seen);
        }
    }

    /// Tells where the endpoint stands, if it stands elsewhere than before.
    pub(super) fn tell(&mut self, endpoint: &Stored<Endpoint>, seen: &FleetView) {
        let now = Told::of(&endpoint.status);
        let told = self.told.get_or_insert_default();
        let before = told.insert(key(endpoint), now.clone());
        if before.as_ref().is_none_or(|before| before.status != now.status) {
            self.emit(STATE_CHANGE, endpoint, now.status, seen);
        }
        // The end of a deployment is one of its changes.
        let had = before.and_then(|before| before.deployment);
        if had != now.deployment {
            self.emit(DEPLOYMENT_CHANGE, endpoint, now.status, seen);
        }
    }

    /// Tells that nothing is left of it.
    pub(super) fn tell_gone(&mut self, endpoint: &Stored<Endpoint>, seen: &FleetView) {
        self.told.get_or_insert_default().remove(&key(endpoint));
        self.emit(STATE_CHANGE, endpoint, "Deleted", seen);
    }

    fn emit(
        &self,
        detail_type: &'static str,
        endpoint: &Stored<Endpoint>,
        status: &str,
        seen: &FleetView,
    ) {
        let arn = Arn::sagemaker(&endpoint.region, &self.account, Endpoint::KIND, &endpoint.name);
        let arn = arn.to_string();
        let deployed = endpoint.status.serving().unwrap_or(&endpoint.spec.wanted);
        let variants = describe::variants(endpoint, |it| &it.variants, None, seen);
        let mut detail = json!({
            "EndpointName": endpoint.name,
            "EndpointArn": arn,
            "EndpointConfigName": deployed.config,
            "ProductionVariants": variants.iter().map(shown).collect::<Vec<_>>(),
            "EndpointStatus": in_capitals(status),
            "CreationTime": endpoint.created_at,
            "LastModifiedTime": endpoint.modified_at,
            "Tags": endpoint.tags,
        });
        if let Some(pending) = describe::pending(endpoint, seen) {
            let variants = pending.production_variants.iter().flatten();
            detail["PendingDeploymentSummary"] = json!({
                "EndpointConfigName": pending.endpoint_config_name,
                "StartTime": pending.start_time.map(millis),
                "ProductionVariants": variants.map(shown).collect::<Vec<_>>(),
            });
        }
        if let Some(reason) = endpoint.status.failure() {
            detail["FailureReason"] = describe::shortened(reason).into();
        }
        self.events.emit(Event {
            region: endpoint.region.clone(),
            source: "aws.sagemaker",
            detail_type,
            resources: vec![arn],
            detail,
            at: self.clock.now(),
        });
    }
}

fn key(endpoint: &Stored<Endpoint>) -> (Region, String) {
    (endpoint.region.clone(), endpoint.name.clone())
}

/// `InService`: `IN_SERVICE`.
fn in_capitals(word: &str) -> String {
    let mut capitals = String::new();
    for letter in word.chars() {
        if letter.is_ascii_uppercase() && !capitals.is_empty() {
            capitals.push('_');
        }
        capitals.push(letter.to_ascii_uppercase());
    }
    capitals
}

/// The members of a variant that SageMaker's events have.
fn shown(variant: &impl serde::Serialize) -> Value {
    let shown = stored_request(variant).unwrap_or_default();
    let members = [
        "VariantName",
        "CurrentWeight",
        "DesiredWeight",
        "CurrentInstanceCount",
        "DesiredInstanceCount",
        "VariantStatus",
    ];
    let shown = members.iter().filter_map(|name| {
        let value = shown.get(*name)?.clone();
        Some(((*name).to_owned(), value))
    });
    let mut shown: Map<String, Value> = shown.collect();
    for status in shown.get_mut("VariantStatus").and_then(Value::as_array_mut).into_iter().flatten()
    {
        let start = status.get("StartTime").and_then(Value::as_f64);
        if let Some(start) = start {
            status["StartTime"] = millis(sagebrush_wire::Timestamp(start)).into();
        }
    }
    shown.into()
}

/// Events have times in milliseconds.
fn millis(time: sagebrush_wire::Timestamp) -> i64 {
    crate::list::from_wire(time).0
}
