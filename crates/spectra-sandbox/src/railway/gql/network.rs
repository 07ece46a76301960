//! Custom domains and TCP proxies.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};

use super::scalars::DateTime;
use super::{Request, request};
use crate::clock::Tick;
use crate::railway::ops::{custom_domains as ops, new_id, proxies};
use crate::railway::refusal::Refusal;
use crate::settings::ticks;
use crate::store::rows::{self, Times};

/// Where the platform is with a change, for domains, proxies and endpoints alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sync {
    Creating,
    Updating,
    Active,
    Deleting,
    Deleted,
}

/// `None` once a deleted object is not even listed any more.
pub(super) fn listed(request: &Request, times: &Times, changed: Tick, deleted: Option<Tick>) -> Option<Sync> {
    let now = request.core.clock.now();
    let busy = |since: Tick| now < since.saturating_add(ticks(request.settings.network_sync_duration));
    match deleted {
        Some(at) => busy(at).then_some(Sync::Deleting),
        None if busy(times.created_tick) => Some(Sync::Creating),
        None if busy(changed) => Some(Sync::Updating),
        None => Some(Sync::Active),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Sync")]
enum CustomDomainSyncStatus {
    Creating,
    Updating,
    Active,
    Deleting,
    Deleted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "TCPProxySyncStatus", remote = "Sync")]
enum TcpProxySyncStatus {
    Creating,
    Updating,
    Active,
    Deleting,
    Deleted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
enum CertificateStatus {
    #[graphql(name = "CERTIFICATE_STATUS_TYPE_VALIDATING_OWNERSHIP")]
    ValidatingOwnership,
    #[graphql(name = "CERTIFICATE_STATUS_TYPE_ISSUING")]
    Issuing,
    #[graphql(name = "CERTIFICATE_STATUS_TYPE_VALID")]
    Valid,
    #[graphql(name = "CERTIFICATE_STATUS_TYPE_ISSUE_FAILED")]
    IssueFailed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
enum CertificateErrorType {
    #[graphql(name = "CERTIFICATE_ERROR_TYPE_AUTHORIZATION_FAILED")]
    AuthorizationFailed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "DNSRecordPurpose")]
enum DnsRecordPurpose {
    #[graphql(name = "DNS_RECORD_PURPOSE_TRAFFIC_ROUTE")]
    TrafficRoute,
    #[graphql(name = "DNS_RECORD_PURPOSE_ACME_DNS01_CHALLENGE")]
    AcmeChallenge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "DNSRecordStatus")]
enum DnsRecordStatus {
    #[graphql(name = "DNS_RECORD_STATUS_PROPAGATED")]
    Propagated,
    #[graphql(name = "DNS_RECORD_STATUS_REQUIRES_UPDATE")]
    RequiresUpdate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "DNSRecordType")]
enum DnsRecordType {
    #[graphql(name = "DNS_RECORD_TYPE_CNAME")]
    Cname,
}

#[derive(SimpleObject)]
#[graphql(name = "DNSRecords")]
struct DnsRecords {
    current_value: String,
    fqdn: String,
    hostlabel: String,
    purpose: DnsRecordPurpose,
    record_type: DnsRecordType,
    required_value: String,
    status: DnsRecordStatus,
    zone: String,
}

#[derive(SimpleObject)]
struct CustomDomainStatus {
    certificate_error_message: Option<String>,
    certificate_error_type: Option<CertificateErrorType>,
    certificate_retryable: Option<bool>,
    certificate_status: CertificateStatus,
    dns_records: Vec<DnsRecords>,
    verification_dns_host: Option<String>,
    verification_token: Option<String>,
    verified: bool,
}

/// The last two labels; the sandbox has no list of public suffixes.
fn split_zone(domain: &str) -> (String, String) {
    let labels: Vec<_> = domain.split('.').collect();
    let (host, zone) = labels.split_at(labels.len().saturating_sub(2));
    let host = if host.is_empty() { "@".to_owned() } else { host.join(".") };
    (host, zone.join("."))
}

pub(crate) struct CustomDomain {
    row: Arc<rows::CustomDomain>,
    sync: Sync,
}

/// The custom domains of a service in an environment, those that are just going included.
pub(crate) fn custom_domains(request: &Request, environment: &str, service: &str) -> Vec<CustomDomain> {
    let world = request.world();
    world
        .custom_domains
        .iter()
        .filter(|row| row.environment_id == environment && row.service_id == service)
        .filter(|row| request.visible("domain", &row.times))
        .filter_map(|row| {
            let sync = listed(request, &row.times, row.updated_tick, row.deleted_tick)?;
            Some(CustomDomain { row: Arc::clone(row), sync })
        })
        .collect()
}

#[Object]
impl CustomDomain {
    async fn id(&self) -> ID {
        ID(self.row.id.clone())
    }

    async fn domain(&self) -> &str {
        &self.row.domain
    }

    async fn project_id(&self) -> Option<&str> {
        Some(&self.row.project_id)
    }

    async fn environment_id(&self) -> &str {
        &self.row.environment_id
    }

