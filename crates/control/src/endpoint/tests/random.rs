//! Whatever alarms and instances do: calls go to the old fleet, to the new one, or to both by
//! shares that make one, and in the end to one of them.

use proptest::prelude::*;
use sagebrush_core::alarms::AlarmState;
use sagebrush_core::fleet::InstanceState;

use super::simulation::{ALARM, Simulation, seconds};
use super::{deployment, failed};
use crate::endpoint::plan::Step;
use crate::endpoint::rollout::{Policy, Size, Traffic, Way};
use crate::endpoint::{Deployment, EndpointState};

#[derive(Debug, Clone)]
enum Happening {
    Time(u32),
    Alarm(bool),
    /// What becomes of one of the instances.
    Instance {
        is_new: bool,
        at: usize,
        becomes: Fate,
    },
    /// All that are on their way arrive.
    Heal,
    Restart,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Starting,
    Failed,
    GivenUp,
}

fn size() -> impl Strategy<Value = Size> {
    prop_oneof![(1..=4_u32).prop_map(Size::Instances), (5..=50_u32).prop_map(Size::Percent)]
}

fn way() -> impl Strategy<Value = Way> {
    let traffic = prop_oneof![
        Just(Traffic::AllAtOnce),
        size().prop_map(Traffic::Canary),
        size().prop_map(Traffic::Linear),
    ];
    prop_oneof![
        (traffic, 0..100_u64).prop_map(|(traffic, wait)| Way::BlueGreen {
            traffic,
            termination_wait: seconds(wait),
        }),
        (size(), proptest::option::of(size()))
            .prop_map(|(batch, rollback)| Way::Rolling { batch, rollback }),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let timeout = proptest::option::of((600..2000_u64).prop_map(seconds));
    (way(), 0..100_u64, timeout).prop_map(|(way, bake, timeout)| Policy {
        way,
        bake: seconds(bake),
        timeout,
        alarms: vec![ALARM.to_owned()],
    })
}

fn happening() -> impl Strategy<Value = Happening> {
    let fate = prop_oneof![Just(Fate::Starting), Just(Fate::Failed), Just(Fate::GivenUp)];
    prop_oneof![
        4 => (1..120_u32).prop_map(Happening::Time),
        1 => any::<bool>().prop_map(Happening::Alarm),
        2 => (any::<bool>(), 0..9_usize, fate)
            .prop_map(|(is_new, at, becomes)| Happening::Instance { is_new, at, becomes }),
        4 => Just(Happening::Heal),
        1 => Just(Happening::Restart),
    ]
}

fn of_two(revision: &str, counts: (u32, u32), weight: f32) -> Deployment {
    let mut deployment = deployment(revision, counts.0);
    let mut other = deployment.variants[0].clone();
    other.name = "other".to_owned();
    other.instance_count = counts.1;
    deployment.variants[0].weight = weight;
    deployment.variants.push(other);
    deployment
}

fn happen(simulation: &mut Simulation, happening: &Happening) {
    match happening {
        Happening::Time(seconds) => simulation.now.0 += i64::from(*seconds) * 1000,
        Happening::Alarm(true) => simulation.set_alarm(AlarmState::Alarm),
        Happening::Alarm(false) => simulation.set_alarm(AlarmState::Ok),
        Happening::Instance { is_new, at, becomes } => {
            let revision = if *is_new { "new" } else { "old" };
            if let Some(state) = simulation.instances(revision).into_iter().nth(*at) {
                *state = match becomes {
                    Fate::Starting => InstanceState::Starting,
                    Fate::Failed => failed(false, 1),
                    Fate::GivenUp => failed(true, 3),
                };
            }
        }
        Happening::Heal => simulation.heal(),
        Happening::Restart => simulation.restart(),
    }
}

/// The route names both fleets as the shares say, and nothing else.
fn check_route(simulation: &Simulation) {
    let route = simulation.route();
    let share = simulation.share().as_f32();
    assert!(route.closed.is_none() && !route.variants.is_empty());
    for name in ["v", "other"] {
        let of_name = || route.variants.iter().filter(|variant| *variant.name == *name);
        let sum: f32 = of_name().map(|variant| variant.share).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{name}: {sum}");
    }
    let weighs = |config: &str| -> f32 {
        let of_config = route.variants.iter().filter(|variant| *variant.config == *config);
        of_config.map(|variant| variant.weight * variant.share).sum()
    };
    let serving = simulation.endpoint.status.serving().unwrap();
    let other = if serving.revision == "new" { 0.0 } else { weighs("config-new") };
    let total: f32 = route.variants.iter().map(|variant| variant.weight * variant.share).sum();
    if serving.revision == "old" {
        assert!((other / total - share).abs() < 1e-4, "{other} of {total}, not {share}");
    }
    for variant in &route.variants {
        let revision = variant.config.strip_prefix("config-").unwrap();
        assert!(["old", "new"].contains(&revision));
        for instance in &variant.instances {
            let is_of = simulation.fleet.iter().any(|(key, states)| {
                key.revision == revision
                    && *key.variant == *variant.name
                    && states.iter().filter_map(InstanceState::ready).any(|it| it.id == instance.id)
            });
            assert!(is_of, "{} is not of {revision}", instance.id);
        }
        let is_needed = simulation
            .groups()
            .iter()
            .any(|group| group.key.revision == revision && *group.key.variant == *variant.name);
        assert!(is_needed, "calls go to a fleet that goes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_of_two_in_the_end(
        policy in policy(),
        old in (1..9_u32, 0..5_u32),
        new in (1..9_u32, 0..5_u32),
        weight in 0.5..9.0_f32,
        happenings in proptest::collection::vec(happening(), 0..40),
    ) {
        let (old, new) = (of_two("old", old, 1.0), of_two("new", new, weight));
        let mut simulation = Simulation::new(old, new, policy);
        simulation.is_quick = false;
        for happening in &happenings {
            happen(&mut simulation, happening);
            let mut n_steps = 0;
            check_route(&simulation);
            while matches!(simulation.step(), Step::Become(_)) {
                check_route(&simulation);
                n_steps += 1;
                assert!(n_steps < 100, "it does not come to rest: {:?}", simulation.trace);
            }
        }
        // Nothing more happens but that instances start and time goes by.
        for _ in 0..1000 {
            simulation.heal();
            if !matches!(simulation.step(), Step::Become(_)) {
                simulation.now.0 += 60_000;
            }
        }
        let EndpointState::InService { serving, .. } = &simulation.endpoint.status else {
            panic!("{:?}", simulation.trace);
        };
        check_route(&simulation);
        let is_of = |group: &sagebrush_core::fleet::GroupSpec| group.key.revision == serving.revision;
        prop_assert!(simulation.groups().iter().all(is_of));
        prop_assert!(["old", "new"].contains(&serving.revision.as_str()));
    }
}
