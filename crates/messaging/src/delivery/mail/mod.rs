//! Messages by e-mail.
//!
//! [`text`] says what a mail looks like; [`smtp`] hands it over.

mod smtp;
#[cfg(test)]
mod tests;
mod text;

use std::time::Duration;

use tokio::time::timeout;

use super::webhook::Undelivered;

pub(super) use text::{Mail, of_notice};

/// How long a server may take for one mail.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The server that takes mails.
#[derive(Debug, Clone)]
pub struct SmtpSettings {
    pub host: String,
    pub port: u16,
    /// A name and a password.
    pub login: Option<(String, String)>,
    /// The address that mails come from.
    pub from: String,
    pub tls: SmtpTls,
}

/// How the connection to the server is kept secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// From the first byte on.
    Implicit,
    /// After `STARTTLS`, without which nothing is sent.
    StartTls,
    Off,
}

/// Sends mails, each over a connection of its own.
pub(super) struct Mailer(SmtpSettings);

impl Mailer {
    pub(super) fn new(settings: SmtpSettings) -> Self {
        Self(settings)
    }

    pub(super) async fn send(&self, mail: &Mail) -> Result<(), Undelivered> {
        let late = |_| Undelivered::ForNow("the mail server did not answer in time".to_owned());
        timeout(TIMEOUT, smtp::send(&self.0, mail)).await.map_err(late)?
    }
}

/// Whether a text is an address that mails can be sent to.
pub(crate) fn is_address(text: &str) -> bool {
    let is_plain =
        |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"' | '(' | ')' | ',');
    let (name, domain) = text.split_once('@').unwrap_or_default();
    let is_whole = !name.is_empty() && !domain.is_empty() && !domain.contains('@');
    is_whole && text.len() <= 320 && text.chars().all(is_plain)
}
