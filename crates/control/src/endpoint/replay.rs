//! What the instances of a new fleet are asked whose containers say nothing of probes: the last
//! call that the old fleet answered well. It is lent by serving, and kept in memory only.

use std::collections::HashMap;
use std::sync::Arc;

use sagebrush_core::Region;
use sagebrush_core::resource::Stored;
use sagebrush_core::sample::Sample;
use sagebrush_core::worker::Call;
use tokio::time::Instant;

use super::{DeployedVariant, Deployment, Endpoint};

pub(super) const REPLAY: &str = "SAGEBRUSH_PROBE_REPLAY";

/// The samples of all variants that serve. They may be lost: other calls come.
#[derive(Default)]
pub(super) struct Samples(HashMap<VariantKey, Arc<Sample>>);

/// An endpoint's variant, whatever is deployed of it.
type VariantKey = (Region, String, String);

impl Samples {
    /// Has a sample for each variant that serves, and no others; wants another call where the last
    /// one is old.
    pub(super) fn look(&mut self, endpoints: &[Stored<Endpoint>], now: Instant) {
        let before = std::mem::take(&mut self.0);
        let serving = endpoints.iter().filter_map(|it| Some((it, it.status.serving()?)));
        for (endpoint, serving) in serving {
            for variant in serving.variants.iter().filter(|it| is_replayed(serving, it)) {
                let key = key(endpoint, variant);
                let sample = before.get(&key).cloned().unwrap_or_default();
                sample.renew(now);
                self.0.insert(key, sample);
            }
        }
    }

    /// Where calls of a variant that serves are kept.
    pub(super) fn of(
        &self,
        endpoint: &Stored<Endpoint>,
        variant: &DeployedVariant,
    ) -> Option<Arc<Sample>> {
        self.0.get(&key(endpoint, variant)).cloned()
    }

    /// What an instance of a `variant` is asked that the endpoint is updated to: a call of the
    /// variant of the same name, or of the only one.
    pub(super) fn lent(
        &self,
        endpoint: &Stored<Endpoint>,
        variant: &DeployedVariant,
    ) -> Option<Call> {
        if !is_replayed(&endpoint.spec.wanted, variant) {
            return None;
        }
        let old = endpoint.status.serving()?.variants.as_slice();
        let same = old.iter().find(|old| old.name == variant.name);
        let old = same.or(if let [only] = old { Some(only) } else { None })?;
        let call = self.0.get(&key(endpoint, old))?.last()?;
        fits(&call, variant).then_some(call)
    }
}

fn key(endpoint: &Stored<Endpoint>, variant: &DeployedVariant) -> VariantKey {
    (endpoint.region.clone(), endpoint.name.clone(), variant.name.clone())
}

/// Asynchronous calls may take an hour each, and those of many models are of one of them.
fn is_replayed(deployment: &Deployment, variant: &DeployedVariant) -> bool {
    let is_off = variant.containers.iter().any(|container| {
        let given = container.environment.get(REPLAY);
        given.is_some_and(|given| given.eq_ignore_ascii_case("false"))
    });
    deployment.asynchronous.is_none() && !variant.targets().model && !is_off
}

/// Whether the variant has the container that the call names, or needs none named.
fn fits(call: &Call, variant: &DeployedVariant) -> bool {
    match &call.target_container {
        None => !variant.targets().container,
        Some(named) => {
            let is_named = |hostname: &Option<String>| hostname.as_ref() == Some(named);
            variant.targets().container
                && variant.containers.iter().any(|container| is_named(&container.hostname))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use sagebrush_core::fleet::Execution;
    use sagebrush_core::resource::Stored;
    use sagebrush_core::worker::{Call, Payload};
    use sagebrush_core::{Region, Timestamp};
    use tokio::time::Instant;

    use super::{REPLAY, Samples};
    use crate::endpoint::tests::{container, deployment};
    use crate::endpoint::{Deployment, Endpoint, EndpointSpec, EndpointState};

    fn updating(serving: Deployment, wanted: Deployment) -> Stored<Endpoint> {
        Stored {
            region: Region::new("r"),
            name: "e".to_owned(),
            version: 1,
            created_at: Timestamp(0),
            modified_at: Timestamp(0),
            spec: EndpointSpec { wanted, deployment_config: None },
            status: EndpointState::Updating { serving, rollout: Box::default() },
            tags: BTreeMap::new(),
        }
    }

    /// Has `old` answer a call that names `target`; says whether the first variant of `new` is
    /// asked it.
    fn is_lent(old: Deployment, new: Deployment, target: Option<&str>) -> bool {
        let endpoint = updating(old, new);
        let mut samples = Samples::default();
        samples.look(std::slice::from_ref(&endpoint), Instant::now());
        let old = &endpoint.status.serving().unwrap().variants[0];
        let Some(sample) = samples.of(&endpoint, old) else { return false };
        sample.keep(|| Call {
            payload: Payload { content_type: None, body: Bytes::from_static(b"1") },
            accept: None,
            headers: Vec::new(),
            target_model: None,
            target_container: target.map(str::to_owned),
            request_id: "probe".into(),
            deadline: Instant::now(),
        });
        samples.look(std::slice::from_ref(&endpoint), Instant::now());
        samples.lent(&endpoint, &endpoint.spec.wanted.variants[0]).is_some()
    }

    fn direct(revision: &str, hostname: &str) -> Deployment {
        let mut deployment = deployment(revision, 1);
        deployment.variants[0].containers = vec![container(hostname, &[])];
        deployment.variants[0].execution = Execution::Direct;
        deployment
    }

    #[test]
    fn a_call_is_lent_to_the_same_variant_or_from_the_only_one() {
        let plain = |revision| deployment(revision, 1);
        assert!(is_lent(plain("old"), plain("new"), None));
        let mut renamed = plain("new");
        renamed.variants[0].name = "w".to_owned();
        assert!(is_lent(plain("old"), renamed.clone(), None));
        let mut two = plain("old");
        two.variants.push(two.variants[0].clone());
        two.variants[1].name = "x".to_owned();
        assert!(is_lent(two.clone(), plain("new"), None));
        assert!(!is_lent(two, renamed, None));
    }

    #[test]
    fn who_does_not_want_it_is_not_asked_and_lends_nothing() {
        let plain = |revision| deployment(revision, 1);
        for (given, wanted) in [("false", false), ("False", false), ("true", true)] {
            let mut said = plain("said");
            said.variants[0].containers = vec![container("a", &[(REPLAY, given)])];
            assert_eq!(is_lent(plain("old"), said.clone(), None), wanted, "{given}");
            assert_eq!(is_lent(said, plain("new"), None), wanted, "{given}");
        }
    }

    #[test]
    fn a_call_of_a_container_goes_to_the_same_container() {
        assert!(is_lent(direct("old", "a"), direct("new", "a"), Some("a")));
        assert!(!is_lent(direct("old", "a"), direct("new", "b"), Some("a")));
        assert!(!is_lent(direct("old", "a"), deployment("new", 1), Some("a")));
        assert!(!is_lent(deployment("old", 1), direct("new", "a"), None));
    }

    #[test]
    fn a_sample_goes_with_its_endpoint() {
        let endpoint = updating(deployment("old", 1), deployment("new", 1));
        let variant = &endpoint.spec.wanted.variants[0];
        let mut samples = Samples::default();
        samples.look(std::slice::from_ref(&endpoint), Instant::now());
        assert!(samples.of(&endpoint, variant).is_some());
        samples.look(&[], Instant::now());
        assert!(samples.of(&endpoint, variant).is_none());
    }
}
