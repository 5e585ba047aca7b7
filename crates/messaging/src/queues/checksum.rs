//! The MD5 sums by which clients check that their message arrived whole.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use crate::attribute::{Attributes, Value};

pub(super) fn of_body(body: &str) -> String {
    hex::encode(Md5::digest(body))
}

/// `None` where there are no attributes.
///
/// By name: the name, the type and the value, each behind its length; before the value, one byte
/// that says whether it is text.
pub(super) fn of_attributes(attributes: &Attributes) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut sum = Md5::new();
    let put = |sum: &mut Md5, bytes: &[u8]| {
        sum.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        sum.update(bytes);
    };
    for (name, attribute) in attributes {
        put(&mut sum, name.as_bytes());
        put(&mut sum, attribute.data_type.as_bytes());
        match &attribute.value {
            Value::Text(text) => {
                sum.update([1]);
                put(&mut sum, text.as_bytes());
            }
            Value::Binary(base64) => {
                sum.update([2]);
                put(&mut sum, &STANDARD.decode(base64).unwrap_or_default());
            }
        }
    }
    Some(hex::encode(sum.finalize()))
}
