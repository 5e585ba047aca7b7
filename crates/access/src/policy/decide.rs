//! What policies say of a request.

use super::facts::Facts;
use super::{Effect, Either, Policy, Statement};

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allowed,
    /// Nothing allows it.
    ImplicitDeny,
    /// The policy at this place has a statement that denies it.
    ExplicitDeny {
        policy: usize,
        statement: usize,
    },
}

/// Nothing is allowed unless a statement allows it; a statement that denies it wins.
pub fn decide<'p>(policies: impl IntoIterator<Item = &'p Policy>, facts: &Facts<'_>) -> Decision {
    let mut decision = Decision::ImplicitDeny;
    for (policy, document) in policies.into_iter().enumerate() {
        for (statement, rule) in document.statements.iter().enumerate() {
            // What is allowed already can only be denied.
            let is_of_use = rule.effect == Effect::Deny || decision != Decision::Allowed;
            if !is_of_use || !rule.applies(facts) {
                continue;
            }
            match rule.effect {
                Effect::Allow => decision = Decision::Allowed,
                Effect::Deny => return Decision::ExplicitDeny { policy, statement },
            }
        }
    }
    decision
}

impl Statement {
    fn applies(&self, facts: &Facts<'_>) -> bool {
        self.actions.covers(facts.asked.action, facts)
            && self.resources.as_ref().is_none_or(|all| all.covers(facts.asked.resource, facts))
            && self.principals.as_ref().is_none_or(|all| all.name(facts))
            && self.conditions.iter().all(|condition| condition.holds(facts))
    }
}

impl Either {
    fn covers(&self, text: &str, facts: &Facts<'_>) -> bool {
        let any = |patterns: &[super::Pattern]| {
            patterns.iter().any(|pattern| pattern.matches(text, facts))
        };
        match self {
            Self::AnyOf(patterns) => any(patterns),
            Self::NoneOf(patterns) => !any(patterns),
        }
    }
}
