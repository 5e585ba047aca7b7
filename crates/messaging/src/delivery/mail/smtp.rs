//! Hands one mail to a server (RFC 5321).

use std::fmt::Display;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_rustls::ConfigBuilderExt as _;
use sagebrush_core::task;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, crypto};

use super::super::webhook::Undelivered;
use super::{Mail, SmtpSettings, SmtpTls};

/// How much of an answer is read.
const MAX_ANSWER: u64 = 64 << 10;

/// A socket, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

struct Session {
    stream: BufReader<Box<dyn Stream>>,
}

struct Answer {
    code: u16,
    lines: Vec<String>,
}

pub(super) async fn send(settings: &SmtpSettings, mail: &Mail) -> Result<(), Undelivered> {
    let mut session = open(settings).await?;
    if let Some((user, password)) = &settings.login {
        let plain = STANDARD.encode(format!("\0{user}\0{password}"));
        // Who may log in is the operator's to mend: it is tried again.
        let answer = session.ask(&format!("AUTH PLAIN {plain}")).await?;
        answer.expect(235, "the login").map_err(for_now)?;
    }
    let from = session.ask(&format!("MAIL FROM:<{}>", settings.from)).await?;
    from.expect(250, "the sender")?;
    let to = session.ask(&format!("RCPT TO:<{}>", mail.to)).await?;
    to.expect(250, "the address")?;
    session.ask("DATA").await?.expect(354, "DATA")?;
    let end = format!("{}.", mail.wire(&settings.from));
    session.ask(&end).await?.expect(250, "the mail")?;
    session.ask("QUIT").await.ok(); // It has the mail.
    Ok(())
}

async fn open(settings: &SmtpSettings) -> Result<Session, Undelivered> {
    let tcp = TcpStream::connect((settings.host.as_str(), settings.port)).await.map_err(failed)?;
    let stream: Box<dyn Stream> = match settings.tls {
        SmtpTls::Implicit => secure(settings, Box::new(tcp)).await?,
        SmtpTls::StartTls | SmtpTls::Off => Box::new(tcp),
    };
    let mut session = Session { stream: BufReader::new(stream) };
    session.answer().await?.expect(220, "the connection")?;
    session.greet().await?;
    if settings.tls != SmtpTls::StartTls {
        return Ok(session);
    }
    session.ask("STARTTLS").await?.expect(220, "STARTTLS").map_err(for_now)?;
    if !session.stream.buffer().is_empty() {
        // What came before the handshake might have come from anybody.
        return Err(failed("it said more than it should before TLS"));
    }
    let stream = secure(settings, session.stream.into_inner()).await?;
    let mut session = Session { stream: BufReader::new(stream) };
    session.greet().await?;
    Ok(session)
}

async fn secure(
    settings: &SmtpSettings,
    stream: Box<dyn Stream>,
) -> Result<Box<dyn Stream>, Undelivered> {
    let config = task::blocking(trusting).await.map_err(failed)??;
    let name = ServerName::try_from(settings.host.clone()).map_err(failed)?;
    let secured = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    Ok(Box::new(secured.map_err(failed)?))
}

/// The authorities that the system trusts, read from its disk.
fn trusting() -> Result<ClientConfig, Undelivered> {
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().map_err(failed)?;
    Ok(config.with_native_roots().map_err(failed)?.with_no_client_auth())
}

impl Session {
    async fn greet(&mut self) -> Result<(), Undelivered> {
        self.ask("EHLO sagebrush").await?.expect(250, "EHLO").map(drop)
    }

    async fn ask(&mut self, line: &str) -> Result<Answer, Undelivered> {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await.map_err(failed)?;
        self.stream.flush().await.map_err(failed)?;
        self.answer().await
    }

    /// One answer of one or several lines: `250-` goes on, `250 ` ends.
    async fn answer(&mut self) -> Result<Answer, Undelivered> {
        let mut lines = Vec::new();
        let mut limited = (&mut self.stream).take(MAX_ANSWER);
        loop {
            let mut line = String::new();
            let n_read = limited.read_line(&mut line).await.map_err(failed)?;
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let (true, Some(code)) = (n_read > 0, code) else {
                return Err(failed("it ended the connection, or does not speak SMTP"));
            };
            let goes_on = line.as_bytes().get(3) == Some(&b'-');
            lines.push(line.get(4..).unwrap_or_default().trim_end().to_owned());
            if !goes_on {
                return Ok(Answer { code, lines });
            }
        }
    }
}

impl Answer {
    /// An answer of 5xx will not change.
    fn expect(self, code: u16, what: &str) -> Result<Self, Undelivered> {
        if self.code == code || (code == 250 && self.code == 251) {
            return Ok(self);
        }
        let said = self.lines.join(" ");
        let text = format!("the mail server refused {what}: {} {said}", self.code);
        let is_final = (500..600).contains(&self.code);
        Err(if is_final { Undelivered::ForGood(text) } else { Undelivered::ForNow(text) })
    }
}

fn failed(reason: impl Display) -> Undelivered {
    Undelivered::ForNow(format!("the mail server cannot be used: {reason}"))
}

fn for_now(error: Undelivered) -> Undelivered {
    match error {
        Undelivered::ForNow(text) | Undelivered::ForGood(text) => Undelivered::ForNow(text),
    }
}
