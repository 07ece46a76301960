//! Domains, proxies, private networks and gateways.

use serde::{Deserialize, Serialize};

use super::Times;
use crate::clock::Tick;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the words of the API")]
pub(crate) struct Domain {
    pub(crate) id: String,
    pub(crate) project_id: String,
    pub(crate) environment_id: String,
    pub(crate) service_id: String,
    /// With the sandbox's port: `web-production-1a2b.up.railway.localhost:7430`.
    pub(crate) domain: String,
    pub(crate) target_port: Option<i32>,
    pub(crate) times: Times,
}

/// A name of the user's own. What DNS, certificate and synchronisation show is worked out from the ticks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CustomDomain {
    pub(crate) id: String,
    pub(crate) project_id: String,
    pub(crate) environment_id: String,
    pub(crate) service_id: String,
    pub(crate) domain: String,
    pub(crate) target_port: Option<i32>,
    /// What the CNAME record must say.
    pub(crate) cname: String,
    /// What the TXT record must say; public, it stands in DNS.
    pub(crate) verification: String,
    pub(crate) updated_tick: Tick,
    pub(crate) deleted_tick: Option<Tick>,
    pub(crate) times: Times,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TcpProxy {
    pub(crate) id: String,
    pub(crate) project_id: String,
    pub(crate) environment_id: String,
    pub(crate) service_id: String,
    pub(crate) domain: String,
    pub(crate) application_port: i32,
    pub(crate) proxy_port: i32,
    /// Deployments with a higher number know of it; 0 in rows of older versions.
    #[serde(default)]
    pub(crate) sequence: u64,
    pub(crate) deleted_tick: Option<Tick>,
    pub(crate) times: Times,
}

/// A network inside an environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PrivateNetwork {
    pub(crate) id: String,
    pub(crate) number: u64,
    pub(crate) project_id: String,
    pub(crate) environment_id: String,
    pub(crate) name: String,
    pub(crate) dns_name: String,
    pub(crate) tags: Vec<String>,
    pub(crate) times: Times,
}

/// A service's name and address in a private network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PrivateEndpoint {
    pub(crate) id: String,
    pub(crate) network_id: String,
    pub(crate) environment_id: String,
    pub(crate) service_id: String,
    pub(crate) instance_id: String,
    pub(crate) dns_name: String,
    /// The name before the last rename; shown until that has come through.
    pub(crate) old_name: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) address: String,
    pub(crate) updated_tick: Tick,
    pub(crate) times: Times,
}

/// A fixed address for what a service sends from one region.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EgressGateway {
    pub(crate) id: String,
    pub(crate) environment_id: String,
    pub(crate) service_id: String,
    pub(crate) region: String,
    pub(crate) ipv4: String,
    pub(crate) times: Times,
}
