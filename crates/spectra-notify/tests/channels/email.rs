//! Mail, to a server that speaks SMTP on this machine.

use std::sync::Arc;
use std::time::Duration;

use spectra_notify::{Channel, Error, Event, Severity};
use spectra_types::error_chain;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::smtp_server::{Mail, Offer, Server};
use crate::support::{TestClock, channel, message, silent};

const LOGIN: (&str, &str) = ("spectra", "hunter-the-second");

struct Mailing {
    server: Server,
    channel: Channel,
    clock: Arc<TestClock>,
    _files: TempDir,
}

impl Mailing {
    async fn start(offer: Offer, login: Option<(&'static str, &'static str)>, more: &str) -> Self {
        Self::with(Server::start(offer, login).await, LOGIN.1, more)
    }

    fn with(server: Server, password: &str, more: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let authorities = files.path().join("ca.pem");
        std::fs::write(&authorities, &server.pem).unwrap();
        let spec = format!(
            r#"{{"name":"team","kind":"email","host":"localhost","port":{},"from":"Spectra <spectra@sender.example>",
            "to":["Jane Doe <jane@team.example>","ops@team.example"],"ca_file":{}{more}}}"#,
            server.port,
            serde_json::to_string(&authorities).unwrap()
        );
        let (channel, clock) = channel(&spec, &[("MAIL_USER", LOGIN.0), ("MAIL_PASSWORD", password)]);
        Self { server, channel, clock, _files: files }
    }

    async fn send(&self) -> Result<spectra_notify::Delivery, Error> {
        self.channel.send(&message(), &CancellationToken::new(), |_| {}).await
    }

    fn mail(&self) -> Mail {
        let wrongs = self.server.wrongs.lock().unwrap().clone();
        assert!(wrongs.is_empty(), "{wrongs:?}");
        let mails = self.server.mails.lock().unwrap();
        assert_eq!(mails.len(), 1);
        mails[0].clone()
    }

    fn commands(&self) -> Vec<String> {
        self.server.commands.lock().unwrap().clone()
    }
}

const WITH_LOGIN: &str = r#","username_env":"MAIL_USER","password_env":"MAIL_PASSWORD""#;

