//! Brings experiments from what is seen to what is wanted: reads both, calls `plan`, carries out
//! through the functions that the handlers of endpoints use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::access::{Asked, Caller};
use sagebrush_core::fleet::FleetView;
use sagebrush_core::resource::Stored;
use sagebrush_core::store::{Query, StoreError};
use sagebrush_core::{Arn, Region, Timestamp};

use super::plan::{self, Instances, Seen, Step, failed, plan};
use super::{Before, Goal, InferenceExperiment, State, configs};
use crate::Control;
use crate::endpoint::capacity::{self, Change, ChangeError};
use crate::endpoint::{Deployment, Endpoint, EndpointSpec, given_up, redeploy, resolve};

/// When nothing wakes the reconciler it looks by itself: a failed write is tried again then.
const LOOK_AFTER: Duration = Duration::from_secs(10);

/// Settles inference experiments. An activation may be killed between any two steps.
pub struct Reconciler {
    control: Arc<Control>,
    /// Whether there may be configurations of experiments. It is found out after a start.
    has_configs: bool,
    /// Whether instances of shadow variants are waited for.
    awaits_instances: bool,
}

/// Why a step was not taken.
#[derive(Debug, thiserror::Error)]
enum StepError {
    /// It will not be possible later either.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fault(ApiError),
}

/// The experiments that have not ended, of one region or of all.
pub(super) async fn unfinished(
    control: &Control,
    region: Option<&Region>,
) -> Result<Vec<Stored<InferenceExperiment>>, StoreError> {
    let mut experiments = Vec::new();
    for word in State::UNFINISHED {
        let query =
            Query { region: region.cloned(), status: Some(word.to_owned()), ..Query::default() };
        experiments.extend(control.inference_experiments.list(&query).await?.0);
    }
    Ok(experiments)
}

impl Reconciler {
    #[must_use]
    pub fn new(control: Arc<Control>) -> Self {
        Self { control, has_configs: true, awaits_instances: false }
    }

