//! Headers that belong to one connection and must not travel on (RFC 9110, 7.6.1).

use http::{HeaderMap, HeaderName, header};

/// Those that are always of the connection, whether `Connection` names them or not.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes them.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// The host of a request in lower case and without port: from the target if it is absolute, else from `Host`.
pub(super) fn host(parts: &http::request::Parts) -> Option<String> {
    let text = match parts.uri.host() {
        Some(host) => host,
        None => parts.headers.get(header::HOST)?.to_str().ok()?,
    };
    let host =
        if text.starts_with('[') { text.split_inclusive(']').next()? } else { text.split(':').next()? };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(host: &str) -> http::request::Parts {
        http::Request::builder().header(header::HOST, host).body(()).unwrap().into_parts().0
    }

    proptest! {
        #[test]
        fn a_host_never_has_a_port(name in "[a-zA-Z][a-zA-Z0-9.-]{0,20}[a-z]", port in prop::option::of(0_u16..)) {
            let text = port.map_or_else(|| name.clone(), |port| format!("{name}:{port}"));
            prop_assert_eq!(host(&parts(&text)), Some(name.to_ascii_lowercase()));
        }
    }

    #[test]
    fn hosts() {
        assert_eq!(host(&parts("[::1]:80")).as_deref(), Some("[::1]"));
        assert_eq!(
            host(&parts("web.up.railway.localhost.:7430")).as_deref(),
            Some("web.up.railway.localhost")
        );
        assert_eq!(host(&parts(":80")), None);
        assert_eq!(host(&http::Request::new(()).into_parts().0), None);
    }

    #[test]
    fn what_connection_names_goes_too() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("accept", "*/*"),
        ] {
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers.len(), 1);
        assert!(headers.contains_key("accept"));
    }
}
