//! What the launching process says in the environment, and the line that answers it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::ServeError;

/// The version of the handshake line itself.
const HANDSHAKE_VERSION: u32 = 1;
/// The protocol major this crate speaks.
pub(crate) const PROTOCOL_VERSION: u32 = 6;
/// Proof of being launched by Terraform or OpenTofu; public, against accidents only.
const COOKIE: (&str, &str) =
    ("TF_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2");

/// The environment of the launch, checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Launch {
    /// Whether the launcher accepts our protocol. It reports the mismatch itself.
    pub(crate) protocol_accepted: bool,
    /// The only certificate that may connect. `None`: the user has switched TLS off.
    pub(crate) client_certificate: Option<CertificateDer<'static>>,
    /// Where a TCP listener may listen. `None`: any free port.
    pub(crate) ports: Option<RangeInclusive<u16>>,
    /// Where the socket folder goes instead of the system's temporary directory.
    pub(crate) socket_folder: Option<PathBuf>,
    /// The group, name or number, that may use the socket.
    pub(crate) socket_group: Option<String>,
}

impl Launch {
    /// Reads the environment of a plugin process; refuses when a person started the program.
    pub(crate) fn from_environment(environment: &BTreeMap<String, String>) -> Result<Self, ServeError> {
        if environment.get(COOKIE.0).map(String::as_str) != Some(COOKIE.1) {
            return Err(ServeError::NotLaunched);
        }
        let text = |name| text(environment, name);
        Ok(Self {
            protocol_accepted: accepts_protocol(text("PLUGIN_PROTOCOL_VERSIONS")),
            client_certificate: text("PLUGIN_CLIENT_CERT").map(parse_certificate).transpose()?,
            ..Self::for_reattach(environment)?
        })
    }

    /// Without a launcher only the place to listen at is looked up.
    pub(crate) fn for_reattach(environment: &BTreeMap<String, String>) -> Result<Self, ServeError> {
        let text = |name| text(environment, name);
        Ok(Self {
            protocol_accepted: true,
            client_certificate: None,
            ports: parse_ports(text("PLUGIN_MIN_PORT"), text("PLUGIN_MAX_PORT"))?,
            socket_folder: text("PLUGIN_UNIX_SOCKET_DIR").map(PathBuf::from),
            socket_group: text("PLUGIN_UNIX_SOCKET_GROUP").map(str::to_owned),
        })
    }
}

/// An empty variable counts as none.
fn text<'a>(environment: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    environment.get(name).map(String::as_str).filter(|text| !text.is_empty())
}

/// Whether version 6 is among the majors offered. A launcher that says nothing is taken at its best.
fn accepts_protocol(offered: Option<&str>) -> bool {
    offered.is_none_or(|list| list.split(',').any(|major| major.trim().parse() == Ok(PROTOCOL_VERSION)))
}

fn parse_certificate(pem: &str) -> Result<CertificateDer<'static>, ServeError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|reason| ServeError::ClientCertificate {
        reason: format!("it is not one certificate in PEM form ({reason})"),
    })
}

/// One bound alone is completed with the end of the range, as other plugin servers do.
fn parse_ports(min: Option<&str>, max: Option<&str>) -> Result<Option<RangeInclusive<u16>>, ServeError> {
    if min.is_none() && max.is_none() {
        return Ok(None);
    }
    let port = |name: &'static str, text: Option<&str>, missing: u16| match text {
        None => Ok(missing),
        Some(text) => text.trim().parse::<u16>().map_err(|_| ServeError::Ports {
            reason: format!("`{name}` is `{text}`, which is not a port number"),
        }),
    };
    let (min, max) = (port("PLUGIN_MIN_PORT", min, 1024)?, port("PLUGIN_MAX_PORT", max, u16::MAX)?);
    if min > max {
        let reason = format!("`PLUGIN_MIN_PORT` {min} is above `PLUGIN_MAX_PORT` {max}");
        return Err(ServeError::Ports { reason });
    }
    Ok(Some(min..=max))
}

/// The one line that may appear on stdout, with its line break.
///
/// The certificate is base64 without padding: the launcher refuses padded text.
pub(crate) fn handshake_line(network: &str, address: &str, certificate: Option<&[u8]>) -> String {
    let certificate = certificate.map(|der| STANDARD_NO_PAD.encode(der)).unwrap_or_default();
    format!("{HANDSHAKE_VERSION}|{PROTOCOL_VERSION}|{network}|{address}|grpc|{certificate}\n")
}

