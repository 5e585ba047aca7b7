//! A mail, as SNS words it and as it goes over the wire.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sagebrush_core::Timestamp;

use super::super::record::Notice;

/// The length of a line of base64.
const LINE: usize = 76;
/// How many bytes of a subject one encoded word holds, so that its line is short enough.
const WORD: usize = 42;

/// One mail to one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Mail {
    /// Unique.
    pub(super) id: String,
    pub(super) to: String,
    pub(super) subject: String,
    pub(super) body: String,
    pub(super) at: Timestamp,
}

/// The mail that a notice makes. `json` is the notice in its envelope, for who wants that.
pub(in super::super) fn of_notice(
    notice: &Notice,
    at: Timestamp,
    (to, text): (&str, &str),
    json: Option<String>,
    unsubscribe_url: &str,
) -> Mail {
    let (subject, body) = match &notice.confirms {
        Some(confirms) => (
            "AWS Notification - Subscription Confirmation".to_owned(),
            format!(
                "You have chosen to subscribe to the topic:\n{}\n\nTo confirm this subscription, \
                 click or visit the link below (if this was in error no action is \
                 necessary):\n{}\n",
                notice.topic_arn, confirms.subscribe_url
            ),
        ),
        None => (
            notice.subject.clone().unwrap_or_else(|| "AWS Notification Message".to_owned()),
            format!(
                "{text}\n\n--\nIf you wish to stop receiving notifications from this topic, \
                 please click or visit the link below to unsubscribe:\n{unsubscribe_url}\n"
            ),
        ),
    };
    Mail {
        id: notice.message_id.clone(),
        to: to.to_owned(),
        subject,
        body: json.unwrap_or(body),
        at,
    }
}

impl Mail {
    /// Headers and body. No line begins with a dot.
    pub(super) fn wire(&self, from: &str) -> String {
        let date = jiff::Timestamp::from_millisecond(self.at.0).unwrap_or_default();
        let date = date.strftime("%a, %d %b %Y %H:%M:%S +0000");
        let domain = from.rsplit('@').next().unwrap_or("localhost");
        let mut wire = format!(
            "From: <{from}>\r\nTo: <{}>\r\nSubject: {}\r\nDate: {date}\r\nMessage-ID: \
             <{}@{domain}>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; \
             charset=utf-8\r\nContent-Transfer-Encoding: base64\r\nAuto-Submitted: \
             auto-generated\r\n\r\n",
            self.to,
            subject(&self.subject),
            self.id,
        );
        let body = STANDARD.encode(self.body.replace('\n', "\r\n"));
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(LINE));
            wire.push_str(line);
            wire.push_str("\r\n");
            rest = after;
        }
        wire
    }
}

/// Plain where it can be, encoded words (RFC 2047) else.
fn subject(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    if text.is_ascii() {
        return text;
    }
    let mut words = vec![String::new()];
    for c in text.chars() {
        match words.last_mut() {
            Some(word) if word.len() + c.len_utf8() <= WORD => word.push(c),
            Some(_) | None => words.push(c.into()),
        }
    }
    let encoded = words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
    encoded.collect::<Vec<_>>().join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_is_plain_lines() {
        let mail = Mail {
            id: "1".to_owned(),
            to: "a@b.test".to_owned(),
            subject: "ALARM: \"x\"\r\nBcc: c@d.test".to_owned(),
            body: format!(".\n{}", "ä".repeat(200)),
            at: Timestamp(0),
        };
        let wire = mail.wire("s@c.test");
        let (head, body) = wire.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Subject: ALARM: \"x\"Bcc: c@d.test\r\n"), "{head}");
        assert!(head.contains("Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n"), "{head}");
        assert!(head.contains("Message-ID: <1@c.test>\r\n"), "{head}");
        let lines = wire.strip_suffix("\r\n").unwrap().split("\r\n");
        assert!(lines.clone().all(|line| line.len() <= 78 && !line.starts_with('.')), "{wire}");
        let body = STANDARD.decode(body.replace("\r\n", "")).unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), format!(".\r\n{}", "ä".repeat(200)));
    }

    #[test]
    fn subjects_of_other_letters_are_encoded() {
        assert_eq!(subject("plain"), "plain");
        assert_eq!(subject("für"), "=?utf-8?B?ZsO8cg==?=");
        let long = subject(&"ü".repeat(100));
        assert!(long.split("\r\n").all(|line| line.len() <= 76 && line.contains("=?utf-8?B?")));
    }
}
