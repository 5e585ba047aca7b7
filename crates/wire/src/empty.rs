//! What an operation without an output answers.

use serde::{Deserialize, Serialize};

use crate::Shape;

/// A structure without members, `{}` on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Empty {}

impl Empty {
    pub(crate) const SHAPE: Shape = Shape::Structure(&[]);
}
