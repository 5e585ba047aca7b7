//! SageMaker's metrics, one row each: name, unit, dimensions, and what they are made of.
//!
//! "Monitor Amazon SageMaker with Amazon CloudWatch" of its developer guide.

use super::dimensions::Dimensions;

/// One metric.
pub(super) struct Row {
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) dimensions: Dimensions,
    pub(super) high_resolution: bool,
    pub(super) source: Source,
}

/// What a metric's values are made of, by the names that Prometheus sees.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// 1 for each.
    Count(&'static str),
    /// 1 for each `of`, 0 for all others `among`: its average is a rate.
    Share {
        of: &'static str,
        among: &'static str,
    },
    /// 1 for each of `hits`, 0 for each of `misses`.
    Hits {
        hits: &'static str,
        misses: &'static str,
    },
    Times(&'static str),
    /// How it is now.
    Level(&'static str),
    /// How it is now, by instance of the variant.
    LevelByInstance(&'static str),
    /// How it is now, as a part of `whole`, which is known of the same variants.
    Part {
        of: &'static str,
        whole: &'static str,
    },
    /// How it is now, where `beside` is known too.
    LevelBeside {
        of: &'static str,
        beside: &'static str,
    },
    /// For each, one by the number of the variant's instances.
    CountByInstance(&'static str),
}

pub(super) const INSTANCES: &str = "sagebrush_instances";

const INVOCATIONS: &str = "sagebrush_invocations_total";

const INSTANCE_INVOCATIONS: &str = "sagebrush_instance_invocations_total";
/// Of serverless variants.
const EXECUTIONS: &str = "sagebrush_serverless_concurrent_executions";
const PROVISIONED: &str = "sagebrush_serverless_provisioned_concurrency";

/// All names that the sources know.
pub(super) fn names() -> Vec<&'static str> {
    let of = |row: &Row| match row.source {
        Source::Count(name) | Source::Times(name) | Source::Level(name) => vec![name],
        Source::Share { of, among } => vec![of, among],
        Source::Hits { hits, misses } => vec![hits, misses],
        Source::Part { of, whole } => vec![of, whole],
        Source::LevelBeside { of, beside } => vec![of, beside],
        Source::LevelByInstance(name) | Source::CountByInstance(name) => vec![name, INSTANCES],
    };
    let mut names: Vec<_> = ROWS.iter().flat_map(of).collect();
    names.sort_unstable();
    names.dedup();
    names
}

pub(super) const ROWS: &[Row] = &[
    // Calls.
    call("Invocations", Source::Count(INVOCATIONS)),
    call("Invocation4XXErrors", errors("sagebrush_invocation_4xx_errors_total")),
    call("Invocation5XXErrors", errors("sagebrush_invocation_5xx_errors_total")),
    call("InvocationModelErrors", errors("sagebrush_invocation_model_errors_total")),
    call("NoCapacityInvocationFailures", Source::Count("sagebrush_no_capacity_errors_total")),
    micros(of_variant(call("ModelSetupTime", Source::Times("sagebrush_instance_start_seconds")))),
    micros(call("ModelLatency", Source::Times("sagebrush_model_latency_seconds"))),
    micros(call("OverheadLatency", Source::Times("sagebrush_overhead_latency_seconds"))),
    of_variant(call("InvocationsPerInstance", Source::CountByInstance(INVOCATIONS))),
    of_variant(call(
        "ConcurrentRequestsPerModel",
        Source::LevelByInstance("sagebrush_outstanding_calls"),
    )),
    micros(call("FirstChunkLatency", Source::Times("sagebrush_first_chunk_latency_seconds"))),
    micros(call(
        "FirstChunkModelLatency",
        Source::Times("sagebrush_first_chunk_model_latency_seconds"),
    )),
    micros(call(
        "FirstChunkOverheadLatency",
        Source::Times("sagebrush_first_chunk_overhead_latency_seconds"),
    )),
    call("MidStreamErrors", Source::Count("sagebrush_mid_stream_errors_total")),
    // The same by instance, where the endpoint's configuration asks for it.
    of_instance("Invocations", Source::Count(INSTANCE_INVOCATIONS)),
    of_instance(
        "Invocation4XXErrors",
        errors_of_instance("sagebrush_instance_invocation_4xx_errors_total"),
    ),
    of_instance(
        "Invocation5XXErrors",
        errors_of_instance("sagebrush_instance_invocation_5xx_errors_total"),
    ),
    of_instance(
        "InvocationModelErrors",
        errors_of_instance("sagebrush_instance_invocation_model_errors_total"),
    ),
    micros(of_instance("ModelLatency", Source::Times("sagebrush_instance_model_latency_seconds"))),
    micros(of_instance(
        "OverheadLatency",
        Source::Times("sagebrush_instance_overhead_latency_seconds"),
    )),
    // Multi-model endpoints.
    of_variant(call(
        "ModelCacheHit",
        Source::Hits {
            hits: "sagebrush_model_cache_hits_total",
            misses: "sagebrush_model_cache_misses_total",
        },
    )),
    micros(of_variant(call("ModelLoadingTime", Source::Times("sagebrush_model_loading_seconds")))),
    micros(of_variant(call(
        "ModelLoadingWaitTime",
        Source::Times("sagebrush_model_loading_wait_seconds"),
    ))),
    micros(of_variant(call(
        "ModelDownloadingTime",
        Source::Times("sagebrush_model_downloading_seconds"),
    ))),
    micros(of_variant(call(
        "ModelUnloadingTime",
        Source::Times("sagebrush_model_unloading_seconds"),
    ))),
    // Asynchronous endpoints.
    of_endpoint("ApproximateBacklogSize", "Count", "sagebrush_async_approximate_backlog_size"),
    of_endpoint(
        "ApproximateBacklogSizePerInstance",
        "Count",
        "sagebrush_async_approximate_backlog_size_per_instance",
    ),
    of_endpoint(
        "ApproximateAgeOfOldestRequest",
        "Seconds",
        "sagebrush_async_approximate_age_of_oldest_request_seconds",
    ),
    of_endpoint(
        "HasBacklogWithoutCapacity",
        "Count",
        "sagebrush_async_has_backlog_without_capacity",
    ),
    counted("RequestDownloadFailures", "sagebrush_async_request_download_failures_total"),
    counted("ResponseUploadFailures", "sagebrush_async_response_upload_failures_total"),
    counted("NotificationFailures", "sagebrush_async_notification_failures_total"),
    counted("ExpiredRequests", "sagebrush_async_expired_requests_total"),
    counted("InvocationFailures", "sagebrush_async_invocation_failures_total"),
    // Three times the letter s, as SageMaker writes it; and once more for who reads it right.
    counted("InvocationsProcesssed", "sagebrush_async_invocations_processed_total"),
    counted("InvocationsProcessed", "sagebrush_async_invocations_processed_total"),
    micros(of_variant(call(
        "RequestDownloadLatency",
        Source::Times("sagebrush_async_request_download_latency_seconds"),
    ))),
    micros(of_variant(call(
        "ResponseUploadLatency",
        Source::Times("sagebrush_async_response_upload_latency_seconds"),
    ))),
    millis("TimeInBacklog", "sagebrush_async_time_in_backlog_seconds"),
    millis("TotalProcessingTime", "sagebrush_async_total_processing_time_seconds"),
    // Serverless endpoints.
    of_variant(call(
        "ServerlessConcurrentExecutionsUtilization",
        Source::Part { of: EXECUTIONS, whole: "sagebrush_serverless_max_concurrency" },
    )),
    of_variant(call(
        "ServerlessProvisionedConcurrencyUtilization",
        Source::Part { of: EXECUTIONS, whole: PROVISIONED },
    )),
    Row {
        unit: "Count",
        ..of_variant(call(
            "ServerlessProvisionedConcurrencyExecutions",
            Source::LevelBeside { of: EXECUTIONS, beside: PROVISIONED },
        ))
    },
    counted(
        "ServerlessProvisionedConcurrencyInvocations",
        "sagebrush_serverless_provisioned_invocations_total",
    ),
    counted(
        "ServerlessProvisionedConcurrencySpilloverInvocations",
        "sagebrush_serverless_spillover_invocations_total",
    ),
    // Instances.
    Row {
        namespace: "/aws/sagemaker/Endpoints",
        ..of_variant(call("LoadedModelCount", Source::LevelByInstance("sagebrush_loaded_models")))
    },
];

/// A metric of calls, without a unit. Of high resolution, so that an alarm with a short period
/// sees a bad deployment within seconds.
const fn call(name: &'static str, source: Source) -> Row {
    Row {
        namespace: "AWS/SageMaker",
        name,
        unit: "None",
        dimensions: Dimensions::Calls,
        high_resolution: true,
        source,
    }
}

const fn errors(of: &'static str) -> Source {
    Source::Share { of, among: INVOCATIONS }
}

const fn errors_of_instance(of: &'static str) -> Source {
    Source::Share { of, among: INSTANCE_INVOCATIONS }
}

const fn micros(row: Row) -> Row {
    Row { unit: "Microseconds", ..row }
}

const fn of_variant(row: Row) -> Row {
    Row { dimensions: Dimensions::Variant, ..row }
}

const fn of_instance(name: &'static str, source: Source) -> Row {
    Row { dimensions: Dimensions::Instance, ..call(name, source) }
}

const fn of_endpoint(name: &'static str, unit: &'static str, level: &'static str) -> Row {
    Row { unit, dimensions: Dimensions::Endpoint, ..call(name, Source::Level(level)) }
}

const fn counted(name: &'static str, counter: &'static str) -> Row {
    Row { unit: "Count", ..of_variant(call(name, Source::Count(counter))) }
}

const fn millis(name: &'static str, times: &'static str) -> Row {
    Row { unit: "Milliseconds", ..of_variant(call(name, Source::Times(times))) }
}
