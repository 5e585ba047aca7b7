//! The calls of a variant that grows and shrinks with them.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts the calls that want an instance, whether there is one or not. Whoever scales the variant
/// follows the count; it outlives tables and deployments that keep the variant.
#[derive(Debug)]
pub struct Demand {
    calls: watch::Sender<usize>,
    /// SageMaker API: `MaxConcurrency`.
    most: Option<usize>,
}

/// A call that is counted until this is dropped.
#[derive(Debug)]
pub struct Wanted(Arc<Demand>);

impl Demand {
    /// Counts at most `most` calls at once, if that is given.
    #[must_use]
    pub fn new(most: Option<usize>) -> Arc<Self> {
        Arc::new(Self { calls: watch::Sender::new(0), most })
    }

    /// Counts a call; `None` if there are as many as there may be.
    #[must_use]
    pub fn call(self: &Arc<Self>) -> Option<Wanted> {
        let most = self.most.unwrap_or(usize::MAX);
        let counted = self.calls.send_if_modified(|calls| {
            let has_room = *calls < most;
            *calls += usize::from(has_room);
            has_room
        });
        counted.then(|| Wanted(self.clone()))
    }

    /// How many calls there are.
    #[must_use]
    pub fn calls(&self) -> usize {
        *self.calls.borrow()
    }

    /// Follows the count.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<usize> {
        self.calls.subscribe()
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.calls.send_modify(|calls| *calls -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::Demand;

    #[test]
    fn calls_count_while_they_last_and_are_limited() {
        let demand = Demand::new(Some(2));
        let (first, second) = (demand.call().unwrap(), demand.call().unwrap());
        assert!(demand.call().is_none());
        assert_eq!(demand.calls(), 2);
        drop(first);
        let third = demand.call().unwrap();
        drop((second, third));
        assert_eq!(demand.calls(), 0);
    }

    #[tokio::test]
    async fn the_count_can_be_followed() {
        let demand = Demand::new(None);
        let mut calls = demand.watch();
        let wanted = demand.call();
        calls.wait_for(|calls| *calls == 1).await.unwrap();
        drop(wanted);
        calls.wait_for(|calls| *calls == 0).await.unwrap();
    }
}
