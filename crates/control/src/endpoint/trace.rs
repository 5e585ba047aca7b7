//! The spans of deployments, from when they are first seen under way until they are settled.

use std::collections::BTreeMap;

use sagebrush_core::Region;
use sagebrush_core::resource::Stored;
use sagebrush_core::trace::{Kind, Open, Tracer};

use super::{Endpoint, EndpointState};

/// A deployment: its endpoint, and its revision.
type Key = (Region, String, String);

/// The deployments under way; `None` is one that is not traced.
#[derive(Default)]
pub(super) struct Deployments {
    pub(super) tracer: Tracer,
    under_way: BTreeMap<Key, Option<Box<Open>>>,
}

impl Deployments {
    /// Begins and ends spans by how all `endpoints` stand now.
    pub(super) fn look(&mut self, endpoints: &[Stored<Endpoint>]) {
        if !self.tracer.is_on() {
            return;
        }
        let mut before = std::mem::take(&mut self.under_way);
        let is_deleting = |status: &EndpointState| matches!(status, EndpointState::Deleting);
        for endpoint in endpoints.iter().filter(|endpoint| !is_deleting(&endpoint.status)) {
            let trace = before.remove(&key(endpoint));
            if !endpoint.status.is_settled() {
                let trace = trace.unwrap_or_else(|| begin(&self.tracer, endpoint));
                self.under_way.insert(key(endpoint), trace);
            } else if let Some(trace) = trace.flatten() {
                end(trace, &endpoint.status);
            }
        }
        for mut trace in before.into_values().flatten() {
            trace.fail("GivenUp"); // Deleted, or followed by another one.
        }
    }
}

fn key(endpoint: &Stored<Endpoint>) -> Key {
    let revision = endpoint.spec.wanted.revision.clone();
    (endpoint.region.clone(), endpoint.name.clone(), revision)
}

fn begin(tracer: &Tracer, endpoint: &Stored<Endpoint>) -> Option<Box<Open>> {
    let mut trace = tracer.begin(Kind::Internal, "Deployment", |_| None)?;
    trace.rename(format!("Deployment {}", endpoint.name));
    trace.set("sagebrush.endpoint", &*endpoint.name);
    trace.set("sagebrush.config", &*endpoint.spec.wanted.config);
    trace.set("cloud.region", endpoint.region.as_str());
    Some(trace)
}

fn end(mut trace: Box<Open>, status: &EndpointState) {
    trace.set("sagebrush.endpoint.status", status.word());
    if matches!(
        status,
        EndpointState::Failed { .. } | EndpointState::InService { note: Some(_), .. }
    ) {
        trace.fail("DeploymentFailed");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sagebrush_core::Timestamp;
    use sagebrush_core::clock::FakeClock;
    use sagebrush_core::route::MetricsConfig;
    use sagebrush_core::trace::MemorySpans;

    use super::super::{Deployment, EndpointSpec};
    use super::*;

    fn endpoint(revision: &str, status: EndpointState) -> Stored<Endpoint> {
        Stored {
            region: Region::new("r"),
            name: "e".to_owned(),
            version: 1,
            created_at: Timestamp(0),
            modified_at: Timestamp(0),
            spec: EndpointSpec { wanted: deployment(revision), deployment_config: None },
            status,
            tags: BTreeMap::new(),
        }
    }

    fn deployment(revision: &str) -> Deployment {
        let (revision, config) = (revision.to_owned(), "c".to_owned());
        Deployment {
            revision,
            config,
            asynchronous: None,
            capture: None,
            metrics: MetricsConfig::default(),
            variants: Vec::new(),
            shadows: Vec::new(),
        }
    }

    #[test]
    fn each_deployment_has_a_span_that_ends_with_it() {
        let spans = Arc::new(MemorySpans::default());
        let clock = Arc::new(FakeClock::at(Timestamp(0)));
        let tracer = Tracer::new(1.0, || 1, clock, spans.clone());
        let mut deployments = Deployments { tracer, ..Deployments::default() };
        let serving = |note: Option<&str>| EndpointState::InService {
            serving: deployment("1"),
            note: note.map(str::to_owned),
        };
        let mut look = |revision, status, n_told, failed| {
            deployments.look(&[endpoint(revision, status)]);
            let told = spans.spans();
            assert_eq!(told.len(), n_told);
            assert_eq!(told.last().map(|span| span.is_failed), failed);
        };
        let updating =
            || EndpointState::Updating { serving: deployment("1"), rollout: Box::default() };
        look("1", EndpointState::Creating, 0, None);
        look("1", EndpointState::Creating, 0, None);
        look("1", serving(None), 1, Some(false));
        look("1", serving(None), 1, Some(false));
        look("2", updating(), 1, Some(false));
        look("2", serving(Some("no room")), 2, Some(true));
        look("3", updating(), 2, Some(true));
        look("3", EndpointState::Deleting, 3, Some(true));
        assert_eq!(spans.spans()[0].name, "Deployment e");
    }
}
