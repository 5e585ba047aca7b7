//! Threads that compute, apart from those that wait for sockets.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::process::{getpriority_process, setpriority_process};
use sagebrush_core::task;

/// A fixed number of threads over one queue. They end when the pool is dropped and the queue is
/// empty.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    n_threads: usize,
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Pool {
    /// Starts `n_threads` threads, at least one.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub(crate) fn start(n_threads: usize) -> io::Result<Self> {
        let pool = Self { shared: Arc::default(), n_threads: n_threads.max(1) };
        for index in 0..pool.n_threads {
            let shared = Arc::clone(&pool.shared);
            task::thread(&format!("onnx-{index}"), move || {
                step_back();
                shared.work();
            })?;
        }
        Ok(pool)
    }

    pub(crate) fn n_threads(&self) -> usize {
        self.n_threads
    }

    /// Queues a job. It must not panic.
    pub(crate) fn submit(&self, job: impl FnOnce() + Send + 'static) {
        self.shared.lock().jobs.push_back(Box::new(job));
        self.shared.changed.notify_one();
    }
}

/// Lets the threads that wait for sockets go first, which compute little. With more to compute
/// than there are cores, they could else wait for a time slice or two before they refuse a call:
/// half as long with this.
fn step_back() {
    const STEPS: i32 = 2;
    // On Linux this is the priority of the calling thread alone.
    let stepped = getpriority_process(None).and_then(|now| setpriority_process(None, now + STEPS));
    if let Err(error) = stepped {
        tracing::debug!(%error, "a compute thread keeps its priority");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    /// Waits for a job; `None` when the pool is closed.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("queued", &self.lock().jobs.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use rustix::process::getpriority_process;

    use super::Pool;

    #[test]
    fn its_threads_step_back_and_no_others() {
        let before = getpriority_process(None).unwrap();
        let pool = Pool::start(1).unwrap();
        let (sender, receiver) = mpsc::channel();
        pool.submit(move || sender.send(getpriority_process(None).unwrap()).unwrap());
        let lowest = 19;
        assert_eq!(receiver.recv().unwrap(), (before + 2).min(lowest));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }

    #[test]
    fn runs_what_was_queued_before_it_was_dropped() {
        let pool = Pool::start(2).unwrap();
        let (sender, receiver) = mpsc::channel();
        for n in 0..100 {
            let sender = sender.clone();
            pool.submit(move || sender.send(n).unwrap());
        }
        drop((pool, sender));
        let mut ran: Vec<i32> = receiver.iter().collect();
        ran.sort_unstable();
        assert_eq!(ran, (0..100).collect::<Vec<_>>());
    }
}
