//! `bridge-consumer health`: one question to the running daemon, without a second HTTP client.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(5);

pub async fn ask(bind: SocketAddr) -> anyhow::Result<ExitCode> {
    let mut address = bind;
    if bind.ip().is_unspecified() {
        address.set_ip(if bind.is_ipv4() { [127, 0, 0, 1].into() } else { [0, 0, 0, 0, 0, 0, 0, 1].into() });
    }
    let answer = tokio::time::timeout(LIMIT, exchange(address))
        .await
        .with_context(|| format!("no answer from {address} within {LIMIT:?}"))?
        .with_context(|| format!("the consumer does not answer at {address}; is it running?"))?;
    let ready = answer.split_once(' ').is_some_and(|(_, rest)| rest.starts_with("200"));
    println!("{}", answer.split_once("\r\n\r\n").map_or(answer.as_str(), |(_, body)| body));
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn exchange(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /health/ready HTTP/1.1\r\nhost: bridge\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(1 << 20).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
