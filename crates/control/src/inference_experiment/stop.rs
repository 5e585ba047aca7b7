//! `StopInferenceExperiment`: what becomes of the variants. Pure.

use std::collections::BTreeMap;

use super::{Before, Goal, Layout, Purpose, Shadow, Variant};

/// SageMaker API: `ModelVariantAction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Retain,
    Remove,
    Promote,
}

/// What the endpoint is to be after an experiment that ran with `layout`. A variant without an
/// action goes if it is a shadow, and otherwise stays unless the shadow takes its place.
///
/// # Errors
/// Says which actions do not go together.
pub(super) fn goal(
    layout: &Layout,
    before: Option<&Before>,
    actions: &BTreeMap<String, Action>,
    desired: &[Variant],
) -> Result<Goal, String> {
    let production = &layout.production;
    let Some(shadow) = &layout.shadow else { return Ok(Goal::Kept) };
    let of = |variant: &Variant| actions.get(&variant.name).copied();
    let names = [&production.name, &shadow.variant.name];
    if let Some(unknown) = actions.keys().find(|name| !names.contains(name)) {
        return Err(format!("the experiment has no variant {unknown}"));
    }
    let after = match (of(production), of(&shadow.variant)) {
        (Some(Action::Promote), _) => {
            return Err(format!("{} is the production variant already", production.name));
        }
        (Some(Action::Retain), Some(Action::Promote)) => {
            return Err(format!(
                "{} cannot be retained when {} is promoted: an endpoint here has one of them as \
                 its production variant",
                production.name, shadow.variant.name
            ));
        }
        (Some(Action::Remove) | None, Some(Action::Promote)) => {
            Layout::production_only(shadow.variant.clone())
        }
        (Some(Action::Remove), Some(Action::Retain | Action::Remove) | None) => {
            return Err(format!(
                "{} cannot be removed unless {} is promoted: nothing would answer calls",
                production.name, shadow.variant.name
            ));
        }
        (Some(Action::Retain) | None, Some(Action::Remove) | None) => {
            Layout::production_only(production.clone())
        }
        (Some(Action::Retain) | None, Some(Action::Retain)) => layout.clone(),
    };
    let wanted = resized(after.clone(), desired)?;
    if wanted == *layout {
        return Ok(Goal::Kept);
    }
    let is_as_before = wanted == after && wanted.production == *production;
    Ok(match before {
        // There was a shadow before, which is to go as well.
        Some(before) if is_as_before && before.deployment.shadows.is_empty() => Goal::Before,
        Some(_) | None => Goal::Own(Purpose::After, wanted),
    })
}

/// `DesiredModelVariants`: other instances for what stays.
fn resized(mut layout: Layout, desired: &[Variant]) -> Result<Layout, String> {
    for wanted in desired {
        let shadow = layout.shadow.as_mut().map(|Shadow { variant, .. }| variant);
        let mut variants = [Some(&mut layout.production), shadow].into_iter().flatten();
        let found = variants.find(|variant| variant.name == wanted.name);
        let Some(variant) = found else {
            return Err(format!("{} is in DesiredModelVariants and does not stay", wanted.name));
        };
        if variant.model != wanted.model {
            return Err(format!(
                "{} has the model {}; DesiredModelVariants cannot change it",
                wanted.name, variant.model
            ));
        }
        *variant = wanted.clone();
    }
    Ok(layout)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{deployment, shadowed};
    use super::Action::{Promote, Remove, Retain};
    use super::{Action, Before, Goal, Layout, Purpose, Shadow, Variant, goal};

    fn variant(name: &str, instance_count: u32) -> Variant {
        let (model, instance_type) = (format!("model-{name}"), "ml.m5.large".to_owned());
        Variant { name: name.to_owned(), model, instance_type, instance_count }
    }

    fn both() -> Layout {
        Layout {
            production: variant("main", 1),
            shadow: Some(Shadow { variant: variant("next", 1), percentage: 50 }),
            capture: Some(json!({})),
        }
    }

    fn before() -> Before {
        Before { deployment: deployment("c", "1"), config: None }
    }

    #[track_caller]
    fn check(
        before: Option<&Before>,
        actions: &[(&str, Action)],
        desired: &[Variant],
        wanted: Result<Goal, &str>,
    ) {
        let actions = actions.iter().map(|(name, action)| ((*name).to_owned(), *action)).collect();
        match (goal(&both(), before, &actions, desired), wanted) {
            (Err(error), Err(words)) => assert!(error.contains(words), "{error}"),
            (found, wanted) => assert_eq!(found, wanted.map_err(str::to_owned)),
        }
    }

    #[test]
    fn what_stays() {
        let before = before();
        let only =
            |name: &str, n| Goal::Own(Purpose::After, Layout::production_only(variant(name, n)));
        let known = Some(&before);
        for promotion in [&[("next", Promote)][..], &[("main", Remove), ("next", Promote)]] {
            check(known, promotion, &[], Ok(only("next", 1)));
            check(None, promotion, &[variant("next", 3)], Ok(only("next", 3)));
        }
        for removal in
            [&[("next", Remove)][..], &[("main", Retain)], &[("main", Retain), ("next", Remove)]]
        {
            check(known, removal, &[], Ok(Goal::Before));
            check(known, removal, &[variant("main", 1)], Ok(Goal::Before));
            check(None, removal, &[], Ok(only("main", 1)));
            check(known, removal, &[variant("main", 2)], Ok(only("main", 2)));
        }
        let with_shadow = Before { deployment: shadowed("c", "1", 0.5), config: None };
        check(Some(&with_shadow), &[("next", Remove)], &[], Ok(only("main", 1)));
        for retention in [&[("next", Retain)][..], &[("main", Retain), ("next", Retain)]] {
            check(known, retention, &[], Ok(Goal::Kept));
            let mut larger = both();
            larger.production = variant("main", 2);
            let goal = Goal::Own(Purpose::After, larger);
            check(known, retention, &[variant("main", 2)], Ok(goal));
        }
    }

    #[test]
    fn what_does_not_go_together() {
        let both = [("main", Retain), ("next", Promote)];
        check(None, &both, &[], Err("main cannot be retained"));
        check(None, &[("main", Promote)], &[], Err("production variant already"));
        check(None, &[("main", Remove)], &[], Err("nothing would answer"));
        check(None, &[("main", Remove), ("next", Retain)], &[], Err("nothing would answer"));
        check(None, &[("other", Remove)], &[], Err("no variant other"));
        let promotion = [("next", Promote)];
        check(None, &promotion, &[variant("main", 1)], Err("does not stay"));
        let other = Variant { model: "other".to_owned(), ..variant("next", 1) };
        check(None, &promotion, &[other], Err("model-next; DesiredModelVariants"));
    }
}
