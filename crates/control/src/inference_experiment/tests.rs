//! What the tables of the planner share, and configurations. Whole ways are in `crate::tests`.

use sagebrush_core::route::MetricsConfig;
use serde_json::json;

use super::{Layout, Shadow, Variant, configs};
use crate::endpoint::Deployment;

/// A deployment of one variant, `main`.
pub(super) fn deployment(config: &str, revision: &str) -> Deployment {
    let (revision, config) = (revision.to_owned(), config.to_owned());
    let variants = vec![variant("main", 1.0)];
    Deployment {
        revision,
        config,
        asynchronous: None,
        capture: None,
        metrics: MetricsConfig::default(),
        variants,
        shadows: vec![],
    }
}

/// The same with the shadow variant `next`.
pub(super) fn shadowed(config: &str, revision: &str, weight: f32) -> Deployment {
    Deployment { shadows: vec![variant("next", weight)], ..deployment(config, revision) }
}

fn variant(name: &str, weight: f32) -> crate::endpoint::DeployedVariant {
    let seconds = json!({"secs": 240, "nanos": 0});
    let variant = json!({
        "name": name, "weight": weight, "instance_count": 1, "containers": [],
        "network_isolation": false, "startup_timeout": seconds, "download_timeout": seconds,
        "resolved_at": 0,
    });
    serde_json::from_value(variant).unwrap()
}

#[test]
fn a_configuration_keeps_what_the_endpoint_has() {
    let variant = |name: &str, instance_count| Variant {
        name: name.to_owned(),
        model: format!("model-{name}"),
        instance_type: "ml.m5.large".to_owned(),
        instance_count,
    };
    let capture = |uri: &str| {
        json!({"InitialSamplingPercentage": 7, "DestinationS3Uri": uri,
            "CaptureOptions": [{"CaptureMode": "Input"}]})
    };
    let base = json!({
        "EndpointConfigName": "c", "Tags": [{"Key": "k", "Value": "v"}],
        "DataCaptureConfig": capture("s3://own"), "EnableNetworkIsolation": true,
        "ProductionVariants": [{
            "VariantName": "main", "ModelName": "m", "InstanceType": "ml.c5.large",
            "InitialInstanceCount": 5, "InitialVariantWeight": 0.1,
            "ContainerStartupHealthCheckTimeoutInSeconds": 77,
        }],
    });
    let shadow = Some(Shadow { variant: variant("next", 2), percentage: 7 });
    let both = Layout { production: variant("main", 3), shadow, capture: None };
    let made = configs::request(Some(&base), &both, "n");
    assert_eq!(made["EndpointConfigName"], "n");
    assert_eq!(made["DataCaptureConfig"], base["DataCaptureConfig"]);
    assert!(made.get("Tags").is_none());
    let spec = configs::spec(&made).unwrap();
    assert!(spec.network_isolation);
    let main = &spec.variants[0];
    assert_eq!((main.name.as_str(), main.model.as_deref()), ("main", Some("model-main")));
    assert_eq!((main.instance_count, main.weight, main.startup_timeout_s), (3, 1.0, Some(77)));
    let next = &spec.shadows[0];
    assert_eq!((next.instance_count, next.weight, next.startup_timeout_s), (2, 0.07, None));

    let alone = Layout::production_only(variant("next", 1));
    let captured = Layout { capture: Some(capture("s3://other")), ..alone };
    let spec = configs::spec(&configs::request(Some(&made), &captured, "n")).unwrap();
    assert_eq!((spec.variants[0].name.as_str(), spec.shadows.len()), ("next", 0));
    assert_eq!(spec.capture.unwrap().destination, "s3://other");
    let fresh = configs::spec(&configs::request(None, &both, "n")).unwrap();
    assert!(fresh.capture.is_none() && fresh.shadows.len() == 1);
}
