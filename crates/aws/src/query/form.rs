//! `application/x-www-form-urlencoded`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A request of STS or IAM has a dozen fields, one with a thousand metrics tens of thousands.
const MAX_FIELDS: usize = 50_000;

/// The fields of a form, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form(pub Vec<(String, String)>);

/// A form with more fields than anybody needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_FIELDS} fields")]
pub struct TooManyFields;

impl Form {
    /// Reads a form. Bytes that are not UTF-8 become U+FFFD.
    pub fn parse(text: &[u8]) -> Result<Self, TooManyFields> {
        let text = String::from_utf8_lossy(text);
        let mut fields = Vec::new();
        for field in text.split('&').filter(|field| !field.is_empty()) {
            if fields.len() == MAX_FIELDS {
                return Err(TooManyFields);
            }
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            fields.push((decode(name), decode(value)));
        }
        Ok(Self(fields))
    }

    /// The first field of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

pub(crate) fn decode(text: &str) -> String {
    let spaced =
        if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}
