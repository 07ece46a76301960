//! The edge in front of running services: the domain proxy and the TCP proxies.

mod headers;
mod proxy;
mod tcp;

pub use self::{
    proxy::{Proxy, ProxyOptions, unknown_host},
    tcp::TcpForwarder,
};
