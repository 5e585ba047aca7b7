//! What the calls of an endpoint want of variants that scale with them.

use std::collections::HashMap;
use std::sync::Arc;

use sagebrush_core::demand::{Demand, Wanted};
use sagebrush_core::route::{EndpointRoute, VariantId, VariantRoute};

use super::backlog::Queue;

/// More calls than that do not make a variant grow faster.
const MOST: usize = 1000;

/// The calls that variants are told of: their share of those that wait. A call that has its turn
/// counts itself.
#[derive(Default)]
pub(super) struct Held(HashMap<VariantId, (Arc<Demand>, Vec<Wanted>)>);

impl Held {
    /// Tells the variants of `route` how many calls there are now.
    pub(super) fn follow(&mut self, route: &EndpointRoute, queue: &Queue) {
        let n_waiting = queue.n_waiting();
        let total: f32 = route.variants.iter().map(VariantRoute::traffic).sum();
        self.0.retain(|id, _| route.variants.iter().any(|variant| variant.id() == *id));
        for variant in &route.variants {
            let Some(demand) = &variant.demand else {
                self.0.remove(&variant.id());
                continue;
            };
            let wanted = share(variant, total, n_waiting);
            let (held_of, held) =
                self.0.entry(variant.id()).or_insert_with(|| (demand.clone(), Vec::new()));
            if !Arc::ptr_eq(held_of, demand) {
                (*held_of, *held) = (demand.clone(), Vec::new());
            }
            let wanted = wanted.min(MOST);
            held.truncate(wanted);
            while held.len() < wanted {
                let Some(call) = demand.call() else { break }; // It has as many as it may have.
                held.push(call);
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
#[expect(clippy::cast_precision_loss, reason = "a share is rounded up anyway")]
fn share(variant: &VariantRoute, total: f32, n_waiting: usize) -> usize {
    if total <= 0.0 {
        return 0;
    }
    (variant.traffic() / total * n_waiting as f32).ceil() as usize
}
