//! A bridge with answers that were written down before: what a verb asks is compared, in its order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::client::Client;

type Asked = Arc<Mutex<Vec<String>>>;

pub struct Canned {
    pub client: Client,
    asked: Asked,
}

impl Canned {
    /// One answer for each request; the last one again and again.
    pub async fn with<const N: usize>(answers: [(u16, Value); N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::at(&format!("http://{}", listener.local_addr().unwrap()));
        let asked = Asked::default();
        let mut answers = VecDeque::from(answers);
        let heard = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
                let (status, body) = answer.unwrap();
                serve(stream, status, &body.to_string(), &heard).await;
            }
        });
        Self { client, asked }
    }

    /// `GET /path?query` of each request, and its idempotency key and its body below.
    pub fn asked(&self) -> String {
        self.asked.lock().unwrap().join("\n")
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    let named = |line: &str| line.to_ascii_lowercase().strip_prefix(&format!("{name}: ")).map(str::to_owned);
    head.lines().find_map(named)
}

async fn serve(mut stream: TcpStream, status: u16, body: &str, heard: &Asked) {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length = header(head, "content-length");
        break (head.to_owned(), length.map_or(0, |length| length.parse::<usize>().unwrap()));
    };
    while bytes.len() < head.len() + 4 + length {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    let body_of_it = String::from_utf8_lossy(&bytes[head.len() + 4..]).into_owned();
    let key = header(&head, "idempotency-key").map(|key| format!("  once: {key}"));
    let lines = std::iter::once(line).chain(key).chain((length > 0).then(|| format!("  {body_of_it}")));
    heard.lock().unwrap().extend(lines);
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    let _closed = stream.shutdown().await;
}
