//! Looks after all programs that run: one pass over `/proc` for all of them.
//!
//! A thread of its own, so that no look delays a call and none waits for one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::getpid;
use sagebrush_core::task;

use super::family::Family;
use super::proc::{Process, Snapshot};

/// How long a program may be over a limit without being seen.
const PERIOD: Duration = Duration::from_millis(250);
/// How often strangers are looked for before we give up.
const LOOKS: usize = 50;

static WATCHED: Mutex<Watched> = Mutex::new(Watched { families: Vec::new(), runs: false });

struct Watched {
    families: Vec<Arc<Family>>,
    /// The thread is there; it ends when it finds nothing to watch.
    runs: bool,
}

/// Watches over `family` until [`leave`].
pub(crate) fn join(family: Arc<Family>) {
    let mut watched = lock();
    watched.families.push(family);
    if watched.runs {
        return;
    }
    match task::thread("processes", watch) {
        Ok(_detached) => watched.runs = true,
        Err(error) => tracing::warn!(%error, "programs are not held to their limits"),
    }
}

/// Ends the watch over `family`, of which nothing is left. Blocks.
pub(crate) fn leave(family: &Arc<Family>) {
    let mut watched = lock();
    watched.families.retain(|other| !Arc::ptr_eq(other, family));
    let is_last = !watched.families.iter().any(|other| other.is_group());
    drop(watched);
    if family.is_group() && is_last {
        end_strangers();
    }
}

/// The children of ours that programs were started as.
pub(crate) fn roots() -> BTreeSet<i32> {
    lock().families.iter().map(|family| family.root().id).collect()
}

fn watch() {
    loop {
        std::thread::sleep(PERIOD);
        let mut watched = lock();
        if watched.families.is_empty() {
            watched.runs = false;
            return;
        }
        let awake = watched.families.iter().filter(|family| !family.rests());
        let families: Vec<_> = awake.cloned().collect();
        drop(watched);
        if families.is_empty() {
            continue; // A look costs more than all that these do.
        }
        let all = Snapshot::take();
        for family in families {
            family.look(&all);
        }
        for zombie in strangers(&all).into_iter().filter(|process| process.zombie) {
            zombie.reap();
        }
    }
}

/// Ends those that left their program so thoroughly that nobody could tell whose they are. Only
/// done when no program runs that they could belong to.
fn end_strangers() {
    for _ in 0..LOOKS {
        let all = Snapshot::take();
        let found = strangers(&all);
        if found.is_empty() {
            return;
        }
        for process in all.with_descendants(found.iter().map(|process| process.id)) {
            if process.zombie && process.is_our_child() { process.reap() } else { process.kill() }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Our children in another session: we start none in one, so they were orphaned by a program. As
/// the first process of a machine or container we get the orphans of others, too: none counts.
/// Ours is 0 where it was begun outside of our namespace, and so is that of those we start.
fn strangers(all: &Snapshot) -> Vec<Process> {
    let own = getpid();
    if own.is_init() {
        return Vec::new();
    }
    let Some(own) = Process::of(own.as_raw_pid()) else { return Vec::new() };
    all.iter().filter(|process| is_stranger(process, &own)).cloned().collect()
}

fn is_stranger(process: &Process, own: &Process) -> bool {
    process.parent == own.id && process.session != own.session
}

fn lock() -> MutexGuard<'static, Watched> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::is_stranger;
    use crate::tree::proc::Process;

    #[test]
    fn strangers_have_left_our_session_even_if_it_has_no_number_here() {
        let process = |id, parent, session| Process { parent, session, ..Process::gone(id) };
        for own in [process(7, 1, 5), process(7, 1, 0)] {
            assert!(!is_stranger(&process(8, 7, own.session), &own));
            assert!(is_stranger(&process(8, 7, 8), &own));
            assert!(!is_stranger(&process(9, 8, 8), &own));
        }
    }
}
