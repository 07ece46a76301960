//! The edge in front of running services: the domain proxy, and what its traffic adds up to.

mod headers;
mod proxy;
mod stats;

pub use self::{
    proxy::{Proxy, ProxyOptions, unknown_host},
    stats::{HttpRow, MinuteSample, TrafficStats},
};
