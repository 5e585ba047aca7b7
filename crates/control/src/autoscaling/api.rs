//! The operations of Application Auto Scaling.

pub(crate) mod activities;
pub(crate) mod actions;
mod configuration;
pub(crate) mod policies;
mod refusal;
pub(crate) mod tags;
pub(crate) mod targets;

use sagebrush_aws::{ApiError, Context, page_token};
use sagebrush_core::Region;
use sagebrush_core::resource::Stored;
use sagebrush_core::store::{Cursor, Query};
use sagebrush_wire::application_autoscaling as wire;

use self::refusal::Refusal;
use super::ScalableTarget;
use super::dimension::Dimension;
use super::target_id::{self, TargetId, key};
use crate::Control;

/// How often a write is tried again when others write the same target.
const MAX_ATTEMPTS: usize = 8;

/// AWS: `MaxResults` is 1 to 50.
const PAGE: usize = 50;

/// What a request names. Only variants are scaled here.
fn resource(
    namespace: wire::ServiceNamespace,
    id: &str,
    dimension: wire::ScalableDimension,
) -> Result<TargetId, Refusal> {
    check_namespace(namespace)?;
    TargetId::new(id, read_dimension(dimension)?).map_err(Refusal::invalid)
}

fn check_namespace(namespace: wire::ServiceNamespace) -> Result<(), Refusal> {
    if namespace == wire::ServiceNamespace::Sagemaker {
        return Ok(());
    }
    Err(Refusal::Invalid(format!(
        "The service namespace {namespace} is not served here; sagemaker is."
    )))
}

fn read_dimension(dimension: wire::ScalableDimension) -> Result<Dimension, Refusal> {
    let all = [Dimension::InstanceCount, Dimension::ProvisionedConcurrency];
    all.into_iter().find(|served| dimension_to_wire(*served) == dimension).ok_or_else(|| {
        let [count, concurrency] = all.map(Dimension::word);
        Refusal::Invalid(format!(
            "The scalable dimension {dimension} is not served here; {count} and {concurrency} are."
        ))
    })
}

fn dimension_to_wire(dimension: Dimension) -> wire::ScalableDimension {
    match dimension {
        Dimension::InstanceCount => wire::ScalableDimension::SagemakerVariantDesiredInstanceCount,
        Dimension::ProvisionedConcurrency => {
            wire::ScalableDimension::SagemakerVariantDesiredProvisionedConcurrency
        }
    }
}

/// The resource id and the dimension of the target of that name.
fn described_target(name: &str) -> (String, wire::ScalableDimension) {
    let (resource, dimension) = target_id::parts(name);
    (resource.to_owned(), dimension_to_wire(dimension))
}

/// The target, or AWS's words for one that is not there.
async fn find_target(
    control: &Control,
    ctx: &Context,
    id: &TargetId,
) -> Result<Stored<ScalableTarget>, Refusal> {
    let found = control.autoscaling.targets.get(&ctx.region, &id.to_string()).await?;
    found.ok_or_else(|| missing("scalable target", id, ""))
}

fn missing(what: &str, id: &TargetId, more: &str) -> Refusal {
    let (resource, dimension) = (id.resource(), id.dimension.word());
    Refusal::NotFound(format!(
        "No {what} found for service namespace: sagemaker, resource ID: {resource}, scalable \
         dimension: {dimension}{more}"
    ))
}

/// All records of a region.
fn of_region(ctx: &Context) -> Query {
    Query { region: Some(ctx.region.clone()), ..Query::default() }
}

/// Which of several targets, policies or actions are asked for.
struct Wanted<'a> {
    namespace: wire::ServiceNamespace,
    resource_ids: Option<&'a [String]>,
    dimension: Option<wire::ScalableDimension>,
    names: Option<&'a [String]>,
    max_results: Option<i32>,
    next_token: Option<&'a str>,
}

impl Wanted<'_> {
    fn check(&self) -> Result<(), Refusal> {
        check_namespace(self.namespace)?;
        if self.dimension.is_some() && self.resource_ids.is_none() {
            let words = "ResourceId must be specified with ScalableDimension.";
            return Err(Refusal::Invalid(words.to_owned()));
        }
        if self.max_results.is_some_and(|max| !(1..=50).contains(&max)) {
            return Err(Refusal::Invalid("MaxResults must be between 1 and 50.".to_owned()));
        }
        self.dimension.map_or(Ok(()), |dimension| read_dimension(dimension).map(|_| ()))
    }

    fn has(&self, target: &str, name: &str) -> bool {
        let (resource, dimension) = target_id::parts(target);
        let is_asked = |ids: &[String]| ids.iter().any(|id| key(id) == key(resource));
        self.resource_ids.is_none_or(is_asked)
            && self.dimension.is_none_or(|asked| asked == dimension_to_wire(dimension))
            && self.names.is_none_or(|names| names.iter().any(|asked| asked == name))
    }

    /// One page of `all` in the order of their keys, and the token of the next.
    fn page<T>(
        &self,
        (kind, region): (&str, &Region),
        mut all: Vec<T>,
        order: Order,
        key: impl Fn(&T) -> &str,
    ) -> Result<(Vec<T>, Option<String>), Refusal> {
        all.sort_by(|a, b| order.of(key(a), key(b)));
        // The token holds for these filters only.
        let filters = format!("{:?} {:?} {:?}", self.resource_ids, self.dimension, self.names);
        let region = region.clone();
        let query = Query {
            region: Some(region.clone()),
            name_contains: Some(filters),
            ..Query::default()
        };
        if let Some(token) = self.next_token {
            let after =
                page_token::decode(kind, &query, token).map_err(|_| Refusal::InvalidToken)?;
            all.retain(|item| order.of(key(item), &after.key).is_gt());
        }
        let asked = self.max_results.and_then(|max| usize::try_from(max).ok());
        let size = asked.unwrap_or(PAGE);
        let has_more = all.len() > size;
        all.truncate(size);
        let last = all.last().filter(|_| has_more);
        let next = last.map(|last| {
            let cursor = Cursor { value: String::new(), region, key: key(last).to_owned() };
            page_token::encode(kind, &query, &cursor)
        });
        Ok((all, next))
    }
}

#[derive(Clone, Copy)]
enum Order {
    Ascending,
    Descending,
}

impl Order {
    fn of(self, a: &str, b: &str) -> std::cmp::Ordering {
        match self {
            Self::Ascending => a.cmp(b),
            Self::Descending => b.cmp(a),
        }
    }
}

/// A number that is not negative.
fn count(member: &str, value: Option<i32>) -> Result<Option<u32>, Refusal> {
    let read = |value: i32| {
        u32::try_from(value)
            .map_err(|_| Refusal::Invalid(format!("{member} must not be negative.")))
    };
    value.map(read).transpose()
}

/// A number on the wire.
fn to_wire(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn done<T>(outcome: Result<T, Refusal>) -> Result<T, ApiError> {
    outcome.map_err(ApiError::from)
}
