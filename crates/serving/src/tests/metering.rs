//! What is counted of calls.

use std::sync::Arc;

use sagebrush_core::instance::Instance;
use sagebrush_core::metrics::Registry;
use sagebrush_core::route::{MetricsConfig, RouteTable, VariantRoute};
use sagebrush_core::worker::WorkerError;

use super::{Does, ask, break_down, call, instance, invoker, one, routed, table, target};
use crate::reply::Spent;

#[tokio::test(start_paused = true)]
async fn calls_are_counted_until_their_endpoint_is_gone() {
    let registry = Registry::default();
    let meters = crate::Meters::new(registry.clone());
    let (invoker, _routes) = invoker(one(&instance(Does::Echo, 8)));
    let invoked = ask(&invoker).await.unwrap();
    let spent = Spent::default();
    meters.invoked(&target("e", None), &invoked, &spent);
    meters.invoked(&target("e", None), &invoked, &spent);
    let line =
        "sagebrush_invocations_total{region=\"r\",endpoint=\"e\",variant=\"v\",config=\"c\"} 2";
    assert!(registry.render().contains(line), "{}", registry.render());
    meters.retain(&one(&instance(Does::Echo, 8)));
    assert!(registry.render().contains(line), "it is still there");
    meters.retain(&RouteTable::default());
    assert_eq!(registry.render(), "");
}

#[tokio::test(start_paused = true)]
async fn calls_of_enhanced_variants_are_counted_by_instance() {
    let route = |is_enhanced, instances: Vec<Arc<Instance>>| {
        let metrics = MetricsConfig { is_enhanced, ..MetricsConfig::default() };
        routed(VariantRoute { metrics, ..VariantRoute::new("v", "c".into(), instances) })
    };
    for is_enhanced in [true, false] {
        let registry = Registry::default();
        let error = WorkerError::Model { status: 422, message: String::new(), content_type: None };
        let table = route(is_enhanced, vec![instance(Does::Fail(error), 8)]);
        let (invoker, _routes) = invoker(table.clone());
        let meters = crate::Meters::new(registry.clone()).enhanced(invoker.routes.clone());
        meters.invoked(&target("e", None), &ask(&invoker).await.unwrap(), &Spent::default());
        for (name, n) in [
            ("invocations_total", 1),
            ("invocation_4xx_errors_total", 1),
            ("invocation_5xx_errors_total", 0),
            ("invocation_model_errors_total", 1),
            ("model_latency_seconds_count", 1),
            ("overhead_latency_seconds_count", 1),
        ] {
            let labels = "region=\"r\",endpoint=\"e\",variant=\"v\",config=\"c\",instance=\"i-0\"";
            let line = format!("sagebrush_instance_{name}{{{labels}}} {n}\n");
            assert_eq!(registry.render().contains(&line), is_enhanced, "{line}");
        }
        meters.retain(&route(is_enhanced, Vec::new()));
        let is_kept = registry.render().contains("sagebrush_instance_invocations_total");
        assert_eq!(is_kept, is_enhanced, "what the last ones counted is still read");
    }
}

#[tokio::test(start_paused = true)]
async fn a_models_own_status_says_whose_error_it_is() {
    for (status, of_client, of_server) in [(400, 1, 0), (422, 1, 0), (500, 0, 1), (503, 0, 1)] {
        let error = WorkerError::Model { status, message: String::new(), content_type: None };
        count_error(error, of_client, of_server).await;
    }
    count_error(WorkerError::TimedOut, 0, 1).await;
}

async fn count_error(error: WorkerError, of_client: u64, of_server: u64) {
    let registry = Registry::default();
    let meters = crate::Meters::new(registry.clone());
    let (invoker, _routes) = invoker(one(&instance(Does::Fail(error), 8)));
    meters.invoked(&target("e", None), &ask(&invoker).await.unwrap(), &Spent::default());
    for (name, n) in [("4xx", of_client), ("5xx", of_server), ("model", 1)] {
        let line = format!(
            "sagebrush_invocation_{name}_errors_total{{region=\"r\",endpoint=\"e\",variant=\"v\",config=\"c\"}} {n}\n"
        );
        assert!(registry.render().contains(&line), "{line} in {}", registry.render());
    }
}

#[tokio::test(start_paused = true)]
async fn gauges_say_how_things_are_now() {
    let registry = Registry::default();
    let meters = crate::Meters::new(registry.clone());
    let failing = instance(Does::Fail(WorkerError::TimedOut), 8);
    break_down(&failing).await;
    let _held = failing.admit(0, call().deadline).ok().unwrap();
    meters.look(&table(vec![("v", 1.0, vec![failing, instance(Does::Echo, 8)])], None));
    let said = |gauge: &str, variant: &str, value: usize| {
        let labels = format!("region=\"r\",endpoint=\"e\",variant=\"{variant}\",config=\"c\"");
        registry.render().contains(&format!("sagebrush_{gauge}{{{labels}}} {value}\n"))
    };
    assert!(said("instances", "v", 2) && said("open_breakers", "v", 1), "{}", registry.render());
    assert!(said("outstanding_calls", "v", 1) && said("waiting_calls", "v", 0));
    meters.look(&table(vec![("w", 1.0, Vec::new())], None));
    assert!(said("instances", "w", 0) && !said("instances", "v", 2), "{}", registry.render());
}
