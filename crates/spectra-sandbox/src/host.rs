//! The host that a client asked for, and whether it is this machine.
//!
//! The sandbox listens on loopback alone, but a web page can have its own name resolved to 127.0.0.1 and then counts, for the
//! browser, as being of the same origin. Its requests carry that name as `Host`, so names of other machines are refused.

use std::net::IpAddr;

use http::{header, request::Parts};

/// What whoever asks for another machine is told, with 421.
pub(crate) const MISDIRECTED: &str =
    "the sandbox answers here by loopback names only: `localhost`, names below it, 127.0.0.0/8 and `[::1]`";

/// The host of a request in lower case and without port: from the target if it is absolute, else from `Host`.
/// An IPv6 address is in brackets.
pub(crate) fn of(parts: &Parts) -> Option<String> {
    let text = match parts.uri.host() {
        Some(host) => host,
        None => parts.headers.get(header::HOST)?.to_str().ok()?,
    };
    let host =
        if text.starts_with('[') { text.split_inclusive(']').next()? } else { text.split(':').next()? };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty()).then_some(host)
}

/// Is the host this machine by definition, as [`of`] or a URL writes it?
pub(crate) fn is_loopback(host: &str) -> bool {
    is_this_machine(host) || host.ends_with(".localhost")
}

/// The same without the names below `localhost`, which services may have.
pub(crate) fn is_this_machine(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a request is for this machine; one that does not say for which is not.
pub(crate) fn is_for_loopback(parts: &Parts) -> bool {
    of(parts).is_some_and(|host| is_loopback(&host))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(host: &str) -> Parts {
        http::Request::builder().header(header::HOST, host).body(()).unwrap().into_parts().0
    }

    proptest! {
        #[test]
        fn a_host_never_has_a_port(name in "[a-zA-Z][a-zA-Z0-9.-]{0,20}[a-z]", port in prop::option::of(0_u16..)) {
            let text = port.map_or_else(|| name.clone(), |port| format!("{name}:{port}"));
            prop_assert_eq!(of(&parts(&text)), Some(name.to_ascii_lowercase()));
        }
    }

    #[test]
    fn hosts() {
        assert_eq!(of(&parts("[::1]:80")).as_deref(), Some("[::1]"));
        assert_eq!(of(&parts("web.up.railway.localhost.:7430")).as_deref(), Some("web.up.railway.localhost"));
        assert_eq!(of(&parts(":80")), None);
        assert_eq!(of(&http::Request::new(()).into_parts().0), None);
    }

    #[test]
    fn names_of_this_machine_and_of_others() {
        for host in [
            "localhost:7430",
            "LOCALHOST",
            "localhost.",
            "registry.localhost:7430",
            "127.0.0.1",
            "127.8.9.10:80",
            "[::1]:7430",
        ] {
            assert!(is_for_loopback(&parts(host)), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:7430",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "0.0.0.0",
            "169.254.169.254",
            "10.0.0.1:7430",
            "[::]",
            "[::2]:7430",
            "",
            ":7430",
            "[",
        ] {
            assert!(!is_for_loopback(&parts(host)), "{host}");
        }
        assert!(!is_for_loopback(&http::Request::new(()).into_parts().0), "nobody was asked for");
        assert!(
            !is_this_machine("shop.localhost") && is_this_machine("[::1]") && is_this_machine("localhost")
        );
    }
}
