//! How many calls a worker is asked together: as many as lower the cost of each.
//!
//! Together is not always cheaper: eight rows through a large model on a processor cost eight
//! times one row, and a forest of trees is dearer by the batch. So sizes are tried, the next
//! power of two at a time and only while calls wait anyway, and kept if a call is clearly
//! cheaper. Now and then the neighbours of the best size are tried again.

use std::time::Duration;

/// Runs of a size before its cost counts.
const TRIALS: u32 = 4;
/// A size is better if a call costs this much less: its answers come later, all at once.
const GAIN: f64 = 0.9;
/// How many batches lie between two looks at another size.
const LOOK_EVERY: u32 = 256;
/// The powers of two up to 2^15.
const CLASSES: usize = 16;

/// What batches of each size have cost.
#[derive(Debug, Default)]
pub(super) struct Sizing {
    /// By the power of two that the size has.
    classes: [Cost; CLASSES],
    /// Batches since another size was tried.
    since: u32,
    /// The next look is at a smaller size.
    look_down: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// Seconds a call.
    call: f64,
    runs: u32,
}

impl Sizing {
    /// How many of `waiting` calls to ask together, of which the worker takes `most`.
    pub(super) fn choose(&mut self, waiting: usize, most: usize) -> usize {
        let cap = waiting.min(most).max(1);
        if cap == 1 {
            return 1;
        }
        let best = self.best();
        self.since += 1;
        let target = match self.untried(best, class(cap)) {
            Some(untried) => untried,
            None if self.since >= LOOK_EVERY => self.look(best),
            None => best,
        };
        if target == CLASSES - 1 { cap } else { cap.min(1 << target) }
    }

    /// Notes what `calls` calls together took.
    pub(super) fn note(&mut self, calls: usize, took: Duration) {
        let cost = &mut self.classes[class(calls)];
        #[expect(clippy::cast_precision_loss, reason = "few calls")]
        let call = took.as_secs_f64() / calls.max(1) as f64;
        cost.runs = cost.runs.saturating_add(1);
        // The first runs of a size may pay for what is set up once: the cheaper ones count.
        cost.call = match cost.runs {
            1 => call,
            runs if runs <= TRIALS => cost.call.min(call),
            _ => cost.call + (call - cost.call) / 8.0,
        };
    }

    /// The size at which a call is cheapest, of those that are tried.
    fn best(&self) -> usize {
        let tried = self.classes.iter().enumerate().filter(|(_, cost)| cost.is_known());
        let mut best: Option<(usize, f64)> = None;
        for (class, cost) in tried {
            if best.is_none_or(|(_, cheapest)| cost.call < cheapest * GAIN) {
                best = Some((class, cost.call));
            }
        }
        best.map_or(0, |(class, _)| class)
    }

    /// The next size up, if its cost is not known and there are calls enough.
    fn untried(&self, best: usize, cap: usize) -> Option<usize> {
        let next = best + 1;
        let known = |class: usize| self.classes.get(class).is_none_or(|cost| cost.is_known());
        (next <= cap && known(best) && !known(next)).then_some(next)
    }

    /// A neighbour of the best size, to see whether things have changed.
    fn look(&mut self, best: usize) -> usize {
        self.since = 0;
        self.look_down = !self.look_down;
        if self.look_down { best.saturating_sub(1) } else { (best + 1).min(CLASSES - 1) }
    }
}

impl Cost {
    fn is_known(self) -> bool {
        self.runs >= TRIALS
    }
}

/// The power of two in a size.
fn class(calls: usize) -> usize {
    (calls.max(1).ilog2() as usize).min(CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Sizing;

    /// The size that is settled on, of a worker whose runs cost `base` and `each` microseconds.
    fn settled(base: u64, each: u64, waiting: usize, most: usize) -> usize {
        let mut sizing = Sizing::default();
        let mut sizes = Vec::new();
        for _ in 0..1000 {
            let size = sizing.choose(waiting, most);
            assert!(size >= 1 && size <= waiting.min(most).max(1), "{size} of {waiting}, {most}");
            sizing.note(size, Duration::from_micros(base + each * size as u64));
            sizes.push(size);
        }
        sizes.sort_unstable();
        sizes[sizes.len() / 2]
    }

    #[test]
    fn sizes_are_kept_that_pay() {
        assert_eq!(settled(0, 100, 64, 32), 1, "nothing is gained together");
        assert_eq!(settled(10, 1000, 64, 32), 1, "too little is gained");
        assert_eq!(settled(1000, 1, 64, 32), 32, "a run costs the same whatever its size");
        assert_eq!(settled(1000, 1, 6, 32), 4);
        assert_eq!(settled(1000, 100, 64, 32), 32);
        assert_eq!(settled(1000, 1, 64, 1), 1);
        assert_eq!(settled(1000, 1, 1, 32), 1);
    }

    #[test]
    fn a_worker_that_changes_is_found_out() {
        let mut sizing = Sizing::default();
        let mut run = |base: u64, each: u64| {
            let size = sizing.choose(64, 8);
            sizing.note(size, Duration::from_micros(base + each * size as u64));
            size
        };
        let before = (0..2000).map(|_| run(0, 100)).filter(|size| *size > 1).count();
        assert!(before < 40, "{before}");
        let after = (0..8000).map(|_| run(1000, 1)).filter(|size| *size == 8).count();
        assert!(after > 4000, "{after}");
    }
}
