//! A webhook endpoint that answers as it is told and remembers what it was sent. Written on the bare socket: it must
//! also hang, reset and never end, which a server library would not let it do.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::wait::PATIENCE;

/// How one request is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// This status with a small JSON body.
    Status(u16),
    Body {
        status: u16,
        content_type: &'static str,
        body: &'static str,
    },
    RetryAfter {
        status: u16,
        seconds: u64,
    },
    Redirect(&'static str),
    /// 200 with a body of this many bytes.
    Huge(u64),
    Slow(Duration),
    /// No answer until `release` is called for the path, then 200.
    Held,
    /// The connection is reset after the request was read.
    Reset,
}

/// A request that was received.
#[derive(Clone, Debug)]
pub struct Fired {
    pub workflow: String,
    pub execution: String,
    pub tenant: String,
    pub attempt: u16,
    pub headers: HashMap<String, String>,
    pub body: Bytes,
}

impl Fired {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct Told {
    scripts: HashMap<String, Vec<Reply>>,
    fired: Vec<Fired>,
    /// How the answers ended, in their order: workflow and execution.
    answered: Vec<(String, String)>,
}

pub struct Endpoint {
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
    changes: Arc<watch::Sender<u64>>,
    gate: Arc<watch::Sender<Vec<String>>>,
    accepting: JoinHandle<()>,
}

impl Endpoint {
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let told = Arc::new(Mutex::new(Told::default()));
        let changes = Arc::new(watch::Sender::new(0));
        let gate = Arc::new(watch::Sender::new(Vec::new()));
        let connection = Connection { told: told.clone(), changes: changes.clone(), gate: gate.clone() };
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = connection.clone();
                tokio::spawn(async move {
                    // A caller that goes away is its own business.
                    drop(connection.serve(stream).await);
                });
            }
        });
        Ok(Self { address, told, changes, gate, accepting })
    }

    /// For `webhook.default_url`: every workflow has its path.
    pub fn url(&self) -> String {
        format!("http://{}/{{workflow_id}}", self.address)
    }

    /// The answers of one workflow in turn; the last one stays. Without a script the answer is 200.
    pub fn script(&self, workflow: &str, replies: impl IntoIterator<Item = Reply>) {
        let replies = replies.into_iter().collect();
        self.told.lock().unwrap().scripts.insert(workflow.to_owned(), replies);
    }

    /// Lets the held requests of a workflow go, those that wait and those that come.
    pub fn release(&self, workflow: &str) {
        self.gate.send_modify(|open| open.push(workflow.to_owned()));
    }

    pub fn fired(&self) -> Vec<Fired> {
        self.told.lock().unwrap().fired.clone()
    }

    pub fn fired_of(&self, execution: &str) -> Vec<Fired> {
        self.fired().into_iter().filter(|fired| fired.execution == execution).collect()
    }

    /// Deliveries by execution.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for fired in &self.told.lock().unwrap().fired {
            *counts.entry(fired.execution.clone()).or_default() += 1;
        }
        counts
    }

    /// Workflow and execution of the requests that were answered, in the order of the answers.
    pub fn answered(&self) -> Vec<(String, String)> {
        self.told.lock().unwrap().answered.clone()
    }

    /// Waits, without polling, until the requests so far satisfy `enough`.
    pub async fn wait_for(&self, what: &str, enough: impl Fn(&[Fired]) -> bool) -> Vec<Fired> {
        let mut changes = self.changes.subscribe();
        let arrival = async {
            loop {
                let fired = self.fired();
                if enough(&fired) {
                    return fired;
                }
                changes.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, arrival).await {
            Ok(fired) => fired,
            Err(_) => panic!("waited {PATIENCE:?} for {what}; the endpoint has {:?}", self.counts()),
        }
    }

    pub async fn wait_for_execution(&self, execution: &str, times: usize) -> Vec<Fired> {
        let of = |fired: &[Fired]| fired.iter().filter(|fired| fired.execution == execution).count();
        self.wait_for(&format!("{times} requests of {execution}"), |fired| of(fired) >= times).await;
        self.fired_of(execution)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Clone)]
struct Connection {
    told: Arc<Mutex<Told>>,
    changes: Arc<watch::Sender<u64>>,
    gate: Arc<watch::Sender<Vec<String>>>,
}

impl Connection {
    async fn serve(self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        while let Some(fired) = read_request(&mut stream).await? {
            let (workflow, execution) = (fired.workflow.clone(), fired.execution.clone());
            let reply = self.note(fired);
            let (head, body) = match reply {
                Reply::Status(status) => answer(status, "", br#"{"ok":true}"#),
                Reply::Body { status, content_type, body } => {
                    answer(status, &format!("content-type: {content_type}\r\n"), body.as_bytes())
                }
                Reply::RetryAfter { status, seconds } => {
                    answer(status, &format!("retry-after: {seconds}\r\n"), b"")
                }
                Reply::Redirect(to) => answer(302, &format!("location: {to}\r\n"), b""),
                Reply::Slow(time) => {
                    tokio::time::sleep(time).await;
                    answer(200, "", b"{}")
                }
                Reply::Held => {
                    let mut gate = self.gate.subscribe();
                    drop(gate.wait_for(|open| open.contains(&workflow)).await);
                    answer(200, "", b"{}")
                }
                Reply::Huge(bytes) => return huge(stream.into_inner(), bytes).await,
                Reply::Reset => {
                    stream.get_ref().set_zero_linger()?;
                    return Ok(());
                }
            };
            self.told.lock().unwrap().answered.push((workflow, execution));
            stream.write_all(&[head.as_bytes(), &body].concat()).await?;
        }
        Ok(())
    }

    fn note(&self, fired: Fired) -> Reply {
        let mut told = self.told.lock().unwrap();
        let reply = match told.scripts.get_mut(&fired.workflow) {
            Some(replies) if replies.len() > 1 => replies.remove(0),
            Some(replies) => replies.first().cloned().unwrap_or(Reply::Status(200)),
            None => Reply::Status(200),
        };
        told.fired.push(fired);
        drop(told);
        self.changes.send_modify(|number| *number += 1);
        reply
    }
}

fn answer(status: u16, headers: &str, body: &[u8]) -> (String, Vec<u8>) {
    let json = if headers.contains("content-type") { "" } else { "content-type: application/json\r\n" };
    (
        format!("HTTP/1.1 {status} Scripted\r\n{json}{headers}content-length: {}\r\n\r\n", body.len()),
        body.to_vec(),
    )
}

async fn huge(mut stream: TcpStream, bytes: u64) -> std::io::Result<()> {
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {bytes}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let chunk = vec![b'x'; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(chunk.len() as u64) as usize;
        stream.write_all(&chunk[..now]).await?;
        left -= now as u64;
    }
    Ok(())
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Fired>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let workflow = line.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
    Ok(Some(Fired {
        workflow,
        execution: header("x-execution-id"),
        tenant: header("x-tenant-id"),
        attempt: header("x-attempt").parse().unwrap_or(0),
        body: body.into(),
        headers,
    }))
}