    /// Reconciles until the task is dropped.
    pub async fn run(mut self) {
        let mut settled = self.control.settled();
        let mut fleet = self.control.fleet.watch();
        loop {
            settled.borrow_and_update();
            fleet.borrow_and_update();
            let pause = self.activate().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "settling inference experiments failed"); // Tried again.
                LOOK_AFTER
            });
            tokio::select! {
                () = self.control.experiment_wake.notified() => {}
                changed = settled.changed() => if changed.is_err() { return },
                changed = fleet.changed(), if self.awaits_instances => {
                    if changed.is_err() { return }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks at every experiment that has not ended and takes its next step. Returns how long
    /// there is until the next look.
    async fn activate(&mut self) -> Result<Duration, StoreError> {
        let mut experiments = unfinished(&self.control, None).await?;
        let mut look_at = None::<Timestamp>;
        for at in 0..experiments.len() {
            let Some(experiment) = experiments.get(at) else { break };
            let has_rival = experiments.iter().any(|other| {
                other.status.state.holds_endpoint()
                    && (&other.region, &other.name) != (&experiment.region, &experiment.name)
                    && other.region == experiment.region
                    && other.spec.is_on_endpoint_of(&experiment.spec)
            });
            match self.settle(experiment, has_rival).await {
                Ok(Settled::Changed(after)) => {
                    self.control.experiment_wake.notify_one(); // It may have a next step.
                    if let Some(place) = experiments.get_mut(at) {
                        *place = *after;
                    }
                }
                Ok(Settled::Until(until)) => look_at = look_at.into_iter().chain([until]).min(),
                Ok(Settled::AsItWas) => {}
                Err(error) => {
                    let name = &experiment.name;
                    tracing::warn!(experiment = %name, %error, "settling an experiment failed");
                }
            }
        }
        self.awaits_instances =
            experiments.iter().any(|experiment| experiment.status.state == State::Starting);
        self.collect(&experiments).await?;
        let now = self.control.clock.now();
        Ok(look_at.map_or(LOOK_AFTER, |at| at.since(now).min(LOOK_AFTER)))
    }

    async fn settle(
        &mut self,
        experiment: &Stored<InferenceExperiment>,
        has_rival: bool,
    ) -> Result<Settled, StepError> {
        let control = self.control.clone();
        let endpoint = control.endpoints.get(&experiment.region, &experiment.spec.endpoint).await?;
        let config = self.served_config(experiment, endpoint.as_ref()).await?;
        let shadow = endpoint.as_ref().map_or(Instances::Starting, |endpoint| {
            let view = control.fleet.watch().borrow().clone();
            shadow_instances(endpoint, &view)
        });
        let seen = Seen {
            spec: &experiment.spec,
            status: &experiment.status,
            endpoint: endpoint.as_ref().map(|endpoint| plan::Endpoint {
                state: &endpoint.status,
                wanted: &endpoint.spec.wanted,
                config: config.as_ref(),
                shadow: &shadow,
            }),
            has_rival,
            now: control.clock.now(),
        };
        let mut step = plan(&seen);
        let taken = match &step {
            Step::Stay | Step::StayUntil(_) | Step::Become(_) => Ok(()),
            Step::Deploy(goal) => self.deploy(experiment, endpoint.clone(), goal).await,
            Step::Reweigh(weight) => self.reweigh(experiment, *weight).await,
        };
        match taken {
            Ok(()) => {}
            Err(StepError::Refused(reason)) => step = failed(&seen, &reason),
            // The client was quicker: look again.
            Err(StepError::Store(StoreError::Conflict { .. })) => {
                control.experiment_wake.notify_one();
            }
            Err(error @ (StepError::Store(_) | StepError::Fault(_))) => return Err(error),
        }
        let status = match step {
            Step::Stay | Step::Deploy(_) | Step::Reweigh(_) => return Ok(Settled::AsItWas),
            Step::StayUntil(until) => return Ok(Settled::Until(until)),
            Step::Become(status) => status,
        };
        let after = Stored { status, ..experiment.clone() };
        match control.inference_experiments.update(after).await {
            Ok(after) => {
                log_change(experiment, &after);
                Ok(Settled::Changed(Box::new(after)))
            }
            Err(StoreError::Conflict { .. }) => {
                control.experiment_wake.notify_one(); // The client was quicker: look again.
                Ok(Settled::AsItWas)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The configuration of what serves, while it has to be remembered.
    async fn served_config(
        &self,
        experiment: &Stored<InferenceExperiment>,
        endpoint: Option<&Stored<Endpoint>>,
    ) -> Result<Option<serde_json::Value>, StoreError> {
        let is_needed =
            experiment.status.before.is_none() && experiment.status.state == State::Starting;
        let serving = endpoint.and_then(|endpoint| endpoint.status.serving());
        let Some(serving) = serving.filter(|_| is_needed) else { return Ok(None) };
        let configs = &self.control.endpoint_configs;
        let config = configs.get(&experiment.region, &serving.config).await?;
        Ok(config.map(|config| config.spec.request))
    }

    /// Asks for the endpoint to be made or brought to `goal`.
    async fn deploy(
        &mut self,
        experiment: &Stored<InferenceExperiment>,
        endpoint: Option<Stored<Endpoint>>,
        goal: &Goal,
    ) -> Result<(), StepError> {
        let control = self.control.clone();
        self.check_role(experiment, endpoint.is_some())?;
        let wanted = match (goal, &experiment.status.before) {
            (Goal::Own(..), _) => self.own(experiment, goal).await?,
            (Goal::Before, Some(before)) => {
                Deployment { revision: experiment.spec.id.clone(), ..before.deployment.clone() }
            }
            (Goal::Before, None) | (Goal::Kept, _) => return Ok(()),
        };
        match endpoint {
            Some(endpoint) => redeploy(&control, endpoint, wanted).await?,
            None => {
                let (region, name) = (&experiment.region, &experiment.spec.endpoint);
                let spec = EndpointSpec { wanted, deployment_config: None };
                control.endpoints.create(region, name, spec, BTreeMap::new()).await?;
            }
        }
        control.wake_reconciler();
        Ok(())
    }

    /// A deployment of the experiment's own configuration, which is made unless it is there.
    async fn own(
        &mut self,
        experiment: &Stored<InferenceExperiment>,
        goal: &Goal,
    ) -> Result<Deployment, StepError> {
        let Goal::Own(purpose, layout) = goal else {
            return Err(StepError::Refused("The goal has no configuration.".to_owned()));
        };
        let (control, region) = (&self.control, &experiment.region);
        let context = Context::new(region.clone(), control.account.clone());
        let name = configs::name(&experiment.spec, *purpose);
        if control.endpoint_configs.get(region, &name).await?.is_none() {
            let base = experiment
                .status
                .before
                .as_deref()
                .and_then(|before: &Before| before.config.as_ref());
            let request = configs::request(base, layout, &name);
            let spec = configs::spec(&request).map_err(refused)?;
            let tags = BTreeMap::from([(configs::TAG.to_owned(), experiment.name.clone())]);
            self.has_configs = true;
            control.endpoint_configs.create(region, &name, spec, tags).await?;
        }
        resolve(control, &context, &name).await.map_err(refused)
    }

    /// The role of the experiment manages its endpoint.
    fn check_role(
        &self,
        experiment: &Stored<InferenceExperiment>,
        is_there: bool,
    ) -> Result<(), StepError> {
        let (region, account) = (&experiment.region, &self.control.account);
        let kind = <Endpoint as sagebrush_core::resource::Resource>::KIND;
        let arn = Arn::sagemaker(region, account, kind, &experiment.spec.endpoint).to_string();
        let action = if is_there { "sagemaker:UpdateEndpoint" } else { "sagemaker:CreateEndpoint" };
        let asked = Asked { region: region.as_str(), ..Asked::new(action, &arn) };
        let role = Caller::Role { arn: &experiment.spec.role_arn };
        let allowed = self.control.authorizer.check(&role, &asked);
        allowed.map_err(|denied| StepError::Refused(denied.to_string()))
    }

    async fn reweigh(
        &self,
        experiment: &Stored<InferenceExperiment>,
        weight: f32,
    ) -> Result<(), StepError> {
        let Some(shadow) = &experiment.spec.layout.shadow else { return Ok(()) };
        self.check_role(experiment, true)?;
        let variant = shadow.variant.name.clone();
        let change = Change { variant, weight: Some(weight), ..Change::default() };
        let (region, name) = (&experiment.region, &experiment.spec.endpoint);
        match capacity::change(&self.control.endpoints, region, name, &[change]).await {
            Ok(()) => {
                self.control.wake_reconciler();
                Ok(())
            }
            Err(ChangeError::Store(error)) => Err(error.into()),
            Err(ChangeError::InProgress(_) | ChangeError::NoEndpoint(_)) => Ok(()), // Seen next.
            Err(
                error @ (ChangeError::NoVariant(_)
                | ChangeError::Invalid(_)
                | ChangeError::TooMany { .. }),
            ) => Err(StepError::Refused(error.to_string())),
        }
    }

    /// Removes the configurations of experiments that have ended and that no endpoint is made of.
    async fn collect(
        &mut self,
        unfinished: &[Stored<InferenceExperiment>],
    ) -> Result<(), StoreError> {
        if !self.has_configs {
            return Ok(());
        }
        let named = Some(configs::PREFIX.to_owned());
        let query = Query { name_contains: named, ..Query::default() };
        let (mut ours, _) = self.control.endpoint_configs.list(&query).await?;
        ours.retain(|config| {
            config.name.starts_with(configs::PREFIX) && config.tags.contains_key(configs::TAG)
        });
        self.has_configs = !ours.is_empty();
        if ours.is_empty() {
            return Ok(());
        }
        let endpoints = self.control.endpoints.all().await?;
        for config in ours {
            let region = &config.region;
            let is_of = |deployment: &Deployment| deployment.config == config.name;
            let is_used = endpoints.iter().any(|endpoint| {
                endpoint.region == *region
                    && (is_of(&endpoint.spec.wanted)
                        || endpoint.status.serving().is_some_and(is_of))
            });
            let is_needed = unfinished.iter().any(|experiment| {
                experiment.region == *region
                    && !experiment.status.state.is_final()
                    && configs::is_of(&experiment.spec, &config.name)
            });
            if !is_used && !is_needed {
                match self.control.endpoint_configs.remove(&config).await {
                    Ok(()) | Err(StoreError::Conflict { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// How the instances are of the shadow variant that the endpoint has now.
fn shadow_instances(endpoint: &Stored<Endpoint>, view: &FleetView) -> Instances {
    let serving = endpoint.status.serving();
    let Some((serving, shadow)) = serving.and_then(|it| Some((it, it.shadows.first()?))) else {
        return Instances::Starting;
    };
    let key = serving.key(&endpoint.region, &endpoint.name, &shadow.name);
    let instances = view.get(&key).map_or(&[][..], Vec::as_slice);
    if let Some(reason) = instances.iter().find_map(given_up) {
        return Instances::Lost(reason);
    }
    let n_ready = instances.iter().filter(|instance| instance.ready().is_some()).count();
    if n_ready >= shadow.first_count() as usize { Instances::Ready } else { Instances::Starting }
}

/// What became of an experiment.
enum Settled {
    AsItWas,
    /// The same, until then.
    Until(Timestamp),
    Changed(Box<Stored<InferenceExperiment>>),
}

fn refused(error: ApiError) -> StepError {
    if error.status.is_server_error() {
        return StepError::Fault(error);
    }
    StepError::Refused(error.message)
}

fn log_change(before: &Stored<InferenceExperiment>, after: &Stored<InferenceExperiment>) {
    let (experiment, from) = (&after.name, before.status.state.word());
    let (to, reason) = (after.status.state.word(), after.status.reason.as_deref());
    if from != to {
        tracing::info!(%experiment, from, to, reason, "inference experiment changed");
    }
}
