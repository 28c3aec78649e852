//! The receiving end: a webhook server whose answers are chosen by the path.

mod behaviour;
mod journal;

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use bridge_protocol::WebhookSecret;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use uuid::Uuid;

use behaviour::Behaviour;
use journal::{Arrival, Journal};

const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
const FLUSH_EVERY: Duration = Duration::from_millis(50);
const SLOWEST: Duration = Duration::from_secs(600);

/// Paths: /webhook/ok 200, /webhook/flaky 503 then 200, /webhook/broken 500 until POST /mend
/// (POST /break undoes it), /webhook/slow?ms=N waits, any other /webhook/... 200.
/// GET /seen/{execution_id} tells how often and with which attempts an execution arrived.
/// POST /v1/traces takes spans as a collector does, and throws them away.
#[derive(clap::Args)]
pub struct Args {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:18080")]
    bind: SocketAddr,
    /// Append one JSON line for each webhook
    #[arg(long)]
    record: Option<PathBuf>,
    /// Write each id and its arrival as 32 bytes (see record.rs); what `verify --seen` reads
    #[arg(long)]
    ids: Option<PathBuf>,
    /// Secret that the signatures are checked with; several while one is being rotated
    #[arg(long, value_name = "whsec_...", env = "BRIDGE_ENDPOINT_SECRET", hide_env_values = true)]
    secret: Vec<String>,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let secrets = args.secret.iter().map(|secret| WebhookSecret::parse(secret));
    let secrets = secrets.collect::<Result<Vec<_>, _>>().context("--secret is not usable")?;
    let journal = Journal::open(args.record.as_deref(), args.ids.as_deref(), secrets)?;
    let endpoint = Rc::new(Endpoint { behaviour: Behaviour::default(), journal: RefCell::new(journal) });
    let listener =
        TcpListener::bind(args.bind).await.with_context(|| format!("cannot listen on {}", args.bind))?;
    println!("endpoint listens on http://{}", listener.local_addr()?);
    serve(listener, endpoint).await
}

struct Endpoint {
    behaviour: Behaviour,
    journal: RefCell<Journal>,
}

async fn serve(listener: TcpListener, endpoint: Rc<Endpoint>) -> anyhow::Result<()> {
    let mut flush = tokio::time::interval(FLUSH_EVERY);
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    stream.set_nodelay(true)?;
                    tokio::task::spawn_local(connection(stream, endpoint.clone()));
                }
                // Out of descriptors, or the peer is already gone: the next one may work.
                Err(error) => {
                    eprintln!("cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            },
            _ = flush.tick() => endpoint.journal.borrow_mut().flush()?,
            _ = terminate.recv() => return endpoint.journal.borrow_mut().flush(),
            _ = tokio::signal::ctrl_c() => return endpoint.journal.borrow_mut().flush(),
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, endpoint: Rc<Endpoint>) {
    let service = service_fn(move |request| {
        let endpoint = endpoint.clone();
        async move { Ok::<_, Infallible>(endpoint.answer(request).await) }
    });
    // A caller that hangs up is part of what this endpoint is for.
    let _closed = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Endpoint {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
            return json(StatusCode::BAD_REQUEST, r#"{"ok":false,"message":"the body broke off"}"#);
        };
        let path = parts.uri.path();
        if let Some(hook) = path.strip_prefix("/webhook/") {
            return self.webhook(hook, &parts, &body.to_bytes()).await;
        }
        match (&parts.method, path) {
            (&Method::POST, "/mend") => self.behaviour.mend(true),
            (&Method::POST, "/break") => self.behaviour.mend(false),
            (&Method::GET, "/seen") => return json(StatusCode::OK, self.journal.borrow().totals()),
            (&Method::GET, "/health") => {}
            (&Method::POST, "/v1/traces") => return taken(),
            (&Method::GET, _) if path.starts_with("/seen/") => return self.seen(&path["/seen/".len()..]),
            _ => return json(StatusCode::NOT_FOUND, r#"{"ok":false,"message":"no such path"}"#),
        }
        json(StatusCode::OK, r#"{"ok":true}"#)
    }

    async fn webhook(&self, hook: &str, parts: &http::request::Parts, body: &Bytes) -> Response<Full<Bytes>> {
        let id = text(&parts.headers, "x-execution-id").and_then(|id| Uuid::try_parse(id).ok());
        let (arrived, first) = {
            let journal = self.journal.borrow();
            (journal.now(), id.is_none_or(|id| !journal.knows(id)))
        };
        let status = self.behaviour.status(hook, first);
        let arrival =
            Arrival { at: arrived, path: parts.uri.path(), id, headers: &parts.headers, body, status };
        if let Err(error) = self.journal.borrow_mut().write(&arrival) {
            eprintln!("cannot record an arrival: {error:#}");
            return json(StatusCode::INTERNAL_SERVER_ERROR, r#"{"ok":false,"message":"cannot record"}"#);
        }
        if let Some(wait) = behaviour::wait(hook, parts.uri.query()) {
            tokio::time::sleep(wait.min(SLOWEST)).await;
        }
        match status {
            StatusCode::OK => json(status, r#"{"ok":true}"#),
            _ => json(status, r#"{"ok":false,"message":"this path fails on purpose"}"#),
        }
    }

    fn seen(&self, id: &str) -> Response<Full<Bytes>> {
        match Uuid::try_parse(id) {
            Ok(id) => json(StatusCode::OK, self.journal.borrow().seen(id)),
            Err(_) => json(StatusCode::BAD_REQUEST, r#"{"ok":false,"message":"not an execution id"}"#),
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// An OTLP answer that has nothing to say is empty.
fn taken() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    let kind = http::HeaderValue::from_static("application/x-protobuf");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests;
