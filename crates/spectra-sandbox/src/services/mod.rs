//! The edge in front of running services: the domain proxy.

mod headers;
mod proxy;

pub use self::proxy::{Proxy, ProxyOptions};
