//! The simulated runtime: every instance is a real HTTP server on a loopback port of its own.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::body::Body;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;
use spectra_types::HumanDuration;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::JoinHandle,
};

use super::{
    behaviour::Behaviour,
    server::{Ending, serve},
};
use crate::{
    clock::Clock,
    contract::{Instance, InstanceSpec, InstanceStatus, LogLine, Runtime, StartError},
};

/// How many connections wait to be accepted.
const BACKLOG: u32 = 1024;

/// A request that carries it is answered with 500. The health path does not look at it.
pub const ERROR_HEADER: &str = "x-spectra-sandbox-error";
/// How much longer than the image says the answer to a request takes, as a duration of sandbox time; any other text
/// is answered with 400.
pub const LATENCY_HEADER: &str = "x-spectra-sandbox-latency";

/// Starts simulated instances.
#[derive(Debug, Clone)]
pub struct SimulatedRuntime {
    clock: Clock,
    seed: u64,
}

impl SimulatedRuntime {
    /// Behaviour runs on `clock`; `seed` decides which requests an `error-rate` hits, so that two runs with the
    /// same seed and the same requests see the same errors.
    #[must_use]
    pub const fn new(clock: Clock, seed: u64) -> Self {
        Self { clock, seed }
    }

    fn start_now(&self, spec: InstanceSpec) -> Result<SimulatedInstance, StartError> {
        let failed = |reason: String| StartError {
            deployment: spec.deployment_id.to_string(),
            replica: spec.replica,
            reason,
        };
        let behaviour =
            Behaviour::from_labels(&spec.pulled.labels).map_err(|error| failed(error.to_string()))?;
        let (socket, addr) = reserve_port().map_err(|error| failed(format!("no loopback port: {error}")))?;
        let (status, status_reader) = watch::channel(InstanceStatus::Starting);
        let (ending, ending_reader) = watch::channel(Ending::None);
        let application = Arc::new(Application {
            seed: self.seed ^ (u64::from(spec.replica) << 32),
            clock: self.clock.clone(),
            requests: AtomicU64::new(0),
            behaviour,
            addr,
            spec,
        });
        let task = tokio::spawn(application.run(socket, status, ending_reader));
        Ok(SimulatedInstance { addr, status: status_reader, ending, task })
    }
}

impl Runtime for SimulatedRuntime {
    fn start(&self, spec: InstanceSpec) -> BoxFuture<'_, Result<Box<dyn Instance>, StartError>> {
        Box::pin(async move { self.start_now(spec).map(|instance| Box::new(instance) as Box<dyn Instance>) })
    }
}

/// Takes a port without listening on it: until `start-delay` is over, connections are refused as they are by a
/// process that is not ready, and nobody else can have the port.
fn reserve_port() -> io::Result<(TcpSocket, SocketAddr)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let addr = socket.local_addr()?;
    Ok((socket, addr))
}

struct SimulatedInstance {
    addr: SocketAddr,
    status: watch::Receiver<InstanceStatus>,
    ending: watch::Sender<Ending>,
    task: JoinHandle<()>,
}

impl Instance for SimulatedInstance {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The one server is whatever program the port belongs to.
    fn addr_of(&self, _port: u16) -> Option<SocketAddr> {
        Some(self.addr)
    }

    fn status(&self) -> watch::Receiver<InstanceStatus> {
        self.status.clone()
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.ending.send_if_modified(|ending| {
                let first = *ending == Ending::None;
                if first {
                    *ending = Ending::Graceful(grace);
                }
                first
            });
            let over = |status: &InstanceStatus| {
                matches!(status, InstanceStatus::Stopped | InstanceStatus::Exited(_))
            };
            // An error means that the task is gone, which is what was asked for.
            let _ = self.status.clone().wait_for(over).await;
        })
    }
}

impl Drop for SimulatedInstance {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The program that an instance pretends to be.
struct Application {
    spec: InstanceSpec,
    behaviour: Behaviour,
    clock: Clock,
    addr: SocketAddr,
    seed: u64,
    requests: AtomicU64,
}

impl Application {
    async fn run(
        self: Arc<Self>,
        socket: TcpSocket,
        status: watch::Sender<InstanceStatus>,
        mut ending: watch::Receiver<Ending>,
    ) {
        let over = self.live(socket, &status, &mut ending).await;
        if let InstanceStatus::Exited(code) = over {
            self.log(code != 0, format!("exited with code {code}"));
        }
        status.send_replace(over);
    }