/// The value of `TF_REATTACH_PROVIDERS` that leads Terraform to a running provider.
pub(crate) fn reattach_json(source: &str, network: &str, address: &str) -> String {
    let connection = serde_json::json!({
        "Protocol": "grpc",
        // An absent version is read as 5.
        "ProtocolVersion": PROTOCOL_VERSION,
        "Pid": std::process::id(),
        // Terraform neither stops nor kills the process.
        "Test": true,
        "Addr": { "Network": network, "String": address },
    });
    serde_json::json!({ source: connection }).to_string()
}

/// A line for a POSIX shell.
pub(crate) fn reattach_line(json: &str) -> String {
    format!("TF_REATTACH_PROVIDERS='{}'\n", json.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let cookie = (COOKIE.0.to_owned(), COOKIE.1.to_owned());
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        pairs.chain([cookie]).collect()
    }

    #[test]
    fn a_person_is_refused() {
        let wrong = BTreeMap::from([(COOKIE.0.to_owned(), "other".to_owned())]);
        for environment in [BTreeMap::new(), wrong] {
            let error = Launch::from_environment(&environment).unwrap_err();
            assert!(matches!(error, ServeError::NotLaunched));
            assert!(error.to_string().contains("Terraform"), "{error}");
        }
    }

    #[test]
    fn the_protocol_is_found_in_any_order() {
        for (offered, accepted) in
            [("5,6", true), ("6,5", true), ("6", true), ("5", false), ("", true), ("16,5", false)]
        {
            let launch =
                Launch::from_environment(&environment(&[("PLUGIN_PROTOCOL_VERSIONS", offered)])).unwrap();
            assert_eq!(launch.protocol_accepted, accepted, "{offered}");
        }
    }

    #[test]
    fn ports_are_a_range() {
        let ports = |min, max| {
            let pairs = [("PLUGIN_MIN_PORT", min), ("PLUGIN_MAX_PORT", max)];
            Launch::from_environment(&environment(&pairs)).map(|launch| launch.ports)
        };
        assert_eq!(ports("10000", "25000").unwrap(), Some(10000..=25000));
        assert_eq!(ports("", "").unwrap(), None);
        assert_eq!(ports("2000", "").unwrap(), Some(2000..=u16::MAX));
        assert!(matches!(ports("9", "8"), Err(ServeError::Ports { .. })));
        assert!(matches!(ports("x", "8"), Err(ServeError::Ports { .. })));
        assert!(matches!(ports("1", "70000"), Err(ServeError::Ports { .. })));
    }

    #[test]
    fn an_empty_certificate_means_no_tls_and_a_broken_one_is_refused() {
        let launch = |text| Launch::from_environment(&environment(&[("PLUGIN_CLIENT_CERT", text)]));
        assert!(launch("").unwrap().client_certificate.is_none());
        assert!(matches!(launch("nonsense"), Err(ServeError::ClientCertificate { .. })));
    }

    #[test]
    fn the_line_has_six_fields_and_no_padding() {
        let line = handshake_line("unix", "/tmp/x/s", Some(&[0xff; 64]));
        let fields: Vec<_> = line.trim_end().split('|').collect();
        assert_eq!(fields[..5], ["1", "6", "unix", "/tmp/x/s", "grpc"]);
        assert_eq!(fields.len(), 6);
        assert!(!line.contains('='));
        assert_eq!(STANDARD_NO_PAD.decode(fields[5]).unwrap(), [0xff; 64]);
        assert_eq!(handshake_line("tcp", "127.0.0.1:1", None), "1|6|tcp|127.0.0.1:1|grpc|\n");
    }

    #[test]
    fn reattach_is_what_terraform_reads() {
        let json = reattach_json("registry.terraform.io/acme/widget", "unix", "/tmp/it's/s");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let provider = &value["registry.terraform.io/acme/widget"];
        assert_eq!(provider["ProtocolVersion"], 6);
        assert_eq!(provider["Test"], true);
        assert_eq!(provider["Addr"]["String"], "/tmp/it's/s");
        assert!(reattach_line(&json).contains(r"it'\''s"));
    }
}
