//! What a request says of its signature, in the `Authorization` header or in its query.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, DATE, HeaderName};
use http::request::Parts;

use super::error::AuthError;
use super::{ALGORITHM, time};
use crate::query::Form;

// Names that are made once are not parsed with each request.
static AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
static SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// What a client claims; nothing of it is checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim<'a> {
    /// `AKIDEXAMPLE/20150830/us-east-1/sts/aws4_request`.
    pub(super) credential: Cow<'a, str>,
    pub(super) signed_headers: Cow<'a, str>,
    pub(super) signature: Cow<'a, str>,
    /// `20150830T123600Z`.
    pub(super) signed_at: Cow<'a, str>,
    pub(super) token: Option<Cow<'a, str>>,
    /// How many seconds a presigned request is good for; `None` if the signature is in a header.
    pub(super) expires_after: Option<u32>,
}

/// The parts of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope<'a> {
    pub(crate) access_key: &'a str,
    pub(crate) date: &'a str,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    pub(crate) terminator: &'a str,
}

impl<'a> Scope<'a> {
    pub(crate) fn parse(credential: &'a str) -> Option<Self> {
        let mut parts = credential.rsplitn(5, '/');
        let terminator = parts.next()?;
        let service = parts.next()?;
        let region = parts.next()?;
        let date = parts.next()?;
        let access_key = parts.next()?;
        Some(Self { access_key, date, region, service, terminator })
    }
}

impl<'a> Claim<'a> {
    pub(super) fn of(parts: &'a Parts) -> Result<Self, AuthError> {
        if let Some(header) = parts.headers.get(AUTHORIZATION) {
            let header = header.to_str().map_err(|_| incomplete("is not ASCII"))?;
            return Self::of_header(header, parts);
        }
        match parts.uri.query() {
            Some(query) if query.contains("X-Amz-Signature=") => Self::of_query(query),
            Some(_) | None => Err(AuthError::Missing),
        }
    }

    fn of_header(header: &'a str, parts: &'a Parts) -> Result<Self, AuthError> {
        let fields = fields(header)?;
        Ok(Self {
            credential: fields.credential.into(),
            signed_headers: fields.signed_headers.into(),
            signature: fields.signature.into(),
            signed_at: signed_at(parts)?,
            token: only(parts, &SECURITY_TOKEN)?.map(Cow::Borrowed),
            expires_after: None,
        })
    }

    fn of_query(query: &str) -> Result<Self, AuthError> {
        let form = Form::parse(query.as_bytes())
            .map_err(|error| AuthError::Incomplete(error.to_string()))?;
        let mut fields = Parameters { form };
        if fields.take("X-Amz-Algorithm")? != ALGORITHM {
            let message = format!("Unsupported X-Amz-Algorithm, expected '{ALGORITHM}'");
            return Err(AuthError::Incomplete(message));
        }
        let expires_after = fields.take("X-Amz-Expires")?.parse().map_err(|_| {
            AuthError::Incomplete("X-Amz-Expires should be a number of seconds".to_owned())
        })?;
        Ok(Self {
            credential: fields.take("X-Amz-Credential")?.into(),
            signed_headers: fields.take("X-Amz-SignedHeaders")?.into(),
            signature: fields.take("X-Amz-Signature")?.into(),
            signed_at: fields.take("X-Amz-Date")?.into(),
            token: fields.find("X-Amz-Security-Token")?.map(Cow::Owned),
            expires_after: Some(expires_after),
        })
    }

    /// The scope of the credential. It is not checked here.
    pub(super) fn scope(&self) -> Result<Scope<'_>, AuthError> {
        Scope::parse(&self.credential).ok_or_else(|| {
            let credential = &self.credential;
            AuthError::Incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. \
                 keyid/date/region/service/term, got '{credential}'"
            ))
        })
    }

    /// What is signed of the credential: all behind the access key.
    pub(super) fn scope_text(&self, scope: &Scope<'_>) -> &str {
        self.credential.get(scope.access_key.len() + 1..).unwrap_or_default()
    }
}

/// The fields of an `Authorization` header.
pub(crate) struct Fields<'a> {
    pub(crate) credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

/// Reads `AWS4-HMAC-SHA256 Credential=.., SignedHeaders=.., Signature=..`.
pub(crate) fn fields(header: &str) -> Result<Fields<'_>, AuthError> {
    let listed = header.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with([' ', '\t']));
    let Some(listed) = listed else {
        return Err(incomplete(&format!("requires the algorithm '{ALGORITHM}'")));
    };
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for field in listed.split(',') {
        let Some((name, value)) = field.trim().split_once('=') else {
            return Err(incomplete("holds a key without an equal-sign"));
        };
        let place = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut signed_headers,
            "Signature" => &mut signature,
            _ => continue,
        };
        if place.replace(value).is_some() {
            return Err(incomplete(&format!("holds '{name}' twice")));
        }
    }
    match (credential, signed_headers, signature) {
        (Some(credential), Some(signed_headers), Some(signature)) => {
            Ok(Fields { credential, signed_headers, signature })
        }
        _ => Err(missing(&[
            (credential, "Credential"),
            (signature, "Signature"),
            (signed_headers, "SignedHeaders"),
        ])),
    }
}

fn missing(fields: &[(Option<&str>, &str)]) -> AuthError {
    let missing = fields.iter().filter(|(field, _)| field.is_none());
    let words: Vec<String> = missing
        .map(|(_, name)| format!("Authorization header requires '{name}' parameter."))
        .collect();
    AuthError::Incomplete(words.join(" "))
}

fn signed_at(parts: &Parts) -> Result<Cow<'_, str>, AuthError> {
    if let Some(at) = only(parts, &AMZ_DATE)? {
        return Ok(Cow::Borrowed(at));
    }
    let date = parts.headers.get(DATE).and_then(|date| date.to_str().ok());
    match date {
        Some(date) if time::parse(date).is_some() => Ok(Cow::Borrowed(date)),
        Some(date) => time::from_http_date(date).map(Cow::Owned).ok_or_else(no_date),
        None => Err(no_date()),
    }
}

fn no_date() -> AuthError {
    incomplete("requires existence of either a 'X-Amz-Date' or a 'Date' header.")
}

/// The one value of a header; a second one would leave open which is meant.
fn only<'a>(parts: &'a Parts, name: &HeaderName) -> Result<Option<&'a str>, AuthError> {
    let mut values = parts.headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let value = value.to_str().map_err(|_| incomplete(&format!("'{name}' is not ASCII")))?;
    match values.next() {
        Some(_) => Err(AuthError::Incomplete(format!("The header '{name}' stands twice"))),
        None => Ok(Some(value)),
    }
}

fn incomplete(what: &str) -> AuthError {
    AuthError::Incomplete(format!("Authorization header {what}"))
}

/// The parameters of a presigned request.
struct Parameters {
    form: Form,
}

impl Parameters {
    fn find(&mut self, name: &str) -> Result<Option<String>, AuthError> {
        let mut found = self.form.0.iter_mut().filter(|(field, _)| field == name);
        let value = found.next().map(|(_, value)| std::mem::take(value));
        match found.next() {
            Some(_) => Err(AuthError::Incomplete(format!("The parameter '{name}' stands twice"))),
            None => Ok(value),
        }
    }

    fn take(&mut self, name: &str) -> Result<String, AuthError> {
        let missing = || AuthError::Incomplete(format!("The parameter '{name}' is missing"));
        self.find(name)?.ok_or_else(missing)
    }
}
