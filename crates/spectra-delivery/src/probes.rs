//! The HTTP probes of the services of a rollout.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use spectra_probe::{HttpProbe, service_url};
use spectra_railway::{Client, InstanceRef};
use spectra_rollout::{HealthPolicy, Measurement, Place, Probe, RolloutRequest, Verdict};
use spectra_types::error_chain;
use tokio::sync::Mutex;
use url::Url;

use crate::error::Error;

/// A probe for each service, made when it is first asked: a canary has no domain before it exists.
pub(crate) struct Probes {
    client: Client,
    main: Place,
    health: Option<HealthPolicy>,
    made: Mutex<HashMap<Place, Arc<HttpProbe>>>,
}

impl Probes {
    /// Finds out when it is asked for whether a service can be probed: on the way back, that is no reason to stop.
    pub(crate) fn lenient(client: &Client, request: &RolloutRequest) -> Self {
        Self {
            client: client.clone(),
            main: request.place.clone(),
            health: request.health.clone(),
            made: Mutex::default(),
        }
    }

    /// Finds out at once whether the rollout's own service can be probed.
    pub(crate) async fn new(client: &Client, request: &RolloutRequest) -> Result<Self, Error> {
        let probes = Self::lenient(client, request);
        if probes.health.is_some() {
            probes.probe(&request.place).await?;
        }
        Ok(probes)
    }

    async fn probe(&self, place: &Place) -> Result<Arc<HttpProbe>, Error> {
        if let Some(probe) = self.made.lock().await.get(place) {
            return Ok(Arc::clone(probe));
        }
        let mut health = self.health.clone().unwrap_or_default();
        // The whole URL is that of the rollout's own service.
        health.url = health.url.filter(|_| *place == self.main);
        let probe = Arc::new(http_probe(&self.client, place, &health).await?);
        self.made.lock().await.insert(place.clone(), Arc::clone(&probe));
        Ok(probe)
    }
}

/// The probe of a service: of its own domain, where no URL is given.
pub async fn http_probe(client: &Client, place: &Place, health: &HealthPolicy) -> Result<HttpProbe, Error> {
    let url = match &health.url {
        Some(url) => Url::parse(url).map_err(|error| Error::Probe(format!("`{url}` is no URL: {error}")))?,
        None => own_url(client, place, &health.path).await?,
    };
    HttpProbe::new(url, health.expected_status, health.timeout)
        .map_err(|error| Error::Probe(error_chain(&error)))
}

async fn own_url(client: &Client, place: &Place, path: &str) -> Result<Url, Error> {
    let found = client.fresh_instance(&InstanceRef::from(place)).await?;
    let Some(domain) = found.domains.first() else {
        return Err(Error::Probe(format!(
            "service `{}` has no domain, so there is nothing to ask; give it one and let the rollout depend on it, or \
             give the URL",
            found.service_name
        )));
    };
    service_url(&domain.domain)
        .and_then(|url| url.join(path))
        .map_err(|error| Error::Probe(format!("`{}` with `{path}` is no URL: {error}", domain.domain)))
}

impl Probe for Probes {
    fn measure<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Measurement> {
        Box::pin(async move {
            match self.probe(place).await {
                Ok(probe) => probe.measure().await,
                Err(error) => Measurement {
                    subject: format!("GET {place}"),
                    answer: error_chain(&error),
                    verdict: Verdict::Unhealthy,
                },
            }
        })
    }
}
