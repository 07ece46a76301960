//! Traffic that the sandbox makes itself: the profiles of the settings and the `traffic` label of images. Requests go
//! to the service's domain through the same proxy as everybody's, at the pace of the sandbox's clock.
//!
//! Bounded on every side: what falls due while the clock jumps or the services are too slow is not made up for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Request, header};
use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::clock::Tick;
use crate::core::Core;
use crate::runtime::{ERROR_HEADER, LATENCY_HEADER};
use crate::settings::Profile;
use crate::store::World;
use crate::store::rows::Deployment;

/// Most requests on their way at a time.
const AT_ONCE: usize = 16;
/// Most requests that wait for one of those to be answered.
const WAITING: usize = 256;
/// Most requests of one stream that are sent for one look at the clock.
const BURST: u32 = 100;

/// What the requests call themselves in HTTP logs.
const AGENT: &str = "spectra-sandbox-traffic/1";

/// One stream of requests.
#[derive(Debug, Clone, PartialEq)]
struct Stream {
    /// With the port.
    domain: String,
    profile: Profile,
}

/// Environment, service, and the place of the profile in the settings; without one the image asks for it.
type Key = (String, String, Option<usize>);

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pace {
    /// When the next request is due: sandbox milliseconds.
    next: f64,
    /// The part of an error that has added up.
    owed: f64,
}

impl Pace {
    /// How many requests are due at `now`, and whether each is to fail.
    fn due(&mut self, now: Tick, profile: &Profile) -> Vec<bool> {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
        let now = now as f64;
        let interval = 1000.0 / profile.rps;
        // After a change of the rate the next request is at most one interval away.
        self.next = self.next.min(now + interval);
        let mut failing = Vec::new();
        for _ in 0..BURST {
            if self.next > now {
                return failing;
            }
            self.next += interval;
            self.owed += profile.error_rate;
            let fails = self.owed >= 1.0;
            if fails {
                self.owed -= 1.0;
            }
            failing.push(fails);
        }
        self.next = self.next.max(now);
        failing
    }
}

/// Sends what is due until the sandbox stops; what is on its way then is given up.
pub(crate) async fn run(core: Arc<Core>) {
    let mut changes = core.changes();
    let mut paces: BTreeMap<Key, Pace> = BTreeMap::new();
    let mut sent = JoinSet::new();
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        // Marked as seen before the look, so that no change is missed between the two.
        changes.mark_unchanged();
        let streams = streams(&core);
        paces.retain(|key, _| streams.contains_key(key));
        let now = core.clock.now();
        let mut next = None::<f64>;
        for (key, stream) in streams {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
            let pace = paces.entry(key).or_insert(Pace { next: now as f64, owed: 0.0 });
            while sent.try_join_next().is_some() {}
            for fails in pace.due(now, &stream.profile) {
                if sent.len() < AT_ONCE + WAITING
                    && let Some(request) = request(&stream, fails)
                {
                    sent.spawn(send(Arc::clone(&core), Arc::clone(&at_once), request));
                }
            }
            next = Some(next.map_or(pace.next, |next| next.min(pace.next)));
        }
        let time = async {
            match next {
                Some(tick) => core.clock.sleep_until(up(tick)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = core.shutdown.cancelled() => return,
            news = changes.changed() => if news.is_err() { return },
            () = time => {}
        }
    }
}

/// The first tick at or after a moment.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "moments are after 1970; `as` saturates"
)]
fn up(moment: f64) -> Tick {
    moment.ceil() as Tick
}

