//! The local fleet over a fake runtime; time stands still unless awaited.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sagebrush_core::Region;
use sagebrush_core::fleet::{
    ContainerSpec, Execution, Fleet as _, FleetView, GroupKey, GroupSpec, InstanceState, Owner,
};
use sagebrush_core::logs::MemoryLog;
use sagebrush_core::metrics::Registry;
use sagebrush_core::worker::{LaunchError, Resources};
use tokio::time::Instant;

use super::{Catalogue, Launcher, LocalFleet};
use crate::testing::{FakeArtifacts, FakeRuntime, LIMITS};

fn fleet(runtime: &Arc<FakeRuntime>) -> LocalFleet {
    LocalFleet::new(Launcher {
        roles: Arc::new(sagebrush_core::access::AllowAll),
        artifacts: Arc::new(FakeArtifacts),
        catalogue: Catalogue::new().with("fake", runtime.clone()),
        log: Arc::new(MemoryLog::default()),
        metrics: Registry::default(),
        limits: LIMITS,
    })
}

/// A deadline that calls keep.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

pub(super) fn group(image: &str, instance_count: u32) -> GroupSpec {
    let key = GroupKey {
        owner: Owner::Endpoint,
        region: Region::new("r"),
        name: "e".to_owned(),
        variant: "v".to_owned(),
        revision: "1".to_owned(),
    };
    let container = ContainerSpec {
        role_arn: None,
        hostname: None,
        image: image.to_owned(),
        model_data: None,
        environment: BTreeMap::new(),
        multi_model: None,
    };
    GroupSpec {
        key,
        instance_count,
        containers: vec![container],
        startup_timeout: Duration::from_secs(240),
        download_timeout: Duration::from_secs(60),
        network_isolation: false,
        execution: Execution::Serial,
        resources: Resources { cpus: 1, memory_bytes: 1 << 30, concurrency: None },
    }
}

async fn until(fleet: &LocalFleet, holds: impl FnMut(&Arc<FleetView>) -> bool) -> Arc<FleetView> {
    let mut view = fleet.watch();
    let seen = view.wait_for(holds).await.unwrap();
    seen.clone()
}

fn n_ready(view: &FleetView) -> usize {
    let states = view.values().flatten();
    states.filter(|state| matches!(state, InstanceState::Ready(_))).count()
}

