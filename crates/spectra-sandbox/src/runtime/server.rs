//! A small HTTP server that can end in the two ways a process can: gracefully, or at once.
//!
//! Written on hyper itself, for the ready-made servers detach their connections and so cannot crash.

use std::{convert::Infallible, future::Future, pin::pin, time::Duration};

use axum::body::Body;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::connections::next;

/// How a server ends when it is asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Go on.
    None,
    /// Take no new connections, finish what is in flight, at most so long in real time.
    Graceful(Duration),
}

/// Serves until `ending` says so, or until this future is dropped, which cuts every connection.
pub(super) async fn serve<S, F>(listener: TcpListener, mut ending: watch::Receiver<Ending>, respond: S)
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    // Dropped with this future, and aborts its tasks then.
    let mut connections = JoinSet::new();
    let grace = loop {
        tokio::select! {
            stream = next(&listener) => {
                connections.spawn(connection(stream, ending.clone(), respond.clone()));
            }
            Some(_) = connections.join_next() => {}
            grace = asked(&mut ending) => break grace,
        }
    };
    drop(listener);
    let all_done = async { while connections.join_next().await.is_some() {} };
    // What does not finish in time is cut when the set is dropped.
    let _ = tokio::time::timeout(grace, all_done).await;
}

async fn connection<S, F>(stream: tokio::net::TcpStream, mut ending: watch::Receiver<Ending>, respond: S)
where
    S: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let response = respond(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let mut connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = asked(&mut ending) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to a simulated instance broke");
    }
}

/// Waits until the server is asked to end. A sender that is gone asks for the shortest end.
async fn asked(ending: &mut watch::Receiver<Ending>) -> Duration {
    let asked = ending.wait_for(|ending| *ending != Ending::None).await.map(|ending| *ending);
    match asked {
        Ok(Ending::Graceful(grace)) => grace,
        _ => Duration::ZERO,
    }
}
