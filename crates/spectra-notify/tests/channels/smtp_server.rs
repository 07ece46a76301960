//! A mail server for tests: RFC 5321 as far as a client needs it, strictly, with STARTTLS, TLS and a login.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What the server offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    Clear,
    StartTls,
    Implicit,
}

/// A mail that was taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mail {
    pub(crate) encrypted: bool,
    pub(crate) user: Option<String>,
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    /// Headers and body, without the dots that SMTP adds.
    pub(crate) data: String,
}

/// The server, and what it saw.
#[derive(Clone)]
pub(crate) struct Server {
    offer: Offer,
    login: Option<(&'static str, &'static str)>,
    tls: TlsAcceptor,
    /// Replies in place of what a command would get: verb and line.
    planned: Arc<Mutex<VecDeque<(&'static str, &'static str)>>>,
    pub(crate) mails: Arc<Mutex<Vec<Mail>>>,
    /// Every command, with what it carries in the clear.
    pub(crate) commands: Arc<Mutex<Vec<String>>>,
    /// What a client did that the protocol does not allow.
    pub(crate) wrongs: Arc<Mutex<Vec<String>>>,
    pub(crate) port: u16,
    /// The certificate of `localhost`.
    pub(crate) pem: String,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}
type Connection = BufReader<Box<dyn Stream>>;

