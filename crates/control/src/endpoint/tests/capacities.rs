//! `UpdateEndpointWeightsAndCapacities`: what may be changed.

use std::sync::Arc;

use sagebrush_core::resource::Table;
use sagebrush_core::{Region, SystemClock};
use sagebrush_store::MemoryStore;

use super::deployment;
use crate::endpoint::capacity::{Change, ChangeError, change};
use crate::endpoint::{Deployment, Endpoint, EndpointSpec, EndpointState};
use crate::endpoint_config::{Scaling, Serverless};

/// The deployment that is wanted after the changes, or why there are none.
async fn changed(serving: &Deployment, changes: &[Change]) -> Result<Deployment, ChangeError> {
    let endpoints = Table::<Endpoint>::new(Arc::new(MemoryStore::new()), Arc::new(SystemClock));
    let region = Region::new("r");
    let spec = EndpointSpec { wanted: serving.clone(), deployment_config: None };
    let mut endpoint =
        endpoints.create(&region, "e", spec, std::collections::BTreeMap::new()).await?;
    endpoint.status = EndpointState::InService { serving: serving.clone(), note: None };
    endpoints.update(endpoint).await?;
    change(&endpoints, &region, "e", changes).await?;
    let after = endpoints.get(&region, "e").await?.expect("it is there");
    assert_eq!(after.status.word(), "Updating");
    Ok(after.spec.wanted)
}

fn of(variant: &str) -> Change {
    Change { variant: variant.to_owned(), ..Change::default() }
}

fn scaling(scaling: Scaling) -> Deployment {
    let mut deployment = deployment("one", 1);
    deployment.variants[0].scaling = scaling;
    deployment
}

fn serverless(max_concurrency: u32, provisioned: u32) -> Deployment {
    scaling(Scaling::Serverless(Serverless { memory_mb: 1024, max_concurrency, provisioned }))
}

#[tokio::test]
async fn weights_and_counts_of_the_same_revision() {
    let one = deployment("one", 1);
    let two = Change { instance_count: Some(2), weight: Some(0.25), ..of("v") };
    let wanted = changed(&one, &[two]).await.unwrap();
    let variant = &wanted.variants[0];
    assert_eq!((wanted.revision.as_str(), variant.instance_count), ("one", 2));
    assert!((variant.weight - 0.25).abs() < f32::EPSILON);
    let none = Change { instance_count: Some(0), ..of("v") };
    assert_eq!(changed(&one, &[none]).await.unwrap().variants[0].instance_count, 0);
}

#[tokio::test]
async fn another_concurrency_is_another_fleet() {
    let change = Change { max_concurrency: Some(9), provisioned_concurrency: Some(3), ..of("v") };
    let wanted = changed(&serverless(5, 1), std::slice::from_ref(&change)).await.unwrap();
    assert_eq!(wanted.variants[0].scaling, serverless(9, 3).variants[0].scaling);
    assert_ne!(wanted.revision, "one");
    let same = changed(&serverless(9, 3), &[change]).await.unwrap();
    assert_eq!(same.revision, "one", "nothing to start anew for");
}

#[tokio::test]
async fn what_cannot_be_changed() {
    let fixed = deployment("one", 1);
    let count = |count| Change { instance_count: Some(count), ..of("v") };
    let most = |most| Change { max_concurrency: Some(most), ..of("v") };
    let warm = Change { provisioned_concurrency: Some(6), ..of("v") };
    let table: Vec<(Deployment, Vec<Change>, &str)> = vec![
        (fixed.clone(), vec![count(2), count(3)], "v is there twice"),
        (fixed.clone(), vec![of("w")], "no variant w"),
        (fixed.clone(), vec![count(1001)], "the limit of this server is 1000"),
        (fixed.clone(), vec![most(3)], "has no ServerlessConfig"),
        (fixed, vec![Change { weight: Some(0.0), ..of("v") }], "must have a weight greater than 0"),
        (scaling(Scaling::Managed { min: 1, max: 2 }), vec![count(2)], "ManagedInstanceScaling"),
        (serverless(5, 0), vec![count(2)], "ServerlessUpdateConfig changes it"),
        (serverless(5, 0), vec![most(201)], "from 1 to 200"),
        (serverless(5, 0), vec![warm], "greater than its MaxConcurrency, 5"),
    ];
    for (serving, changes, wanted) in table {
        let error = changed(&serving, &changes).await.expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error}");
    }
}
