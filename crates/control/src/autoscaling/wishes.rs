//! What a policy asks for now, by the metrics and the alarms.

use std::time::Duration;

use sagebrush_core::Region;
use sagebrush_core::cloudwatch::{Datapoint, MetricId, MetricQuery, Statistic};
use sagebrush_core::resource::Stored;

use super::plan::{self, Seen, Want, Wish};
use super::reconcile::Alarmed;
use super::settle::Look;
use super::step::StepScaling;
use super::target_tracking::{self, Points, TargetTracking, TrackedMetric};
use super::{Cooldowns, PolicySpec, Rule, ScalableTarget};

/// Where SageMaker's own metrics are.
const NAMESPACE: &str = "AWS/SageMaker";
const MINUTE: Duration = Duration::from_mins(1);

impl Look<'_> {
    /// `None` for a policy that only alarms call, and that none has called lately.
    pub(super) fn wish(
        &self,
        policy: &PolicySpec,
        place: (&str, &str),
        target: &Stored<ScalableTarget>,
        (seen, least): (&Seen<'_>, u32),
    ) -> Option<Wish> {
        match &policy.rule {
            Rule::TargetTracking(rule) => {
                let name = &policy.policy_name;
                Some(self.tracking(name, rule, (&target.region, place), (seen, least)))
            }
            Rule::Step(rule) => {
                let alarmed = self.memory.alarmed.get(&policy.arn)?;
                Some(stepping(&policy.policy_name, rule, alarmed, seen))
            }
        }
    }

    fn tracking(
        &self,
        policy: &str,
        rule: &TargetTracking,
        (region, place): (&Region, (&str, &str)),
        (seen, least): (&Seen<'_>, u32),
    ) -> Wish {
        let cooldowns = rule.cooldowns();
        let read = |period| self.read(&rule.metric, region, place, (period, seen));
        let high = read(rule.metric.period());
        let low = if rule.metric.period() == MINUTE { high.clone() } else { read(MINUTE) };
        let points = Points { high: &high, low: &low };
        let times = (seen.now, seen.status.changed);
        let (want, value) = rule.want(points, plan::capacity(seen, cooldowns), least, times);
        let (metric, target) = (rule.metric.name(), rule.target);
        let value = value.unwrap_or_default();
        let cause = match want {
            Want::In(_) => format!(
                "policy {policy} was triggered: for 15 minutes {metric} was {value} at most, below \
                 its target of {target}"
            ),
            Want::Out(_) | Want::Hold | Want::Nothing | Want::Unknown => format!(
                "policy {policy} was triggered: {metric} was {value}, above its target of {target}"
            ),
        };
        Wish { want, cause, cooldowns, is_alarmed: false }
    }

    fn read(
        &self,
        metric: &TrackedMetric,
        region: &Region,
        place: (&str, &str),
        (period, seen): (Duration, &Seen<'_>),
    ) -> Vec<Datapoint> {
        let (from, to) = target_tracking::span(period, seen.now);
        if let TrackedMetric::Math(queries) = metric {
            return self.control.watched.math.read(region, queries, from..to);
        }
        let Some((metric, statistic, unit)) = query_of(metric, place) else { return Vec::new() };
        let query = MetricQuery { metric, unit, from, to, period, statistic };
        self.control.watched.metrics.read(region, &query)
    }
}

impl TargetTracking {
    pub(super) fn cooldowns(&self) -> Cooldowns {
        Cooldowns {
            scale_out: Duration::from_secs(self.scale_out_cooldown_s.into()),
            scale_in: Duration::from_secs(self.scale_in_cooldown_s.into()),
        }
    }
}

fn stepping(policy: &str, rule: &StepScaling, alarmed: &Alarmed, seen: &Seen<'_>) -> Wish {
    let cooldown = Duration::from_secs(rule.cooldown_s.into());
    let cooldowns = Cooldowns { scale_out: cooldown, scale_in: cooldown };
    let wanted = rule.want(alarmed.beyond, plan::capacity(seen, cooldowns));
    let want = match wanted {
        wanted if alarmed.is_new => wanted,
        // It was heard already. While it lasts, nobody scales in against it.
        Want::Out(_) => Want::Hold,
        Want::In(_) | Want::Hold | Want::Nothing | Want::Unknown => Want::Nothing,
    };
    let cause = format!("monitor alarm {} in state ALARM triggered policy {policy}", alarmed.alarm);
    Wish { want, cause, cooldowns, is_alarmed: true }
}

type Asked = (MetricId, Statistic, Option<std::sync::Arc<str>>);

/// What to ask for of one metric; `None` for a statistic that nobody knows, which is refused when
/// it is put.
fn query_of(metric: &TrackedMetric, (endpoint, variant): (&str, &str)) -> Option<Asked> {
    let of_variant = || {
        [("EndpointName", endpoint), ("VariantName", variant)]
            .map(|(name, value)| (name.into(), value.into()))
    };
    let name = metric.name();
    match metric {
        TrackedMetric::InvocationsPerInstance => {
            Some((MetricId::new(NAMESPACE, name, of_variant()), Statistic::Sum, None))
        }
        TrackedMetric::ConcurrentRequestsPerModel
        | TrackedMetric::ProvisionedConcurrencyUtilization => {
            Some((MetricId::new(NAMESPACE, name, of_variant()), Statistic::Average, None))
        }
        TrackedMetric::Customized { namespace, name, dimensions, statistic, unit } => {
            let pair =
                |(name, value): &(String, String)| (name.as_str().into(), value.as_str().into());
            let id = MetricId::new(namespace.as_str(), name.as_str(), dimensions.iter().map(pair));
            Some((id, statistic.parse().ok()?, unit.as_deref().map(Into::into)))
        }
        TrackedMetric::Math(_) => None,
    }
}