    async fn service_id(&self) -> &str {
        &self.row.service_id
    }

    async fn target_port(&self) -> Option<i32> {
        self.row.target_port
    }

    async fn edge_id(&self) -> Option<&str> {
        None
    }

    async fn is_railway_domain(&self) -> bool {
        false
    }

    async fn sync_status(&self) -> CustomDomainSyncStatus {
        self.sync.into()
    }

    /// Records come in no order; which one is first changes between reads.
    async fn status(&self, ctx: &Context<'_>) -> CustomDomainStatus {
        let request = request(ctx);
        let settings = &request.settings;
        let verified = ops::verified(&self.row, settings, request.core.clock.now());
        let issued = self
            .row
            .times
            .created_tick
            .saturating_add(ticks(settings.domain_verify_duration))
            .saturating_add(ticks(settings.domain_certificate_duration));
        let error = settings.domain_certificate_error.clone();
        let certificate = match (verified, request.core.clock.now() >= issued, &error) {
            (false, ..) => CertificateStatus::ValidatingOwnership,
            (true, false, _) => CertificateStatus::Issuing,
            (true, true, None) => CertificateStatus::Valid,
            (true, true, Some(_)) => CertificateStatus::IssueFailed,
        };
        let failed = certificate == CertificateStatus::IssueFailed;
        let (host, zone) = split_zone(&self.row.domain);
        let bare = host.strip_prefix("*.").unwrap_or(if host == "*" { "@" } else { &host }).to_owned();
        let under = |prefix: &str| if bare == "@" { prefix.to_owned() } else { format!("{prefix}.{bare}") };
        let record = |purpose, hostlabel: String, required: String| DnsRecords {
            current_value: if verified { required.clone() } else { String::new() },
            fqdn: if hostlabel == "@" { zone.clone() } else { format!("{hostlabel}.{zone}") },
            hostlabel,
            purpose,
            record_type: DnsRecordType::Cname,
            required_value: required,
            status: if verified { DnsRecordStatus::Propagated } else { DnsRecordStatus::RequiresUpdate },
            zone: zone.clone(),
        };
        let route = record(DnsRecordPurpose::TrafficRoute, host.clone(), self.row.cname.clone());
        let challenge = record(
            DnsRecordPurpose::AcmeChallenge,
            under("_acme-challenge"),
            format!("acme.{}", self.row.cname),
        );
        CustomDomainStatus {
            certificate_error_message: error.filter(|_| failed),
            certificate_error_type: failed.then_some(CertificateErrorType::AuthorizationFailed),
            certificate_retryable: failed.then_some(true),
            certificate_status: certificate,
            dns_records: if settings.unordered_rows && rand::random() {
                vec![challenge, route]
            } else {
                vec![route, challenge]
            },
            verification_dns_host: Some(format!("{}.{zone}", under("_railway-verify"))),
            verification_token: Some(self.row.verification.clone()),
            verified,
        }
    }

    async fn created_at(&self) -> Option<DateTime> {
        Some(DateTime(self.row.times.created_at))
    }

    async fn updated_at(&self) -> Option<DateTime> {
        Some(DateTime(self.row.times.updated_at))
    }

    async fn deleted_at(&self) -> Option<DateTime> {
        self.row.times.deleted_at.map(DateTime)
    }
}

pub(crate) struct TcpProxy {
    row: Arc<rows::TcpProxy>,
    sync: Sync,
}

#[Object(name = "TCPProxy")]
impl TcpProxy {
    async fn id(&self) -> ID {
        ID(self.row.id.clone())
    }

    /// Now and then with the dot of a fully qualified name.
    async fn domain(&self, ctx: &Context<'_>) -> String {
        let dotted = rand::random::<f64>() < request(ctx).settings.tcp_proxy_dot_probability;
        format!("{}{}", self.row.domain, if dotted { "." } else { "" })
    }

    async fn application_port(&self) -> i32 {
        self.row.application_port
    }

    async fn proxy_port(&self) -> i32 {
        self.row.proxy_port
    }

    async fn environment_id(&self) -> &str {
        &self.row.environment_id
    }

    async fn service_id(&self) -> &str {
        &self.row.service_id
    }

    async fn sync_status(&self) -> TcpProxySyncStatus {
        self.sync.into()
    }

    async fn created_at(&self) -> Option<DateTime> {
        Some(DateTime(self.row.times.created_at))
    }

    async fn updated_at(&self) -> Option<DateTime> {
        Some(DateTime(self.row.times.updated_at))
    }

    async fn deleted_at(&self) -> Option<DateTime> {
        self.row.times.deleted_at.map(DateTime)
    }
}

#[derive(SimpleObject)]
struct DomainAvailable {
    available: bool,
    message: String,
}

/// Reads.
#[derive(Default)]
pub(crate) struct Networks;

#[Object]
impl Networks {
    async fn custom_domain(&self, ctx: &Context<'_>, id: String, project_id: String) -> Result<CustomDomain> {
        let request = request(ctx);
        let row = ops::reach(&request.world(), &request.who, &id)?;
        if row.project_id != project_id || !request.visible("domain", &row.times) {
            return Err(Refusal::not_found("CustomDomain").into());
        }
        custom_domain(request, &id)
    }

