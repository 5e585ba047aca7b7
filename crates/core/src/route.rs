//! What the data plane reads: an immutable table of endpoints, made anew with each change.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, Semaphore, watch};

use crate::worker::Worker;
use crate::{Region, ResourceName};

/// Control makes a new table with each change; serving only reads the newest.
pub type Routes = watch::Receiver<Arc<RouteTable>>;

/// All endpoints that take calls.
#[derive(Default)]
pub struct RouteTable {
    /// By region, then by name.
    regions: HashMap<Region, HashMap<ResourceName, Arc<EndpointRoute>>>,
}

impl RouteTable {
    /// The route of an endpoint; the name's case counts, as in `InvokeEndpoint`.
    #[must_use]
    pub fn find(&self, region: &Region, name: &ResourceName) -> Option<&Arc<EndpointRoute>> {
        self.regions.get(region)?.get(name)
    }

    pub fn insert(&mut self, route: Arc<EndpointRoute>) {
        let region = self.regions.entry(route.region.clone()).or_default();
        region.insert(route.name.clone(), route);
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<EndpointRoute>> {
        self.regions.values().flat_map(HashMap::values)
    }
}

/// What serving knows of an endpoint.
pub struct EndpointRoute {
    pub region: Region,
    pub name: ResourceName,
    pub config: String,
    /// `None` while calls are taken; else the status that says why not: `Creating`.
    pub closed: Option<&'static str>,
    pub variants: Vec<VariantRoute>,
}

/// A share of an endpoint's traffic with its instances.
pub struct VariantRoute {
    pub name: String,
    pub weight: f32,
    pub targets: Targets,
    pub instances: Vec<Arc<Instance>>,
}

/// What a call must name beside its endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Targets {
    /// `TargetModel`: the variant has a multi-model container.
    pub model: bool,
    /// `TargetContainerHostname`: its containers are called directly.
    pub container: bool,
}

/// A place on which one worker runs, with the calls it has.
pub struct Instance {
    /// `i-` and 17 hexadecimal digits.
    pub id: String,
    pub worker: Arc<dyn Worker>,
    /// As many permits as the worker takes calls at once.
    pub slots: Semaphore,
    max_outstanding: usize,
    /// The calls under way, and [`CLOSED`] once no more are admitted.
    outstanding: AtomicUsize,
    idle: Notify,
}

/// The bit of `Instance::outstanding` that says that no more calls are admitted.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// Why an instance takes no call now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It has as many as it may have.
    Full,
    /// It is on its way out; a newer route names another one.
    Closed,
}

impl Instance {
    /// An instance that admits at most `max_outstanding` calls, waiting ones included.
    #[must_use]
    pub fn new(id: String, worker: Arc<dyn Worker>, max_outstanding: usize) -> Arc<Self> {
        let slots = Semaphore::new(worker.concurrency());
        let outstanding = AtomicUsize::new(0);
        Arc::new(Self { id, worker, slots, max_outstanding, outstanding, idle: Notify::new() })
    }

    /// How many calls wait or are being answered.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Acquire) & !CLOSED
    }

    /// Takes a place on this instance.
    ///
    /// # Errors
    /// When it is full or closed.
    pub fn admit(self: &Arc<Self>) -> Result<Admitted, Refused> {
        let before = self.outstanding.fetch_add(1, Ordering::AcqRel);
        let admitted = Admitted(self.clone()); // Gives the place back when dropped.
        if before & CLOSED != 0 {
            return Err(Refused::Closed);
        }
        if before >= self.max_outstanding {
            return Err(Refused::Full);
        }
        Ok(admitted)
    }

    /// Admits no more calls, and returns when none is left.
    pub async fn drain(&self) {
        self.outstanding.fetch_or(CLOSED, Ordering::AcqRel);
        loop {
            let idle = self.idle.notified();
            if self.outstanding() == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// A place on an instance, held while a call is under way.
pub struct Admitted(Arc<Instance>);

impl Admitted {
    #[must_use]
    pub fn instance(&self) -> &Arc<Instance> {
        &self.0
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let left = self.0.outstanding.fetch_sub(1, Ordering::AcqRel) - 1;
        if left == CLOSED {
            self.0.idle.notify_waiters();
        }
    }
}
