//! What stands in the server's certificate. The launcher accepts more than one form of most of it; what it accepts is in the
//! project's table, and this is the row that was chosen for each.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use tfplugin::server::Transport;

use crate::support::{Identity, TestServer};
use crate::tls::server;

/// One element of DER: its tag, and what is in it.
#[derive(Clone, Copy, Debug)]
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
}

/// The elements in a row. Lengths above 64 KiB do not occur here.
fn elements(mut der: &[u8]) -> Vec<Element<'_>> {
    let mut all = Vec::new();
    while let [tag, length, rest @ ..] = der {
        let (length, rest) = match length {
            0x81 => (usize::from(rest[0]), &rest[1..]),
            0x82 => (usize::from(rest[0]) << 8 | usize::from(rest[1]), &rest[2..]),
            short => (usize::from(*short), rest),
        };
        all.push(Element { tag: *tag, content: &rest[..length] });
        der = &rest[length..];
    }
    all
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const DNS_NAME: u8 = 0x82;
/// Object identifiers.
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];

/// The parts of a certificate that anybody looks at.
struct Certificate<'a> {
    signature: &'a [u8],
    validity: Vec<Element<'a>>,
    key: Vec<Element<'a>>,
    extensions: Vec<(&'a [u8], Vec<Element<'a>>)>,
}

impl<'a> Certificate<'a> {
    fn parse(der: &'a [u8]) -> Self {
        let [whole] = elements(der)[..] else { panic!("one certificate") };
        let [body, algorithm, _] = elements(whole.content)[..] else { panic!("body, algorithm, signature") };
        // Version, serial number, algorithm, issuer, validity, subject, key, extensions.
        let body = elements(body.content);
        assert_eq!(
            (body.len(), body[0].content),
            (8, &[2, 1, 2][..]),
            "version 3, and no more parts than needed"
        );
        let [all] = elements(body[7].content)[..] else { panic!("one list of extensions") };
        let extensions = elements(all.content)
            .into_iter()
            .map(|extension| {
                let parts = elements(extension.content);
                let value = parts[parts.len() - 1];
                (parts[0].content, elements(value.content))
            })
            .collect();
        Self {
            signature: elements(algorithm.content)[0].content,
            validity: elements(body[4].content),
            key: elements(elements(body[6].content)[0].content),
            extensions,
        }
    }

    fn extension(&self, id: &[u8]) -> Element<'a> {
        let found = self.extensions.iter().find(|(name, _)| *name == id);
        found.unwrap_or_else(|| panic!("there is no extension {id:x?}")).1[0]
    }
}

/// Seconds since 1970, as far as the two forms of a certificate's dates say them.
fn seconds(time: &Element<'_>) -> i64 {
    let text = std::str::from_utf8(time.content).unwrap();
    let (year, rest) = text.split_at(if time.tag == UTC_TIME { 2 } else { 4 });
    let number = |from: usize| rest[from..from + 2].parse::<i64>().unwrap();
    let year: i64 = year.parse().unwrap();
    // Two digits are of this century up to 49.
    let year = if time.tag == UTC_TIME { year + if year < 50 { 2000 } else { 1900 } } else { year };
    let (month, day) = (number(0), number(2));
    // Days of the civil calendar, with years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    days * 86_400 + number(4) * 3600 + number(6) * 60 + number(8)
}

fn since_1970(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

async fn certificate() -> (TestServer, Vec<u8>) {
    let server = server(&Identity::new(), Transport::default()).await;
    let der = server.certificate();
    (server, der)
}

#[tokio::test]
async fn it_says_what_the_launcher_needs_and_no_more() {
    let before = since_1970(SystemTime::now());
    let (server, der) = certificate().await;
    let certificate = Certificate::parse(&der);

    assert_eq!(
        certificate.key.iter().map(|part| part.content).collect::<Vec<_>>(),
        [EC_PUBLIC_KEY, P256],
        "key"
    );
    assert_eq!(certificate.signature, ECDSA_SHA256, "signature");
    // The name must be an alternative one; an address or another name fails with the launcher.
    let names = elements(certificate.extension(ALTERNATIVE_NAME).content);
    assert_eq!(
        names.iter().map(|name| (name.tag, name.content)).collect::<Vec<_>>(),
        [(DNS_NAME, &b"localhost"[..])]
    );
    // `clientAuth` alone fails.
    let purposes = elements(certificate.extension(EXTENDED_KEY_USAGE).content);
    assert_eq!(purposes.iter().map(|purpose| purpose.content).collect::<Vec<_>>(), [SERVER_AUTH]);
    let constraints = certificate.extension(BASIC_CONSTRAINTS);
    assert_eq!(constraints.tag, SEQUENCE);
    let authority =
        elements(constraints.content).iter().any(|part| part.tag == BOOLEAN && part.content != [0]);
    assert!(!authority, "it vouches for nobody else");
    let usage = certificate.extension(KEY_USAGE);
    assert_eq!((usage.tag, usage.content), (BIT_STRING, &[7, 0x80][..]), "digitalSignature alone");

    // Valid a little before it is made, for clocks that differ, and for longer than any run.
    let [from, until] = &certificate.validity[..] else { panic!("two dates") };
    let minute = i64::try_from(Duration::from_mins(1).as_secs()).unwrap();
    assert!(seconds(from) <= before - minute + 2, "{} {before}", seconds(from));
    assert!(seconds(until) > before + 366 * 24 * 60 * minute, "{} {before}", seconds(until));
    server.until.cancel();
    server.ended().await;
}

/// Row 66 of the catalogue: padded, for URLs, as PEM or empty, the certificate field fails with the launcher.
#[tokio::test]
async fn the_line_carries_it_bare() {
    let (server, der) = certificate().await;
    let line = server.output.text();
    let fields: Vec<_> = line.trim_end().split('|').collect();
    assert_eq!((fields.len(), &fields[..3], fields[4]), (6, &["1", "6", server.ready.network][..], "grpc"));
    let field = fields[5];
    assert!(!field.contains('=') && !field.contains("BEGIN") && field.len() > 50, "{field}");
    assert!(field.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte)), "{field}");
    assert_eq!(base64::engine::general_purpose::STANDARD_NO_PAD.decode(field).unwrap(), der);
    server.until.cancel();
    server.ended().await;
}

#[test]
fn dates_are_read_rightly() {
    let utc = |text: &'static str| seconds(&Element { tag: UTC_TIME, content: text.as_bytes() });
    let general = |text: &'static str| seconds(&Element { tag: 0x18, content: text.as_bytes() });
    assert_eq!((utc("700101000000Z"), utc("000229123456Z")), (0, 951_827_696));
    assert_eq!(general("40960101000000Z"), 67_090_118_400);
}