    async fn custom_domain_available(&self, ctx: &Context<'_>, domain: String) -> Result<DomainAvailable> {
        let request = request(ctx);
        request.who.known()?;
        Ok(match ops::available(&request.world(), &domain) {
            Ok(_) => DomainAvailable { available: true, message: "Domain is available".to_owned() },
            Err(refusal) => DomainAvailable { available: false, message: refusal.message },
        })
    }

    async fn tcp_proxies(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
        service_id: String,
    ) -> Result<Vec<TcpProxy>> {
        let request = request(ctx);
        let world = request.world();
        request.who.environment(&world, &environment_id)?;
        request.who.service(&world, &service_id)?;
        let mut rows: Vec<_> = world
            .proxies
            .iter()
            .filter(|row| row.environment_id == environment_id && row.service_id == service_id)
            .filter(|row| request.visible("tcp_proxy", &row.times))
            .filter_map(|row| {
                let sync = listed(request, &row.times, row.times.created_tick, row.deleted_tick)?;
                Some(TcpProxy { row: Arc::clone(row), sync })
            })
            .collect();
        rows.sort_by_key(|proxy| (proxy.row.times.created_tick, proxy.row.id.clone()));
        Ok(rows)
    }
}

fn custom_domain(request: &Request, id: &str) -> Result<CustomDomain> {
    let row = request.world().custom_domains.get(id).cloned();
    let row = row.ok_or_else(|| Refusal::not_found("CustomDomain"))?;
    let sync = listed(request, &row.times, row.updated_tick, row.deleted_tick).unwrap_or(Sync::Deleted);
    Ok(CustomDomain { row, sync })
}

#[derive(InputObject)]
struct CustomDomainCreateInput {
    domain: String,
    environment_id: String,
    project_id: String,
    service_id: String,
    target_port: Option<i32>,
}

#[derive(InputObject)]
#[graphql(name = "TCPProxyCreateInput")]
struct TcpProxyCreateInput {
    application_port: i32,
    environment_id: String,
    service_id: String,
}

/// Writes.
#[derive(Default)]
pub(crate) struct NetworkWrites;

#[Object]
impl NetworkWrites {
    async fn custom_domain_create(
        &self,
        ctx: &Context<'_>,
        input: CustomDomainCreateInput,
    ) -> Result<CustomDomain> {
        let request = request(ctx);
        let new = ops::NewCustomDomain {
            project_id: input.project_id,
            environment_id: input.environment_id,
            service_id: input.service_id,
            domain: input.domain,
            target_port: input.target_port,
        };
        let id = request.mutate(Some(&new.environment_id), |draft, who, _| ops::create(draft, who, &new))?;
        custom_domain(request, &id)
    }

    async fn custom_domain_update(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
        id: String,
        target_port: Option<i32>,
    ) -> Result<bool> {
        request(ctx).mutate(Some(&environment_id), |draft, who, _| {
            ops::update(draft, who, &environment_id, &id, target_port)
        })?;
        Ok(true)
    }

    async fn custom_domain_delete(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        let request = request(ctx);
        let place = request.world().custom_domains.get(&id).map(|row| row.environment_id.clone());
        request.mutate(place.as_deref(), |draft, who, settings| ops::delete(draft, who, settings, &id))?;
        Ok(true)
    }

    #[graphql(deprecation)]
    async fn tcp_proxy_create(&self, ctx: &Context<'_>, input: TcpProxyCreateInput) -> Result<TcpProxy> {
        let request = request(ctx);
        // The port is bound first: one that is told to a client is really ours.
        let tcp = &request.core.parts.tcp;
        let id = new_id();
        let Some(port) = tcp.open_any(&id, &proxies::taken(&request.core.world())) else {
            return Err(Refusal::internal("Failed to create TCP proxy, please try again").into());
        };
        let (environment, service) = (&input.environment_id, &input.service_id);
        let created = request.mutate(Some(environment), |draft, who, _| {
            proxies::create(draft, who, environment, service, input.application_port, (&id, port))
        });
        if let Err(refusal) = created {
            tcp.close(&id);
            return Err(refusal.into());
        }
        let row = request.world().proxies.get(&id).cloned();
        let row = row.ok_or_else(|| Refusal::not_found("TCPProxy"))?;
        Ok(TcpProxy { row, sync: Sync::Creating })
    }

    async fn tcp_proxy_delete(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        let request = request(ctx);
        let place = request.world().proxies.get(&id).map(|row| row.environment_id.clone());
        request
            .mutate(place.as_deref(), |draft, who, settings| proxies::delete(draft, who, settings, &id))?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::split_zone;

    #[test]
    fn zones() {
        let pair = |host: &str, zone: &str| (host.to_owned(), zone.to_owned());
        assert_eq!(split_zone("example.com"), pair("@", "example.com"));
        assert_eq!(split_zone("a.b.example.com"), pair("a.b", "example.com"));
    }
}
