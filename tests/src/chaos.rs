//! A TCP proxy that misbehaves on demand: it stands between a client and Postgres, or any other server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    /// Bytes stay where they are, in both directions.
    Stall,
    /// Open connections are cut and new ones closed at once.
    Refuse,
    /// The next bytes from the server are thrown away and the connection is cut; then as `Refuse`.
    LoseAnswer,
    /// As `LoseAnswer`, for the answer to the next COMMIT.
    LoseCommit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Orders {
    mode: Mode,
    /// Connections of an earlier number are cut.
    cuts: u32,
}

pub struct ChaosProxy {
    address: SocketAddr,
    orders: Arc<watch::Sender<Orders>>,
    lost: watch::Receiver<u32>,
    accepting: JoinHandle<()>,
}

impl ChaosProxy {
    /// In front of the server of a `postgres://` or `http://` URL; the second value is the URL through the proxy.
    pub async fn before(url: &str) -> anyhow::Result<(Self, String)> {
        let mut url = url::Url::parse(url)?;
        let server = (url.host_str().unwrap_or("127.0.0.1").to_owned(), url.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let orders = Arc::new(watch::Sender::new(Orders { mode: Mode::Pass, cuts: 0 }));
        let (losses, lost) = watch::channel(0);
        let accepting = tokio::spawn(accept(listener, server, orders.clone(), losses));
        url.set_ip_host(address.ip()).map_err(|()| anyhow::anyhow!("the URL takes no host"))?;
        url.set_port(Some(address.port())).map_err(|()| anyhow::anyhow!("the URL takes no port"))?;
        Ok((Self { address, orders, lost, accepting }, url.into()))
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pass(&self) {
        self.order(Mode::Pass);
    }

    pub fn stall(&self) {
        self.order(Mode::Stall);
    }

    /// Cuts every connection and refuses new ones until `pass`.
    pub fn refuse(&self) {
        self.order(Mode::Refuse);
    }

    /// Cuts every connection; new ones are served.
    pub fn cut(&self) {
        self.orders.send_modify(|orders| *orders = Orders { mode: Mode::Pass, cuts: orders.cuts + 1 });
    }

    /// The server will do what it is asked next, and nobody will hear of it. From that moment on connections are
    /// refused, so that a test can look at what was done, until `pass`.
    pub fn lose_next_answer(&self) {
        self.order(Mode::LoseAnswer);
    }

    /// The next transaction will be committed, and nobody will hear of it; then as `lose_next_answer`.
    pub fn lose_answer_to_commit(&self) {
        self.order(Mode::LoseCommit);
    }

    fn order(&self, mode: Mode) {
        self.orders.send_modify(|orders| orders.mode = mode);
    }

    /// Waits until the answer was lost.
    pub async fn lost(&mut self) -> anyhow::Result<()> {
        let deadline = tokio::time::timeout(crate::wait::PATIENCE, self.lost.changed());
        Ok(deadline.await.map_err(|_| anyhow::anyhow!("no answer came that could be lost"))??)
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.order(Mode::Refuse);
    }
}

async fn accept(
    listener: TcpListener,
    server: (String, u16),
    orders: Arc<watch::Sender<Orders>>,
    losses: watch::Sender<u32>,
) {
    let losses = Arc::new(Mutex::new(losses));
    while let Ok((client, _)) = listener.accept().await {
        if orders.borrow().mode == Mode::Refuse {
            continue;
        }
        let (server, orders, losses) = (server.clone(), orders.clone(), losses.clone());
        tokio::spawn(async move {
            if let Ok(upstream) = TcpStream::connect(server).await {
                serve(client, upstream, &orders, &losses).await;
            }
        });
    }
}

/// Ends, and closes both sides by that, at the first end of stream, error, cut or loss.
async fn serve(
    client: TcpStream,
    upstream: TcpStream,
    orders: &watch::Sender<Orders>,
    losses: &Mutex<watch::Sender<u32>>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = upstream.into_split();
    let mut watched = orders.subscribe();
    let cuts = watched.borrow().cuts;
    let (mut up, mut down) = ([0u8; 16 * 1024], [0u8; 16 * 1024]);
    // What it was asked last ends a transaction.
    let mut commits = false;
    loop {
        let now = *watched.borrow_and_update();
        match now.mode {
            _ if now.cuts != cuts => return,
            Mode::Refuse => return,
            Mode::Stall => match watched.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            },
            Mode::Pass | Mode::LoseAnswer | Mode::LoseCommit => {}
        }
        tokio::select! {
            changed = watched.changed() => if changed.is_err() { return },
            read = from_client.read(&mut up) => match read {
                Ok(n) if n > 0 => {
                    commits = up[..n].windows(6).any(|word| word == b"COMMIT");
                    if to_server.write_all(&up[..n]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            read = from_server.read(&mut down) => match read {
                Ok(n) if n > 0 => {
                    // Only one connection loses its answer.
                    let mine = orders.send_if_modified(|orders| {
                        let mine = match orders.mode {
                            Mode::LoseAnswer => true,
                            Mode::LoseCommit => commits,
                            _ => false,
                        };
                        if mine {
                            orders.mode = Mode::Refuse;
                        }
                        mine
                    });
                    if mine {
                        losses.lock().unwrap().send_modify(|lost| *lost += 1);
                        return;
                    }
                    if to_client.write_all(&down[..n]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}
