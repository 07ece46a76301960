//! E-mail, by SMTP.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use serde::{Deserialize, Serialize};
use spectra_types::{Redactor, SafeUrl, Secret, error_chain};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::message::Message;
use crate::retry::{Attempt, Delivery, Options, deliver, new_id};
use crate::template::{self, Markup, Template};
use crate::text::{cut, one_line};

/// Of a subject, well inside what a header may have.
const SUBJECT: usize = 200;
/// Of the server's words.
const SHOWN: usize = 300;

/// How the connection to the mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// Begun in the clear and encrypted before anything is said; a server without STARTTLS gets nothing. Port 587.
    #[default]
    StartTls,
    /// From the first byte. Port 465.
    Implicit,
    /// Not at all: for a server on this machine alone. Port 25.
    None,
}

impl MailTls {
    const fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Implicit => 465,
            Self::None => 25,
        }
    }

    const fn scheme(self) -> &'static str {
        match self {
            Self::StartTls | Self::None => "smtp",
            Self::Implicit => "smtps",
        }
    }
}

/// A mail server, and who writes to whom.
#[derive(Clone, Debug)]
pub(crate) struct MailSettings {
    /// The server's name or address.
    pub(crate) host: String,
    /// Its port; without one, what is usual for `tls`.
    pub(crate) port: Option<u16>,
    /// How the connection is protected.
    pub(crate) tls: MailTls,
    /// The sender: `ops@example.com`, or `Spectra <ops@example.com>`.
    pub(crate) from: String,
    /// The recipients, at least one.
    pub(crate) to: Vec<String>,
    /// User name and password. The name is no secret: it is often a word, or the sender's own address.
    pub(crate) login: Option<(String, Secret<String>)>,
    /// Certificates in PEM that are trusted beside the system's own.
    pub(crate) authorities: Option<Vec<u8>>,
}

/// Recipients, and the server that takes mail for them.
pub(crate) struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    endpoint: String,
    from: Mailbox,
    to: Vec<Mailbox>,
    options: Options,
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Email").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// What cannot be, without asking anybody.
pub(crate) fn check(host: &str, tls: MailTls, from: &str, to: &[String]) -> Result<(), String> {
    let Some(url) = url(host) else { return Err("`host` is no host's name or address".to_owned()) };
    if tls == MailTls::None && !url.is_loopback() {
        return Err("`tls` is `none`, which is for a server on this machine alone".to_owned());
    }
    mailbox(from).map_err(|problem| format!("`from` {problem}"))?;
    if to.is_empty() {
        return Err("`to` names nobody".to_owned());
    }
    for recipient in to {
        mailbox(recipient).map_err(|problem| format!("`to` {problem}"))?;
    }
    Ok(())
}

/// As a URL, which knows what this machine is. The scheme is one whose hosts are parsed.
fn url(host: &str) -> Option<SafeUrl> {
    let host = match host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    };
    let url: SafeUrl = format!("https://{host}").parse().ok()?;
    // Nothing else was hidden in it, such as a port or a path.
    let same = url.expose().host_str().is_some_and(|found| found.eq_ignore_ascii_case(&host));
    same.then_some(url)
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|error| format!("has `{text}`, which is no address: {error}"))
}