#[tokio::test(start_paused = true)]
async fn applies_and_converges_a_group() {
    let runtime = Arc::new(FakeRuntime::default());
    let fleet = fleet(&runtime);
    fleet.apply_group(&group("fake:1", 3)).await.unwrap();
    fleet.apply_group(&group("fake:1", 3)).await.unwrap();
    until(&fleet, |view| n_ready(view) == 3).await;
    assert_eq!(runtime.n_launches.load(Ordering::SeqCst), 3, "the second time changes nothing");
    fleet.apply_group(&group("fake:1", 1)).await.unwrap();
    until(&fleet, |view| view.values().flatten().count() == 1).await;
    fleet.delete_group(&group("fake:1", 1).key, Duration::from_secs(1)).await.unwrap();
    until(&fleet, |view| view.is_empty()).await;
    let workers = runtime.workers.lock().unwrap();
    assert!(workers.iter().all(|worker| worker.stopped.load(Ordering::SeqCst)));
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_is_tried_again_and_told() {
    let runtime = Arc::new(FakeRuntime::default());
    let failure = || LaunchError::Transient { reason: "no room".to_owned() };
    runtime.failures.lock().unwrap().insert("fake:1".to_owned(), vec![failure(), failure()]);
    let fleet = fleet(&runtime);
    fleet.apply_group(&group("fake:1", 1)).await.unwrap();
    let second_failure = |view: &Arc<FleetView>| {
        let mut states = view.values().flatten();
        states.any(|state| {
            matches!(state, InstanceState::Failed { attempts: 2, permanent: false, .. })
        })
    };
    until(&fleet, second_failure).await;
    until(&fleet, |view| n_ready(view) == 1).await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_image_is_a_permanent_failure_that_names_the_known_ones() {
    let runtime = Arc::new(FakeRuntime::default());
    let fleet = fleet(&runtime);
    fleet.apply_group(&group("other:1", 1)).await.unwrap();
    let view = until(&fleet, |view| {
        view.values().flatten().any(|state| matches!(state, InstanceState::Failed { .. }))
    })
    .await;
    let text = format!("{:?}", view.values().next().unwrap());
    assert!(text.contains("other:1 is not known. Use one of: fake;"), "{text}");
    assert!(text.contains("permanent: true"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_calls_and_then_stops() {
    let runtime = Arc::new(FakeRuntime::default());
    let fleet = fleet(&runtime);
    fleet.apply_group(&group("fake:1", 1)).await.unwrap();
    let view = until(&fleet, |view| n_ready(view) == 1).await;
    let InstanceState::Ready(instance) = view.values().next().unwrap()[0].clone() else {
        panic!("ready");
    };
    let under_way = instance.admit(1, soon()).unwrap_or_else(|_| panic!("free"));
    fleet.delete_group(&group("fake:1", 1).key, Duration::from_secs(30)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let stopped = || runtime.workers.lock().unwrap()[0].stopped.load(Ordering::SeqCst);
    assert!(!stopped(), "a call is still under way");
    assert!(instance.admit(1, soon()).is_err(), "no new call is admitted");
    drop(under_way);
    until(&fleet, |view| view.is_empty()).await;
    assert!(stopped());
}

fn states(view: &FleetView) -> Vec<InstanceState> {
    view.values().flatten().cloned().collect()
}

fn ready_ids(view: &FleetView) -> Vec<String> {
    states(view).iter().filter_map(|state| Some(state.ready()?.id.clone())).collect()
}

#[tokio::test(start_paused = true)]
async fn an_instance_whose_worker_has_ended_is_started_again_and_the_others_stay() {
    let runtime = Arc::new(FakeRuntime::default());
    let fleet = fleet(&runtime);
    fleet.apply_group(&group("fake:1", 2)).await.unwrap();
    let before = ready_ids(&*until(&fleet, |view| n_ready(view) == 2).await);
    let lost = {
        let worker = runtime.workers.lock().unwrap()[0].clone();
        let mut view = fleet.watch();
        let all = view.borrow_and_update().clone();
        let mut ready = states(&all).into_iter().filter_map(|state| state.ready().cloned());
        let is_its = |instance: &Arc<sagebrush_core::instance::Instance>| {
            std::ptr::addr_eq(Arc::as_ptr(&instance.worker), Arc::as_ptr(&worker))
        };
        ready.find(is_its).unwrap()
    };
    runtime.workers.lock().unwrap()[0].end.send_replace(Some("exit status 137".to_owned()));
    let view = until(&fleet, |view| n_ready(view) == 1).await;
    let told = format!("{:?}", states(&view));
    assert!(told.contains("The worker ended: exit status 137"), "{told}");
    assert!(told.contains("attempts: 1"), "{told}");
    let after = ready_ids(&*until(&fleet, |view| n_ready(view) == 2).await);
    assert!(lost.admit(1, soon()).is_err(), "calls go elsewhere");
    assert!(runtime.workers.lock().unwrap()[0].stopped.load(Ordering::SeqCst));
    assert!(!after.contains(&lost.id));
    assert_eq!(after.iter().filter(|id| before.contains(id)).count(), 1, "the other one stays");
    assert_eq!(runtime.n_launches.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_ends_again_and_again_is_waited_for_longer() {
    let runtime = Arc::new(FakeRuntime::default());
    let fleet = fleet(&runtime);
    fleet.apply_group(&group("fake:1", 1)).await.unwrap();
    for n in 0..8 {
        until(&fleet, |view| n_ready(view) == 1).await;
        runtime.workers.lock().unwrap()[n].end.send_replace(Some("exit 1".to_owned()));
        until(&fleet, |view| n_ready(view) == 0).await;
    }
    let began = Instant::now();
    until(&fleet, |view| n_ready(view) == 1).await;
    assert_eq!(began.elapsed(), Duration::from_secs(10));
    tokio::time::sleep(Duration::from_secs(61)).await;
    runtime.workers.lock().unwrap()[8].end.send_replace(Some("exit 1".to_owned()));
    until(&fleet, |view| n_ready(view) == 0).await;
    let began = Instant::now();
    until(&fleet, |view| n_ready(view) == 1).await;
    assert_eq!(began.elapsed(), Duration::from_millis(250), "it was well for a while");
}