impl Server {
    pub(crate) async fn start(offer: Offer, login: Option<(&'static str, &'static str)>) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            offer,
            login,
            tls: TlsAcceptor::from(Arc::new(config)),
            planned: Arc::default(),
            mails: Arc::default(),
            commands: Arc::default(),
            wrongs: Arc::default(),
            port: listener.local_addr().unwrap().port(),
            pem: made.cert.pem(),
        };
        let serving = server.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let server = serving.clone();
                // A client that leaves in the middle, as one does that trusts nobody here, ends its session alone.
                tokio::spawn(async move { drop(server.session(Box::new(stream)).await) });
            }
        });
        server
    }

    /// The next command of this verb gets this line.
    pub(crate) fn then(&self, verb: &'static str, line: &'static str) {
        self.planned.lock().unwrap().push_back((verb, line));
    }

    fn planned(&self, verb: &str) -> Option<&'static str> {
        let mut planned = self.planned.lock().unwrap();
        let next = planned.front().filter(|(of, _)| *of == verb).map(|(_, line)| *line);
        if next.is_some() {
            planned.pop_front();
        }
        next
    }

    async fn session(&self, stream: Box<dyn Stream>) -> std::io::Result<()> {
        let mut encrypted = self.offer == Offer::Implicit;
        let stream: Box<dyn Stream> =
            if encrypted { Box::new(self.tls.accept(stream).await?) } else { stream };
        let mut connection = BufReader::new(stream);
        let (mut greeted, mut user, mut mail) = (false, None, None::<Mail>);
        say(&mut connection, "220 mail.test ESMTP").await?;
        loop {
            let Some(line) = self.line(&mut connection).await? else { return Ok(()) };
            self.commands.lock().unwrap().push(line.clone());
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let verb = verb.to_ascii_uppercase();
            if let Some(reply) = self.planned(&verb) {
                say(&mut connection, reply).await?;
                continue;
            }
            let locked = self.offer == Offer::StartTls && !encrypted;
            let reply = match verb.as_str() {
                "EHLO" if rest.is_empty() => "501 who are you".to_owned(),
                "EHLO" => {
                    greeted = true;
                    let mut features = vec!["mail.test"];
                    if locked {
                        features.push("STARTTLS");
                    } else if self.login.is_some() {
                        features.push("AUTH PLAIN");
                    }
                    features.push("8BITMIME");
                    features_reply(&features)
                }
                "STARTTLS" if locked && greeted => {
                    say(&mut connection, "220 go ahead").await?;
                    if !connection.buffer().is_empty() {
                        self.wrong("something was sent together with STARTTLS");
                    }
                    let stream = self.tls.accept(connection.into_inner()).await?;
                    connection = BufReader::new(Box::new(stream));
                    (encrypted, greeted) = (true, false);
                    continue;
                }
                "QUIT" => {
                    say(&mut connection, "221 bye").await?;
                    return Ok(());
                }
                "RSET" | "NOOP" => {
                    mail = None;
                    "250 ok".to_owned()
                }
                _ if locked => {
                    self.wrong(&format!("{verb} came before STARTTLS"));
                    "530 Must issue a STARTTLS command first".to_owned()
                }
                "AUTH" => match self.login(rest) {
                    Some(name) => {
                        user = Some(name);
                        "235 welcome".to_owned()
                    }
                    None => "535 5.7.8 bad login of hunter-the-second".to_owned(),
                },
                "MAIL" if !greeted => "503 no greeting".to_owned(),
                "MAIL" if self.login.is_some() && user.is_none() => "530 5.7.0 who are you".to_owned(),
                "MAIL" => match path(rest, "FROM:") {
                    Some(from) => {
                        mail = Some(Mail { encrypted, user: user.clone(), from, ..Mail::default() });
                        "250 ok".to_owned()
                    }
                    None => "501 no sender".to_owned(),
                },
                "RCPT" => match (mail.as_mut(), path(rest, "TO:")) {
                    (Some(mail), Some(to)) => {
                        mail.to.push(to);
                        "250 ok".to_owned()
                    }
                    _ => "503 not now".to_owned(),
                },
                "DATA" => match mail.take().filter(|mail| !mail.to.is_empty()) {
                    Some(mut mail) => {
                        say(&mut connection, "354 go on").await?;
                        mail.data = self.data(&mut connection).await?;
                        self.mails.lock().unwrap().push(mail);
                        "250 queued".to_owned()
                    }
                    None => "503 not now".to_owned(),
                },
                _ => {
                    self.wrong(&format!("`{line}` is no command"));
                    "500 what".to_owned()
                }
            };
            say(&mut connection, &reply).await?;
        }
    }

    fn login(&self, rest: &str) -> Option<String> {
        let (user, password) = self.login?;
        let given = BASE64_STANDARD.decode(rest.strip_prefix("PLAIN ")?).ok()?;
        (given == format!("\0{user}\0{password}").as_bytes()).then(|| user.to_owned())
    }

    async fn data(&self, connection: &mut Connection) -> std::io::Result<String> {
        let mut data = String::new();
        while let Some(line) = self.line(connection).await? {
            if line == "." {
                return Ok(data);
            }
            if line.len() > 998 {
                self.wrong("a line is longer than 998");
            }
            data.push_str(line.strip_prefix('.').unwrap_or(&line));
            data.push('\n');
        }
        self.wrong("the data has no end");
        Ok(data)
    }

    /// A line without its end, which must be CRLF.
    async fn line(&self, connection: &mut Connection) -> std::io::Result<Option<String>> {
        let mut line = String::new();
        if connection.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let text = line.strip_suffix("\r\n").unwrap_or_else(|| {
            self.wrong("a line does not end in CRLF");
            line.trim_end()
        });
        if text.contains(['\r', '\0']) {
            self.wrong("a line has a bare CR or a NUL in it");
        }
        Ok(Some(text.to_owned()))
    }

    fn wrong(&self, what: &str) {
        self.wrongs.lock().unwrap().push(what.to_owned());
    }
}

async fn say(connection: &mut Connection, line: &str) -> std::io::Result<()> {
    connection.write_all(format!("{line}\r\n").as_bytes()).await?;
    connection.flush().await
}

fn features_reply(features: &[&str]) -> String {
    let last = features.len() - 1;
    let lines = features.iter().enumerate();
    let lines: Vec<_> =
        lines.map(|(at, text)| format!("250{}{text}", if at == last { ' ' } else { '-' })).collect();
    lines.join("\r\n")
}

fn path(rest: &str, before: &str) -> Option<String> {
    let (path, _) = rest.strip_prefix(before)?.strip_prefix('<')?.split_once('>')?;
    path.contains('@').then(|| path.to_owned())
}