impl Email {
    /// The recipients, by this server. Nothing is sent yet.
    pub(crate) fn new(settings: MailSettings, options: Options) -> Result<Self, Error> {
        let MailSettings { host, port, tls, from, to, login, authorities } = settings;
        let port = port.unwrap_or_else(|| tls.port());
        let endpoint = match host.parse() {
            Ok(IpAddr::V6(address)) => format!("{}://[{address}]:{port}", tls.scheme()),
            _ => format!("{}://{host}:{port}", tls.scheme()),
        };
        let wrong = |why: String| Error::Mail { endpoint: endpoint.clone(), why };
        check(&host, tls, &from, &to).map_err(wrong)?;
        let client =
            |source: smtp::Error| Error::Client { endpoint: endpoint.clone(), source: Box::new(source) };
        let protection = || {
            let mut builder = TlsParameters::builder(host.clone());
            if let Some(pem) = &authorities {
                builder = builder.add_root_certificate(Certificate::from_pem(pem).map_err(client)?);
            }
            builder.build_rustls().map_err(client)
        };
        let tls = match tls {
            MailTls::StartTls => Tls::Required(protection()?),
            MailTls::Implicit => Tls::Wrapper(protection()?),
            MailTls::None => Tls::None,
        };
        // "Dangerous" is its default of no TLS, which is replaced.
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host)
            .port(port)
            .tls(tls)
            .timeout(Some(options.timeout));
        if let Some((user, password)) = login {
            builder = builder.credentials(Credentials::new(user, password.expose().clone()));
        }
        let from = mailbox(&from).map_err(wrong)?;
        let to = to.iter().map(|text| mailbox(text)).collect::<Result<_, _>>().map_err(wrong)?;
        Ok(Self { transport: builder.build(), endpoint, from, to, options })
    }

    /// Scheme, host and port.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(crate) async fn send(
        &self,
        message: &Message,
        template: &Template,
        cancel: &CancellationToken,
        told: impl FnMut(&str),
    ) -> Result<Delivery, Error> {
        let id = new_id();
        let mail = self.mail(message, template, &id)?;
        let attempt = || self.attempt(&mail);
        deliver(&self.endpoint, id.clone(), &self.options, cancel, told, attempt).await
    }

    fn mail(&self, message: &Message, template: &Template, id: &str) -> Result<lettre::Message, Error> {
        let (title, plain) = template.render(message, Markup::Plain);
        let (_, html) = template.render(message, Markup::Html);
        let plain = plain.unwrap_or_else(|| paragraphs(message, Markup::Plain));
        let html = html.unwrap_or_else(|| paragraphs(message, Markup::Html));
        let html = format!(
            "<!doctype html>\n<html><head><meta charset=\"utf-8\"></head><body>\n<h2>{}</h2>\n<p>{html}</p>\n</body></html>\n",
            Markup::Html.escape(&title)
        );
        // A mail's date cannot lie before 1970.
        let seconds = u64::try_from(message.time.as_second()).unwrap_or_default();
        let mut builder = lettre::Message::builder()
            .from(self.from.clone())
            .subject(cut(&title, SUBJECT))
            .date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
            // The same when it is sent again: mail readers show it once.
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            // Nobody's holiday assistant answers.
            .header(AutoSubmitted("auto-generated".to_owned()));
        for recipient in &self.to {
            builder = builder.to(recipient.clone());
        }
        builder
            .multipart(MultiPart::alternative_plain_html(format!("{plain}\n"), html))
            .map_err(|error| Error::Mail { endpoint: self.endpoint.clone(), why: error_chain(&error) })
    }

    async fn attempt(&self, mail: &lettre::Message) -> Attempt {
        let limit = self.options.timeout;
        // The transport's own limit is for connecting.
        let sent = tokio::time::timeout(limit, self.transport.send(mail.clone())).await;
        let error = match sent {
            Ok(Ok(response)) => return Attempt::Accepted(response.code().into()),
            Ok(Err(error)) => error,
            Err(_) => {
                let why = format!("no end within {} ms", limit.as_millis());
                return Attempt::Again { why, asked: None };
            }
        };
        let endpoint = self.endpoint.clone();
        let words = words(&error);
        match error.status() {
            Some(code) if error.is_permanent() => {
                Attempt::Refused(Error::MailRefused { endpoint, status: code.into(), words })
            }
            Some(code) => {
                Attempt::Again { why: format!("SMTP {} (\"{words}\")", u16::from(code)), asked: None }
            }
            // Such as no STARTTLS, or no way to log in that both know.
            None if error.is_client() => Attempt::Refused(Error::Mail { endpoint, why: words }),
            None => Attempt::Again { why: words, asked: None },
        }
    }
}

/// What the server said; without one, what went wrong.
fn words(error: &smtp::Error) -> String {
    let text = match std::error::Error::source(error) {
        Some(source) if error.status().is_some() => source.to_string(),
        _ => error_chain(error),
    };
    cut(&one_line(&Redactor::global().redact(&text)), SHOWN)
}

fn paragraphs(message: &Message, markup: Markup) -> String {
    let foot = format!("{} · {} · {}", message.event, message.key, message.time);
    let parts = [
        markup.escape(&message.summary),
        template::fields(message, markup),
        template::links(message, markup),
        markup.escape(&foot),
    ];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.trim().is_empty()).collect();
    parts.join(if markup == Markup::Html { "</p>\n<p>" } else { "\n\n" })
}

/// RFC 3834.
#[derive(Clone)]
struct AutoSubmitted(String);

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(text.to_owned()))
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(host: &str, tls: MailTls) -> Result<(), String> {
        check(host, tls, "ops@example.com", &["Jane Doe <jane@example.com>".to_owned()])
    }

    #[test]
    fn only_this_machine_is_reached_without_tls() {
        for host in ["localhost", "127.0.0.1", "::1", "mail.localhost"] {
            checked(host, MailTls::None).unwrap();
        }
        for host in ["mail.example.com", "10.0.0.8", "127.0.0.1.example.com"] {
            checked(host, MailTls::StartTls).unwrap();
            let problem = checked(host, MailTls::None).unwrap_err();
            assert!(problem.contains("this machine"), "{problem}");
        }
    }

    #[test]
    fn what_is_no_host_or_no_address_is_refused() {
        for host in ["", "mail.example.com:25", "user@mail.example.com", "mail.example.com/x", "a b"] {
            assert!(checked(host, MailTls::StartTls).unwrap_err().contains("`host`"), "{host}");
        }
        let problem = check("localhost", MailTls::None, "ops", &["a@example.com".to_owned()]).unwrap_err();
        assert!(problem.contains("`from`"), "{problem}");
        let problem = check("localhost", MailTls::None, "ops@example.com", &[]).unwrap_err();
        assert!(problem.contains("nobody"), "{problem}");
        let header = "a@example.com\r\nBcc: b@example.com".to_owned();
        assert!(check("localhost", MailTls::None, "ops@example.com", &[header]).is_err());
    }
}