/// Every stream that there should be now. A service gets what the settings say, or else what its image says.
fn streams(core: &Core) -> BTreeMap<Key, Stream> {
    let (world, settings) = (core.world(), core.settings());
    let mut streams = BTreeMap::new();
    for (place, profile) in settings.traffic.iter().enumerate() {
        for instance in world.instances.iter().filter(|row| row.times.live()) {
            let (environment, service) = (&instance.environment_id, &instance.service_id);
            if matches(profile, &world, environment, service) && world.active(environment, service).is_some()
            {
                let key = (environment.clone(), service.clone(), Some(place));
                streams.extend(
                    domain(&world, environment, service)
                        .map(|domain| (key, Stream { domain, profile: profile.clone() })),
                );
            }
        }
    }
    for span in core.traffic.spans(|span| span.to.is_none() && span.usage.traffic > 0.0) {
        let Some(row) = world.deployments.get(&span.deployment) else { continue };
        let Deployment { environment_id: environment, service_id: service, .. } = &**row;
        let active = world.active(environment, service).is_some_and(|active| active.id == row.id);
        if !active || settings.traffic.iter().any(|profile| matches(profile, &world, environment, service)) {
            continue;
        }
        let key = (environment.clone(), service.clone(), None);
        let profile = Profile::of_image(service, span.usage.traffic);
        streams.extend(domain(&world, environment, service).map(|domain| (key, Stream { domain, profile })));
    }
    streams
}

fn matches(profile: &Profile, world: &World, environment: &str, service: &str) -> bool {
    let named = |wanted: &str, id: &str, name: Option<&str>| wanted == id || name == Some(wanted);
    named(&profile.service, service, world.service(service).map(|row| row.name.as_str()))
        && profile.environment.as_ref().is_none_or(|wanted| {
            named(wanted, environment, world.environment(environment).map(|row| row.name.as_str()))
        })
}

/// The oldest domain of a service in an environment.
fn domain(world: &World, environment: &str, service: &str) -> Option<String> {
    world
        .domains
        .iter()
        .filter(|row| row.environment_id == environment && row.service_id == service && row.times.live())
        .min_by_key(|row| (row.times.created_tick, row.id.as_str()))
        .map(|row| row.domain.clone())
}

fn request(stream: &Stream, fails: bool) -> Option<Request<Body>> {
    let profile = &stream.profile;
    let mut request = Request::builder()
        .method(profile.method.as_str())
        .uri(&profile.path)
        .header(header::HOST, &stream.domain)
        .header(header::USER_AGENT, AGENT);
    if fails {
        request = request.header(ERROR_HEADER, HeaderValue::from_static("1"));
    }
    if !profile.latency.get().is_zero() {
        request = request.header(LATENCY_HEADER, profile.latency.to_string());
    }
    match request.body(Body::empty()) {
        Ok(request) => Some(request),
        Err(error) => {
            tracing::warn!(%error, path = profile.path, "a request of a traffic profile cannot be sent");
            None
        }
    }
}

/// How long one request may take, in real time: an answer without an end must not keep its turn for ever.
const PATIENCE: Duration = Duration::from_secs(30);

async fn send(core: Arc<Core>, at_once: Arc<Semaphore>, request: Request<Body>) {
    // The semaphore is never closed; without it the request would still be one of few.
    let _turn = at_once.acquire().await;
    let read = async {
        let mut body = core.parts.edge.handle(request).await.into_body();
        // Read to the end, as a client does, so that the replica is done with it.
        while let Some(Ok(_)) = body.frame().await {}
    };
    if tokio::time::timeout(PATIENCE, read).await.is_err() {
        tracing::debug!("a request of a traffic profile had no end and was given up");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_and_the_part_of_errors_are_kept() {
        let mut profile = Profile::of_image("web", 4.0);
        profile.error_rate = 0.25;
        let mut pace = Pace { next: 0.0, owed: 0.0 };
        assert_eq!(pace.due(0, &profile), [false]);
        assert!(pace.due(249, &profile).is_empty());
        assert_eq!(pace.due(1_000, &profile), [false, false, true, false]);
        let later: usize = (5..=20).map(|tick| pace.due(tick * 250, &profile).len()).sum();
        assert_eq!(later, 16);
    }

    #[test]
    fn a_jump_of_the_clock_is_not_made_up_for() {
        let profile = Profile::of_image("web", 1_000.0);
        let mut pace = Pace { next: 0.0, owed: 0.0 };
        assert_eq!(pace.due(3_600_000, &profile).len(), BURST as usize);
        assert!(pace.due(3_600_010, &profile).len() <= 11);
    }
}
