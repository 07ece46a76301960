//! The edge in front of running services: the domain proxy, the TCP proxies, and what its traffic adds up to.

mod headers;
mod proxy;
mod stats;
mod tcp;

pub use self::{
    proxy::{Proxy, ProxyOptions, unknown_host},
    stats::{HttpRow, MinuteSample, TrafficStats},
    tcp::TcpForwarder,
};
