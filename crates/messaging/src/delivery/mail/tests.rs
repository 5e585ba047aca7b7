use sagebrush_core::{Timestamp, task};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::webhook::Undelivered;
use super::{Mail, Mailer, SmtpSettings, SmtpTls, is_address};

/// A server for one mail; `refuses` answers a command of that beginning with a code. Ends with all
/// that it was told.
async fn server(refuses: &'static str, code: u16) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let (mut told, mut is_data) = (String::new(), false);
        stream.write_all(b"220 here\r\n").await.unwrap();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap() == 0 {
                return told;
            }
            told.push_str(&line);
            let line = line.trim_end();
            let answer = match line {
                "." => "250 taken".to_owned(),
                _ if is_data => continue,
                _ if !refuses.is_empty() && line.starts_with(refuses) => format!("{code} no"),
                "DATA" => "354 go on".to_owned(),
                "QUIT" => "221 bye".to_owned(),
                _ if line.starts_with("EHLO") => "250-here\r\n250 AUTH PLAIN".to_owned(),
                _ if line.starts_with("AUTH") => "235 welcome".to_owned(),
                _ => "250 ok".to_owned(),
            };
            is_data = answer.starts_with("354");
            stream.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
        }
    };
    (port, task::spawn("smtp", serve))
}

async fn send(port: u16, tls: SmtpTls) -> Result<(), Undelivered> {
    let settings = SmtpSettings {
        host: "127.0.0.1".to_owned(),
        port,
        login: Some(("user".to_owned(), "secret".to_owned())),
        from: "from@here.test".to_owned(),
        tls,
    };
    let mail = Mail {
        id: "id".to_owned(),
        to: "to@there.test".to_owned(),
        subject: "ALARM".to_owned(),
        body: "text".to_owned(),
        at: Timestamp(0),
    };
    Mailer::new(settings).send(&mail).await
}

#[tokio::test]
async fn a_mail_is_handed_over() {
    let (port, told) = server("", 0).await;
    send(port, SmtpTls::Off).await.unwrap();
    let told = told.await.unwrap();
    let (commands, rest) = told.split_once("DATA\r\n").unwrap();
    let expected = "EHLO sagebrush\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\nMAIL \
                    FROM:<from@here.test>\r\nRCPT TO:<to@there.test>\r\n";
    assert_eq!(commands, expected);
    assert!(rest.contains("Subject: ALARM\r\n") && rest.ends_with("dGV4dA==\r\n.\r\nQUIT\r\n"));
}

async fn check_refused(command: &'static str, code: u16, is_final: bool) {
    let (port, _told) = server(command, code).await;
    let error = send(port, SmtpTls::Off).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("{code} no")), "{text}");
    assert_eq!(matches!(error, Undelivered::ForGood(_)), is_final, "{command} {code}");
}

#[tokio::test]
async fn only_what_may_pass_is_tried_again() {
    check_refused("RCPT", 550, true).await;
    check_refused("RCPT", 450, false).await;
    check_refused("DATA", 554, true).await;
    check_refused("AUTH", 535, false).await;
}

#[tokio::test]
async fn nothing_is_sent_without_the_tls_that_is_wanted() {
    let (port, told) = server("STARTTLS", 502).await;
    let error = send(port, SmtpTls::StartTls).await.unwrap_err();
    assert!(matches!(error, Undelivered::ForNow(_)), "{error}");
    assert_eq!(told.await.unwrap(), "EHLO sagebrush\r\nSTARTTLS\r\n");
}

#[tokio::test]
async fn nobody_there_may_pass() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert!(matches!(send(port, SmtpTls::Off).await, Err(Undelivered::ForNow(_))));
}

#[test]
fn addresses() {
    for good in ["a@b", "first.last+tag@sub.example.test"] {
        assert!(is_address(good), "{good}");
    }
    for bad in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\r\nRCPT", "<a@b>", "ä@b", "a@b,c@d"] {
        assert!(!is_address(bad), "{bad}");
    }
}
