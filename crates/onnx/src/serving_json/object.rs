//! A JSON object being read key by key, so that every complaint can say where.

use std::fmt::Display;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::ConfigError;

/// The members of an object, and which of them were asked for.
pub(super) struct Object<'v> {
    path: String, // Empty for the root, else with a dot at its end.
    members: &'v Map<String, Value>,
    known: Vec<&'static str>,
}

impl<'v> Object<'v> {
    pub(super) fn root(value: &'v Value) -> Result<Self, ConfigError> {
        Self::at(String::new(), value).ok_or_else(|| ConfigError::Invalid {
            path: "$".to_owned(),
            why: "must be an object".to_owned(),
        })
    }

    fn at(path: String, value: &'v Value) -> Option<Self> {
        Some(Self { path, members: value.as_object()?, known: Vec::new() })
    }

    pub(super) fn optional<T: Deserialize<'v>>(
        &mut self,
        key: &'static str,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.member(key) else {
            return Ok(None);
        };
        match T::deserialize(value) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(self.invalid(key, &format!("is wrong: {error}"))),
        }
    }

    pub(super) fn required<T: Deserialize<'v>>(
        &mut self,
        key: &'static str,
    ) -> Result<T, ConfigError> {
        self.optional(key)?.ok_or_else(|| self.missing(key))
    }

    /// As [`Self::optional`], for a number from `least` to `most`.
    pub(super) fn optional_in<T: Deserialize<'v> + PartialOrd + Copy + Display>(
        &mut self,
        key: &'static str,
        least: T,
        most: T,
    ) -> Result<Option<T>, ConfigError> {
        let value = self.optional(key)?;
        if let Some(value) = &value
            && !(least..=most).contains(value)
        {
            return Err(self.invalid(key, &format!("must be from {least} to {most}, not {value}")));
        }
        Ok(value)
    }

    pub(super) fn required_in<T: Deserialize<'v> + PartialOrd + Copy + Display>(
        &mut self,
        key: &'static str,
        least: T,
        most: T,
    ) -> Result<T, ConfigError> {
        self.optional_in(key, least, most)?.ok_or_else(|| self.missing(key))
    }

    pub(super) fn object(&mut self, key: &'static str) -> Result<Option<Self>, ConfigError> {
        let Some(value) = self.member(key) else {
            return Ok(None);
        };
        let object = Self::at(format!("{}{key}.", self.path), value);
        object.ok_or_else(|| self.invalid(key, "must be an object")).map(Some)
    }

    fn member(&mut self, key: &'static str) -> Option<&'v Value> {
        self.known.push(key);
        self.members.get(key)
    }

    /// Refuses the keys that nobody asked for.
    pub(super) fn finish(&self) -> Result<(), ConfigError> {
        match self.members.keys().find(|key| !self.known.contains(&key.as_str())) {
            Some(key) => Err(ConfigError::UnknownKey {
                path: format!("{}{key}", self.path),
                known: self.known.clone(),
            }),
            None => Ok(()),
        }
    }

    pub(super) fn missing(&self, key: &str) -> ConfigError {
        ConfigError::Missing { path: format!("{}{key}", self.path) }
    }

    pub(super) fn invalid(&self, key: &str, why: &str) -> ConfigError {
        ConfigError::Invalid { path: format!("{}{key}", self.path), why: why.to_owned() }
    }
}
