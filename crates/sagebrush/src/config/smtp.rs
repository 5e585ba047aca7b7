//! The mail server, from its settings.

use std::net::IpAddr;

use sagebrush_messaging::{SmtpSettings, SmtpTls};

use super::{ConfigError, Options};

/// Where mails are handed over, and where with TLS from the first byte on (RFC 8314).
const SUBMISSION: u16 = 587;
const SUBMISSIONS: u16 = 465;

/// `None` without `smtp-host`.
pub(super) fn settings(options: &Options) -> Result<Option<SmtpSettings>, ConfigError> {
    let Some(host) = options.smtp_host.clone().filter(|host| !host.is_empty()) else {
        return Ok(None);
    };
    let from = options.smtp_from.clone().unwrap_or_default();
    if !from.contains('@') || from.contains(|c: char| c.is_whitespace() || "<>".contains(c)) {
        let reason = "with smtp-host it is an address like alarms@example.com";
        return Err(ConfigError::Value { name: "smtp-from", value: from, reason });
    }
    let port = options.smtp_port.unwrap_or(SUBMISSION);
    let tls = match options.smtp_tls.as_deref() {
        Some("off") => SmtpTls::Off,
        None if is_loopback(&host) => SmtpTls::Off,
        None | Some("required") if port == SUBMISSIONS => SmtpTls::Implicit,
        None | Some("required") => SmtpTls::StartTls,
        Some(other) => {
            let reason = "it is required or off";
            return Err(ConfigError::Value { name: "smtp-tls", value: other.to_owned(), reason });
        }
    };
    let login = match (&options.smtp_user, &options.smtp_password) {
        (Some(user), Some(password)) => Some((user.clone(), password.clone())),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            let value = options.smtp_user.clone().unwrap_or_default();
            let reason = "smtp-user and smtp-password come together";
            return Err(ConfigError::Value { name: "smtp-user", value, reason });
        }
    };
    Ok(Some(SmtpSettings { host, port, login, from, tls }))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(host: &str, port: Option<u16>, tls: Option<&str>) -> Options {
        Options {
            smtp_host: Some(host.to_owned()),
            smtp_port: port,
            smtp_from: Some("a@b.test".to_owned()),
            smtp_tls: tls.map(str::to_owned),
            ..Options::default()
        }
    }

    fn check(host: &str, port: Option<u16>, tls: Option<&str>, expected: (u16, SmtpTls)) {
        let found = settings(&options(host, port, tls)).unwrap().unwrap();
        assert_eq!((found.port, found.tls), expected, "{host} {port:?} {tls:?}");
    }

    #[test]
    fn mails_go_by_tls_but_to_this_machine() {
        check("mail.test", None, None, (587, SmtpTls::StartTls));
        check("mail.test", Some(465), None, (465, SmtpTls::Implicit));
        check("mail.test", Some(25), Some("off"), (25, SmtpTls::Off));
        check("localhost", Some(25), None, (25, SmtpTls::Off));
        check("127.0.0.1", Some(465), Some("required"), (465, SmtpTls::Implicit));
        assert!(settings(&Options::default()).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let refuse = |options: Options, wanted: &str| {
            let error = settings(&options).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        };
        let base = || options("mail.test", None, None);
        refuse(Options { smtp_from: None, ..base() }, "smtp-from is ``");
        refuse(Options { smtp_from: Some("a@b\r\nX".to_owned()), ..base() }, "smtp-from");
        refuse(Options { smtp_tls: Some("yes".to_owned()), ..base() }, "required or off");
        refuse(Options { smtp_user: Some("u".to_owned()), ..base() }, "come together");
    }
}
