//! Metric math, for those who look at expressions: alarms and scaling policies.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Datapoint, MetricId};
use crate::{Region, Timestamp};

/// Computes expressions over metrics.
pub trait MetricMath: Send + Sync + 'static {
    /// Whether `queries` can be computed.
    ///
    /// # Errors
    /// Why not, for who put them.
    fn check(&self, queries: &[DataQuery]) -> Result<(), String>;

    /// The data that `queries` return, a point for each period that has some, oldest first.
    fn read(
        &self,
        region: &Region,
        queries: &[DataQuery],
        span: Range<Timestamp>,
    ) -> Vec<Datapoint>;
}

/// One of several queries: a statistic, or an expression over the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataQuery {
    pub id: String,
    pub label: Option<String>,
    /// `None`: yes.
    pub returns_data: Option<bool>,
    pub asks: Asked,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asked {
    Stat(Series),
    Expression { text: String, period: Option<u32> },
}

/// One statistic of one metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    pub namespace: String,
    pub name: String,
    pub dimensions: Vec<(String, String)>,
    pub unit: Option<String>,
    /// In seconds.
    pub period: u32,
    /// `Average`, `p99`.
    pub statistic: String,
}

impl DataQuery {
    /// `None` of an expression.
    #[must_use]
    pub fn series(&self) -> Option<&Series> {
        match &self.asks {
            Asked::Stat(series) => Some(series),
            Asked::Expression { .. } => None,
        }
    }

    #[must_use]
    pub fn is_returned(&self) -> bool {
        self.returns_data != Some(false)
    }
}

impl Series {
    #[must_use]
    pub fn metric(&self) -> MetricId {
        let dimensions = self.dimensions.iter();
        let dimensions =
            dimensions.map(|(name, value)| (name.as_str().into(), Arc::from(&**value)));
        MetricId::new(&*self.namespace, &*self.name, dimensions)
    }
}
