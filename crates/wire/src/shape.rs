//! The words that generated code is written in: an operation, a shape and its constraints.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// One operation of an AWS service: its name, its input and its output.
pub trait Operation: 'static {
    /// The name as the client sends it, for example `CreateEndpoint`.
    const NAME: &'static str;
    /// The service that the operation belongs to.
    const SERVICE: Service;
    type Input: DeserializeOwned + Send + 'static;
    type Output: Serialize + Send + 'static;

    /// The table that a request is checked against before it is read into `Input`.
    fn input_shape() -> &'static Shape;
    /// The table that the query protocol writes an answer's XML by.
    fn output_shape() -> &'static Shape;
}

/// What the protocols need to know of a service.
#[derive(Debug, PartialEq, Eq)]
pub struct Service {
    /// The name in the credential scope: `sagemaker`, `sts`.
    pub signing_name: &'static str,
    /// What stands before the dot in `X-Amz-Target`: `SageMaker`. Empty where there is none.
    pub target_prefix: &'static str,
    /// The version of the API: `2017-07-24`.
    pub api_version: &'static str,
    /// The namespace of the query protocol's answers. Empty where there is none.
    pub xml_namespace: &'static str,
}

/// A type of the service model with its constraints.
#[derive(Debug)]
pub enum Shape {
    Structure(&'static [Member]),
    List {
        member: &'static Shape,
        min: Option<u64>,
        max: Option<u64>,
    },
    Map {
        key: &'static Shape,
        value: &'static Shape,
        min: Option<u64>,
        max: Option<u64>,
    },
    /// A string; `values` is not empty for an enumeration.
    String {
        min: Option<u64>,
        max: Option<u64>,
        pattern: Option<&'static str>,
        values: &'static [&'static str],
    },
    /// `integer` and `long`.
    Integer {
        min: Option<i64>,
        max: Option<i64>,
    },
    /// `float` and `double`.
    Float {
        min: Option<f64>,
        max: Option<f64>,
    },
    Boolean,
    /// Seconds since the epoch in JSON, ISO 8601 in XML.
    Timestamp,
    /// Base64 in JSON.
    Blob {
        min: Option<u64>,
        max: Option<u64>,
    },
}

/// A member of a structure.
#[derive(Debug)]
pub struct Member {
    /// The name on the wire: `EndpointName`.
    pub name: &'static str,
    pub required: bool,
    pub shape: &'static Shape,
}
