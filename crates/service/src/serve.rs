//! Serves a router: bounded connections, time limits for a request's head and for a peer that does not take its
//! answer, no Nagle delay, graceful shutdown.

mod impatient;

use crate::lifecycle::Lifecycle;
use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use impatient::Impatient;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The address a request's connection comes from, in the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

#[derive(Debug, Clone, Copy)]
pub struct ServeLimits {
    /// Open connections; more wait in the listen queue.
    pub connections: usize,
    /// How long a request's head may take, also the longest idle time between two requests.
    pub header_timeout: Duration,
    /// How long an answer may lie there without the peer taking any of it.
    pub write_timeout: Duration,
}

/// Accepts until the soft stop, then lets each connection end its request, until the hard stop. Returns when the
/// last connection is closed.
pub async fn serve(listener: TcpListener, router: Router, limits: ServeLimits, lifecycle: Lifecycle) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let connections = tokio_util::task::TaskTracker::new();
    let accepting = async {
        loop {
            // The semaphore is never closed.
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, from)) => {
                    let (router, peer) = (router.clone(), Peer(from));
                    connections.spawn(connection(stream, peer, slot, router, limits, lifecycle.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: accepting again at once would spin.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    lifecycle.soft.run_until_cancelled(accepting).await;
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(
    stream: TcpStream,
    peer: Peer,
    _slot: OwnedSemaphorePermit,
    router: Router,
    limits: ServeLimits,
    lifecycle: Lifecycle,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let connection =
        builder.serve_connection(TokioIo::new(Impatient::new(stream, limits.write_timeout)), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = lifecycle.soft.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = lifecycle.hard.cancelled() => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_head_that_never_ends_is_cut_and_a_stop_waits_for_the_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let lifecycle = Lifecycle::default();
        let (entered, enter) = tokio::sync::oneshot::channel::<()>();
        let entered = Arc::new(std::sync::Mutex::new(Some(entered)));
        let release = Arc::new(tokio::sync::Notify::new());
        let (gate, seen) = (release.clone(), entered.clone());
        let router = Router::new().route(
            "/slow",
            get(move |axum::Extension(Peer(from)): axum::Extension<Peer>| async move {
                seen.lock().unwrap().take().unwrap().send(()).unwrap();
                gate.notified().await;
                format!("done for {from}")
            }),
        );
        let limits = ServeLimits {
            connections: 4,
            header_timeout: Duration::from_millis(200),
            write_timeout: Duration::from_secs(30),
        };
        let server = tokio::spawn(serve(listener, router, limits, lifecycle.clone()));

        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").await.unwrap();
        let mut rest = Vec::new();
        slow.read_to_end(&mut rest).await.unwrap();

        let mut good = TcpStream::connect(address).await.unwrap();
        good.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        enter.await.unwrap();
        lifecycle.soft.cancel();
        release.notify_one();
        let mut answer = String::new();
        good.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with(&format!("done for {}", good.local_addr().unwrap())), "{answer}");
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_cut_and_its_slot_is_free_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let lifecycle = Lifecycle::default();
        let large = || async { vec![b'x'; LARGE] };
        let router = Router::new().route("/large", get(large)).route("/small", get(async || "small"));
        let limits = ServeLimits {
            connections: 1,
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_millis(200),
        };
        let server = tokio::spawn(serve(listener, router, limits, lifecycle.clone()));

        let mut deaf = TcpStream::connect(address).await.unwrap();
        deaf.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        // The only slot: an answer says that it was given back.
        let mut next = TcpStream::connect(address).await.unwrap();
        next.write_all(b"GET /small HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        next.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("small"), "{answer}");
        let mut got = Vec::new();
        let _ended = deaf.read_to_end(&mut got).await;
        assert!(got.len() < LARGE, "{}", got.len());

        // One that reads, however slowly it begins, gets all of it.
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut got = Vec::new();
        slow.read_to_end(&mut got).await.unwrap();
        assert!(got.len() > LARGE);
        lifecycle.soft.cancel();
        server.await.unwrap();
    }

    /// More than two sockets' buffers hold.
    const LARGE: usize = 64 << 20;
}
