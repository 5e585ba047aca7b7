//! Counts and times of asynchronous calls. They are no `Invocations`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::metrics::{Labels, Registry};
use sagebrush_core::route::{EndpointRoute, RouteTable};
use sagebrush_core::{Region, ResourceName, Timestamp};

use super::backlog::Backlog;
use super::turn::Cause;
use super::work::Stand;
use crate::trace::CallTrace;

/// The units that SageMaker tells these times in.
const MICRO: Duration = Duration::from_micros(1);
const MILLI: Duration = Duration::from_millis(1);

/// Where the time of a call went, and where it was.
#[derive(Default)]
pub(super) struct Spent {
    /// Empty if it had no turn.
    pub(super) variant: String,
    /// The stream that its end is written to.
    pub(super) stream: String,
    pub(super) backlog: Duration,
    pub(super) download: Option<Duration>,
    pub(super) model: Option<Duration>,
    pub(super) upload: Option<Duration>,
    pub(super) total: Duration,
    /// If it is traced.
    pub(super) trace: Option<Box<CallTrace>>,
}

pub(super) struct AsyncMeters(Registry);

type Gauge = (&'static str, &'static str, fn(&Stand) -> usize);

const GAUGES: [Gauge; 4] = [
    (
        "sagebrush_async_approximate_backlog_size",
        "Asynchronous calls that wait or are being answered.",
        |stand| stand.n_calls,
    ),
    (
        "sagebrush_async_approximate_backlog_size_per_instance",
        "The same by the number of instances, rounded up.",
        |stand| stand.n_calls.div_ceil(stand.n_instances.max(1)),
    ),
    (
        "sagebrush_async_approximate_age_of_oldest_request_seconds",
        "How long the oldest call waits for its turn.",
        |stand| usize::try_from(stand.oldest.as_secs()).unwrap_or(usize::MAX),
    ),
    (
        "sagebrush_async_has_backlog_without_capacity",
        "1 while calls wait and there is no instance.",
        |stand| usize::from(stand.n_calls > 0 && stand.n_instances == 0),
    ),
];

impl AsyncMeters {
    pub(super) fn new(registry: Registry) -> Self {
        Self(registry)
    }

    /// Counts a call that is over; `cause` if it has no reply.
    pub(super) fn ended(
        &self,
        region: &Region,
        endpoint: &ResourceName,
        spent: &Spent,
        cause: Option<Cause>,
    ) {
        let labels = || labels(region, endpoint, &spent.variant);
        let (name, help) = match cause {
            None => ("sagebrush_async_invocations_processed_total", "Calls with an output."),
            Some(Cause::Failed | Cause::TookTooLong) => {
                ("sagebrush_async_invocation_failures_total", "Calls with a failure.")
            }
            Some(Cause::WaitedTooLong) => {
                ("sagebrush_async_expired_requests_total", "Calls that waited for too long.")
            }
        };
        self.0.counter(name, help, labels()).add(1);
        let times = [
            (
                "sagebrush_async_time_in_backlog_seconds",
                "From the acceptance of a call to its turn.",
                MILLI,
                Some(spent.backlog),
            ),
            (
                "sagebrush_async_request_download_latency_seconds",
                "How long it took to read an input.",
                MICRO,
                spent.download,
            ),
            (
                "sagebrush_async_response_upload_latency_seconds",
                "How long it took to store an output or a failure.",
                MICRO,
                spent.upload,
            ),
            (
                "sagebrush_async_total_processing_time_seconds",
                "From the acceptance of a call to its result.",
                MILLI,
                Some(spent.total),
            ),
        ];
        for (name, help, unit, took) in times {
            if let Some(took) = took {
                self.0.recorded((name, help), labels(), unit).observe(took);
            }
        }
    }

    pub(super) fn download_failed(&self, region: &Region, endpoint: &ResourceName, variant: &str) {
        let help = "Inputs that could not be read.";
        let labels = labels(region, endpoint, variant);
        self.0.counter("sagebrush_async_request_download_failures_total", help, labels).add(1);
    }

    pub(super) fn upload_failed(&self, region: &Region, endpoint: &ResourceName, variant: &str) {
        let help = "Outputs that could not be stored.";
        let labels = labels(region, endpoint, variant);
        self.0.counter("sagebrush_async_response_upload_failures_total", help, labels).add(1);
    }

    pub(super) fn notification_failed(&self, region: &Region, endpoint: &ResourceName) {
        let help = "Notifications that no topic took.";
        let labels = labels(region, endpoint, "");
        self.0.counter("sagebrush_async_notification_failures_total", help, labels).add(1);
    }

    /// Sets the gauges of all asynchronous endpoints.
    pub(super) fn look(&self, table: &RouteTable, backlog: &Backlog, now: Timestamp) {
        let routes = table.iter().filter(|route| route.asynchronous.is_some());
        let stands: Vec<_> = routes
            .map(|route| {
                let queue = backlog.queue(&(route.region.clone(), route.name.clone()));
                (route, Stand::of(route, queue.as_deref(), now))
            })
            .collect();
        for (name, help, of) in GAUGES {
            let level = |(route, stand): &(&Arc<EndpointRoute>, Stand)| {
                let labels = vec![
                    ("region", route.region.to_string()),
                    ("endpoint", route.name.to_string()),
                ];
                (labels, i64::try_from(of(stand)).unwrap_or(i64::MAX))
            };
            self.0.set_gauges(name, help, stands.iter().map(level));
        }
    }
}

fn labels(region: &Region, endpoint: &ResourceName, variant: &str) -> Labels {
    vec![
        ("region", region.to_string()),
        ("endpoint", endpoint.to_string()),
        ("variant", variant.to_owned()),
    ]
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = [
            ("ModelLatency", self.model),
            ("RequestDownloadLatency", self.download),
            ("ResponseUploadLatency", self.upload),
        ];
        for (name, took) in times {
            if let Some(took) = took {
                write!(f, "{name}: {} us, ", took.as_micros())?;
            }
        }
        let (backlog, total) = (self.backlog.as_millis(), self.total.as_millis());
        write!(f, "TimeInBacklog: {backlog} ms, TotalProcessingTime: {total} ms.")
    }
}
