//! Asynchronous inference: calls that are kept until they are answered, and answered into objects.
//!
//! The way of a call, in order:
//!
//! 1. [`accept`]: the door. The API's headers ([`headers`]) become a row ([`call`]); the answer
//!    goes out when the row is durable.
//! 2. [`backlog`]: what waits, in memory; rows are read when their turn comes.
//! 3. [`work`]: one task for each endpoint gives the calls that wait to the instances that there
//!    are.
//! 4. [`turn`]: one call: its input ([`input`]), its worker, its end.
//! 5. [`end`]: the output or failure object, the notification ([`notify`]), and no row any more.
//!
//! What a call is, by what is kept of it, and what a start makes of it:
//!
//! ```text
//! row      objects   is                          a start
//! none     none      not acknowledged            knows nothing of it
//! Waiting  none      acknowledged                gives it its turn
//! Waiting  one       answered, not written down  finds the object, and ends the call with it
//! Done     one       to be notified              publishes (a repeat is dropped), removes the row
//! none     one       over                        has nothing to do
//! ```
//!
//! A call may be computed more than once, but where its result goes is fixed when it is accepted,
//! and an object is put whole: so there is one result, and one notification of it. A call without
//! anyone to notify goes from `Waiting` to no row.

mod accept;
mod backlog;
mod call;
mod demand;
mod end;
mod headers;
mod input;
mod mapped;
mod meter;
mod notify;
mod turn;
mod work;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use sagebrush_core::access::{Authorizer, RoleObjects};
use sagebrush_core::logs::LogSink;
use sagebrush_core::messages::Publisher;
use sagebrush_core::metrics::Registry;
use sagebrush_core::objects::ObjectStore;
use sagebrush_core::resource::Table;
use sagebrush_core::store::{MetaStore, StoreError};
use sagebrush_core::trace::Tracer;
use sagebrush_core::{Clock, task};
use tokio::sync::{Semaphore, watch};

pub(crate) use accept::{Accepted, LONGEST_BODY, Refused};
use backlog::{Backlog, Found};
pub(crate) use call::Carried;
use meter::AsyncMeters;

use crate::invoke::Invoker;

/// How many results are written and notified at once.
const WRITERS: usize = 32;

/// What asynchronous inference is made of.
pub struct Parts {
    pub store: Arc<dyn MetaStore>,
    pub objects: Arc<dyn ObjectStore>,
    /// What roles may read and write.
    pub authorizer: Arc<dyn Authorizer>,
    pub publisher: Arc<dyn Publisher>,
    pub invoker: Invoker,
    pub clock: Arc<dyn Clock>,
    pub log: Arc<dyn LogSink>,
    pub metrics: Registry,
    pub tracer: Tracer,
    /// Where large inputs are kept while they are computed; made if it is not there.
    pub spool: PathBuf,
}

/// Takes asynchronous calls and sees to their end.
#[derive(Clone)]
pub struct AsyncInference(Arc<Core>);

struct Core {
    backlog: Backlog,
    objects: Arc<dyn ObjectStore>,
    authorizer: Arc<dyn Authorizer>,
    publisher: Arc<dyn Publisher>,
    invoker: Invoker,
    clock: Arc<dyn Clock>,
    log: Arc<dyn LogSink>,
    meters: AsyncMeters,
    tracer: Tracer,
    spool: PathBuf,
    /// A result that is to be written takes one, so that few are held in memory.
    writers: Arc<Semaphore>,
    stopping: watch::Sender<bool>,
}

impl Core {
    /// The object store, as the role of the call's endpoint may use it.
    fn objects_of(&self, call: &call::CallSpec) -> RoleObjects {
        RoleObjects {
            objects: self.objects.clone(),
            authorizer: self.authorizer.clone(),
            role_arn: call.role_arn.clone(),
        }
    }
}

/// Why asynchronous inference cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the calls that wait cannot be read")]
    Store(#[from] StoreError),
    #[error("the folder for inputs cannot be made")]
    Io(#[from] std::io::Error),
}

impl AsyncInference {
    /// Reads what waits, and goes on with it.
    ///
    /// # Errors
    /// When the store cannot be read, or the folder for inputs cannot be made.
    pub async fn open(parts: Parts) -> Result<Self, OpenError> {
        let Parts { store, objects, authorizer, publisher, invoker, clock, .. } = parts;
        let (log, metrics, tracer, spool) = (parts.log, parts.metrics, parts.tracer, parts.spool);
        std::fs::create_dir_all(&spool)?;
        let core = Arc::new(Core {
            backlog: Backlog::new(Table::new(store, clock.clone())),
            objects,
            authorizer,
            publisher,
            invoker,
            clock,
            log,
            meters: AsyncMeters::new(metrics),
            tracer,
            spool,
            writers: Arc::new(Semaphore::new(WRITERS)),
            stopping: watch::Sender::new(false),
        });
        core.backlog.load(|found| core.go_on_with(found)).await?;
        Ok(Self(core))
    }

    /// Begins nothing any more, and leaves what is under way where it is: the next start goes on
    /// with it.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    /// Sets the gauges that say how things are now.
    pub fn look(&self) {
        let table = self.0.invoker.routes.newest();
        self.0.meters.look(&table, &self.0.backlog, self.0.clock.now());
    }
}

impl Core {
    fn go_on_with(self: &Arc<Self>, found: Found) {
        match found {
            Found::Waiting { at, ticket } => self.enter(at, ticket),
            Found::Done(call, done) => {
                let core = self.clone();
                self.spawn("async-notify", async move {
                    let _writer = core.writers.acquire().await;
                    core.close(call, done).await;
                });
            }
        }
    }

    /// Runs `work` as a task, until the server stops.
    fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let mut stopping = self.stopping.subscribe();
        let task = async move {
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => {}
                () = work => {}
            }
        };
        drop(task::spawn(name, task));
    }
}