    /// From start to end. Everything that holds the port is gone when this returns.
    async fn live(
        self: &Arc<Self>,
        socket: TcpSocket,
        status: &watch::Sender<InstanceStatus>,
        ending: &mut watch::Receiver<Ending>,
    ) -> InstanceStatus {
        if let Some(code) = self.behaviour.exit {
            return InstanceStatus::Exited(code);
        }
        tokio::select! {
            () = self.clock.sleep(self.behaviour.start_delay) => {}
            _ = ending.wait_for(|ending| *ending != Ending::None) => return InstanceStatus::Stopped,
        }
        let listener: TcpListener = match socket.listen(BACKLOG) {
            Ok(listener) => listener,
            Err(error) => {
                self.log(true, format!("cannot listen on {}: {error}", self.addr));
                return InstanceStatus::Exited(1);
            }
        };
        self.log(false, format!("listening on port {}", self.addr.port()));
        status.send_replace(InstanceStatus::Running);
        let crash = async {
            match self.behaviour.crash_after {
                Some(after) => self.clock.sleep(after).await,
                None => std::future::pending().await,
            }
        };
        let application = Arc::clone(self);
        let respond = move |request: Request<Incoming>| {
            let application = Arc::clone(&application);
            async move { application.respond(&request).await }
        };
        tokio::select! {
            () = serve(listener, ending.clone(), respond) => InstanceStatus::Stopped,
            () = crash => {
                self.log(true, "crashed: the image's label says so".to_owned());
                InstanceStatus::Exited(1)
            }
        }
    }

    async fn respond(&self, request: &Request<Incoming>) -> Response<Body> {
        let began = Instant::now();
        let path = request.uri().path();
        let probed = self.behaviour.health_path.as_deref() == Some(path);
        let wish = |name: &str| request.headers().get(name).filter(|_| !probed);
        let more = wish(LATENCY_HEADER).map_or(Some(HumanDuration::default()), |value| {
            value.to_str().ok().and_then(|text| text.parse().ok())
        });
        self.clock.sleep(self.behaviour.latency.saturating_add(more.unwrap_or_default().get())).await;
        let status = if more.is_none() {
            StatusCode::BAD_REQUEST
        } else if wish(ERROR_HEADER).is_some() {
            StatusCode::INTERNAL_SERVER_ERROR
        } else {
            self.status_for(path)
        };
        let (body, kind) = match &self.behaviour.body {
            Some(body) if path == "/" => (body.clone(), "text/plain; charset=utf-8"),
            _ => {
                let description = json!({
                    "service": self.spec.service,
                    "digest": self.spec.image.digest().to_string(),
                    "replica": self.spec.replica,
                    "deployment": self.spec.deployment_id.to_string(),
                });
                (description.to_string(), "application/json")
            }
        };
        self.log(
            status.is_server_error(),
            format!("{} {path} {} {}ms", request.method(), status.as_u16(), began.elapsed().as_millis()),
        );
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }

    fn status_for(&self, path: &str) -> StatusCode {
        let behaviour = &self.behaviour;
        if behaviour.health_path.as_deref() == Some(path) {
            return behaviour.health_status;
        }
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        if fraction(self.seed, number) < behaviour.error_rate {
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        match &behaviour.health_path {
            None => behaviour.health_status,
            Some(_) if path == "/" => StatusCode::OK,
            Some(_) => StatusCode::NOT_FOUND,
        }
    }

    /// Whoever read the logs may be gone; that is no error of the instance.
    fn log(&self, error: bool, message: String) {
        let _ = self.spec.logs.send(LogLine { error, message });
    }
}

/// A number from 0 up to but not including 1 that depends on seed and request alone (the `SplitMix64` mixer).
fn fraction(seed: u64, number: u64) -> f64 {
    let mut mixed = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let top = u32::try_from(mixed >> 32).unwrap_or(u32::MAX);
    f64::from(top) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_rate_is_kept_and_repeats_with_its_seed() {
        let hits = |seed: u64| (0..10_000).filter(|number| fraction(seed, *number) < 0.3).collect::<Vec<_>>();
        assert_eq!(hits(7), hits(7));
        assert_ne!(hits(7), hits(8));
        assert!((2_800..3_200).contains(&hits(7).len()));
        assert!(!(0..10_000).any(|number| fraction(7, number) < 0.0));
        assert!((0..10_000).all(|number| fraction(7, number) < 1.0));
    }
}