/// What a quoted-printable text says.
fn unquoted(text: &str) -> String {
    let text = text.replace("=\n", "");
    let (mut bytes, mut rest) = (Vec::new(), text.as_str());
    while let Some((before, after)) = rest.split_once('=') {
        bytes.extend_from_slice(before.as_bytes());
        if let Some(Ok(byte)) = after.get(..2).map(|code| u8::from_str_radix(code, 16)) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(b'=');
            rest = after;
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_mail_is_sent_encrypted_and_logged_in_to_all_recipients() {
    for (offer, tls) in [(Offer::StartTls, "starttls"), (Offer::Implicit, "implicit")] {
        let more = format!(r#","tls":"{tls}"{WITH_LOGIN}"#);
        let mailing = Mailing::start(offer, Some(LOGIN), &more).await;
        let delivery = mailing.send().await.unwrap();
        assert_eq!((delivery.status, delivery.attempts), (250, 1));
        let mail = mailing.mail();
        assert!(mail.encrypted);
        assert_eq!(mail.user.as_deref(), Some("spectra"));
        assert_eq!(mail.from, "spectra@sender.example");
        assert_eq!(mail.to, ["jane@team.example", "ops@team.example"]);
        assert!(!mailing.commands().iter().any(|command| command.contains(LOGIN.1)));
    }
}

#[tokio::test]
async fn a_mail_says_it_in_plain_text_and_in_html() {
    let mailing = Mailing::start(Offer::Clear, None, r#","tls":"none""#).await;
    let delivery = mailing.send().await.unwrap();
    let mail = mailing.mail();
    assert!(!mail.encrypted);
    let data = mail.data;
    for header in [
        "From: Spectra <spectra@sender.example>\n",
        "Subject: api could not be rolled back\n",
        "Date: Sat, 01 Aug 2026 10:00:00 +0000\n",
        "Auto-Submitted: auto-generated\n",
        "Content-Type: multipart/alternative;",
    ] {
        assert!(data.contains(header), "{header} in {data}");
    }
    assert!(data.contains(&format!("Message-ID: <{}@sender.example>\n", delivery.id)), "{data}");
    let text = unquoted(&data);
    let plain = "<!channel> & \"both\" versions are down\nsince 10:00\n\nservice: api & co\ndigest: sha256:4f5e\n\n\
                 run: https://ci.example/runs/1?a=1&b=2\n\nrollout.rollback_failed · rollout-7 · 2026-08-01T10:00:00Z";
    assert!(text.contains(plain), "{text}");
    let html = "<h2>api could not be rolled back</h2>\n\
                <p>&lt;!channel&gt; &amp; &quot;both&quot; versions are down<br>\nsince 10:00</p>\n\
                <p><b>service</b>: api &amp; co<br>\n<b>digest</b>: sha256:4f5e</p>\n\
                <p><a href=\"https://ci.example/runs/1?a=1&amp;b=2\">run</a></p>";
    assert!(text.contains(html), "{text}");
}

#[tokio::test]
async fn a_channels_own_words_are_the_subject_and_both_texts_and_no_header_can_be_added() {
    let more =
        r#","tls":"none","template":{"title":"{{title}}","text":"Is <up>: {{field.service}}\n{{link.run}}"}"#;
    let mailing = Mailing::start(Offer::Clear, None, more).await;
    let mut message = message();
    message.title = "grün\r\nBcc: all@team.example".to_owned();
    let channel = &mailing.channel;
    channel.send(&message, &CancellationToken::new(), |_| {}).await.unwrap();
    let mail = mailing.mail();
    assert_eq!(mail.to.len(), 2);
    assert!(mail.data.contains("Subject: =?utf-8?"), "{}", mail.data);
    assert!(!mail.data.lines().any(|line| line.starts_with("Bcc:")), "{}", mail.data);
    let text = unquoted(&mail.data);
    assert!(text.contains("Is <up>: api & co\nrun: https://ci.example/runs/1?a=1&b=2\n"), "{text}");
    assert!(text.contains("Is &lt;up&gt;: api &amp; co<br>\n<a href="), "{text}");
}

#[tokio::test]
async fn a_server_without_starttls_gets_neither_mail_nor_password() {
    let mailing = Mailing::start(Offer::Clear, Some(LOGIN), WITH_LOGIN).await;
    let error = mailing.send().await.unwrap_err();
    assert!(matches!(error, Error::Mail { .. }) && error.to_string().contains("STARTTLS"), "{error}");
    let said = mailing.commands();
    assert!(said.iter().all(|command| command.starts_with("EHLO") || command == "QUIT"), "{said:?}");
    assert!(mailing.server.mails.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_gets_nothing() {
    let mut server = Server::start(Offer::StartTls, Some(LOGIN)).await;
    server.pem = Server::start(Offer::StartTls, None).await.pem;
    let mailing = Mailing::with(server, LOGIN.1, WITH_LOGIN);
    let error = mailing.send().await.unwrap_err();
    assert!(error_chain(&error).contains("certificate"), "{error}");
    let said = mailing.commands();
    assert!(
        said.iter().all(|command| command.starts_with("EHLO") || command == "STARTTLS" || command == "QUIT"),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_refused_login_is_final_and_shows_no_password() {
    let server = Server::start(Offer::StartTls, Some(("spectra", "another"))).await;
    let mailing = Mailing::with(server, LOGIN.1, WITH_LOGIN);
    let error = mailing.send().await.unwrap_err();
    let Error::MailRefused { status: 535, words, .. } = &error else { panic!("{error}") };
    assert!(words.contains("bad login of [redacted]") && error.hint().is_some(), "{words}");
    let text = format!("{} {error:?} {:?}", error_chain(&error), mailing.channel);
    assert!(!text.contains(LOGIN.1), "{text}");
    assert!(mailing.clock.waits().is_empty());
}

#[tokio::test]
async fn what_is_temporary_is_tried_again_under_the_same_message_id() {
    let mailing = Mailing::start(Offer::Clear, None, r#","tls":"none""#).await;
    mailing.server.then("RCPT", "450 4.2.0 greylisted");
    let delivery = mailing.send().await.unwrap();
    assert_eq!((delivery.attempts, mailing.clock.waits().len()), (2, 1));
    assert!(mailing.mail().data.contains(&delivery.id));
}

#[tokio::test]
async fn a_recipient_who_is_refused_is_said() {
    let mailing = Mailing::start(Offer::Clear, None, r#","tls":"none""#).await;
    mailing.server.then("RCPT", "550 5.1.1 no such user");
    let error = mailing.send().await.unwrap_err();
    assert!(matches!(error, Error::MailRefused { status: 550, .. }), "{error}");
    assert!(error.to_string().contains("no such user"), "{error}");
    assert!(mailing.server.mails.lock().unwrap().is_empty());
    let info = {
        let mut message = message();
        (message.event, message.severity) = (Event::ROLLOUT_STARTED, Severity::Info);
        message
    };
    assert!(!mailing.channel.wants(&info) && mailing.channel.wants(&message()));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_longer_than_told() {
    let (url, _) = silent().await;
    let port = url.split([':', '/']).nth(4).unwrap();
    let spec = format!(
        r#"{{"name":"team","kind":"email","host":"127.0.0.1","port":{port},"tls":"none","from":"a@b.example","to":["c@d.example"]}}"#
    );
    let spec: spectra_notify::ChannelSpec = serde_json::from_str(&spec).unwrap();
    let (options, clock) = TestClock::options();
    let options = spectra_notify::Options { timeout: Duration::from_millis(20), ..options };
    let channel = spec.open_with(&|_| None, options).unwrap();
    let error = channel.send(&message(), &CancellationToken::new(), |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("no end within 20 ms"), "{error}");
    assert_eq!(clock.waits().len(), 4);
}

#[tokio::test]
async fn long_lines_and_leading_dots_arrive_whole() {
    let mailing = Mailing::start(Offer::Clear, None, r#","tls":"none""#).await;
    let long = "long ".repeat(800);
    let dotted = message().with_summary(format!("..first\n.\n{long}\nlast"));
    mailing.channel.send(&dotted, &CancellationToken::new(), |_| {}).await.unwrap();
    let text = unquoted(&mailing.mail().data);
    assert!(text.contains(&format!("..first\n.\n{long}\nlast\n")), "{text}");
}
