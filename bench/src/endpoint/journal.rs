//! What arrived: in memory for `GET /seen`, on disk for people and for the verifier.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use bridge_protocol::{WebhookSecret, verify_webhook_signature};
use bytes::Bytes;
use chrono::DateTime;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use uuid::Uuid;

use super::text;
use crate::clock::Clock;
use crate::record::{Record, Writer};

/// Ids kept in memory; the oldest are forgotten, the files keep all.
const REMEMBERED: usize = 500_000;
/// Attempts listed for one id; the count goes on.
const LISTED_ATTEMPTS: usize = 32;
const TOLERANCE: Duration = Duration::from_secs(300);

pub struct Journal {
    clock: Clock,
    lines: Option<BufWriter<File>>,
    ids: Option<Writer>,
    secrets: Vec<WebhookSecret>,
    seen: HashMap<Uuid, Seen>,
    order: VecDeque<Uuid>,
    requests: u64,
}

#[derive(Default, Serialize)]
struct Seen {
    count: u32,
    attempts: Vec<u16>,
}

pub struct Arrival<'a> {
    pub at: u64,
    pub path: &'a str,
    pub id: Option<Uuid>,
    pub headers: &'a HeaderMap,
    pub body: &'a Bytes,
    pub status: StatusCode,
}

impl Arrival<'_> {
    fn attempt(&self) -> Option<u16> {
        text(self.headers, "x-attempt")?.parse().ok()
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    path: &'a str,
    status: u16,
    execution_id: Option<Uuid>,
    attempt: Option<u16>,
    tenant_id: Option<&'a str>,
    body_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_valid: Option<bool>,
}

impl Journal {
    pub fn open(
        lines: Option<&Path>,
        ids: Option<&Path>,
        secrets: Vec<WebhookSecret>,
    ) -> anyhow::Result<Self> {
        let append = |path: &Path| {
            let file = File::options().append(true).create(true).open(path);
            file.map(BufWriter::new).with_context(|| format!("cannot append to {}", path.display()))
        };
        Ok(Self {
            clock: Clock::start(),
            lines: lines.map(append).transpose()?,
            ids: ids.map(Writer::create).transpose()?,
            secrets,
            seen: HashMap::new(),
            order: VecDeque::new(),
            requests: 0,
        })
    }

    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    pub fn knows(&self, id: Uuid) -> bool {
        self.seen.contains_key(&id)
    }

    pub fn write(&mut self, arrival: &Arrival<'_>) -> anyhow::Result<()> {
        self.requests += 1;
        let attempt = arrival.attempt();
        if let Some(id) = arrival.id {
            self.remember(id, attempt);
            if let Some(ids) = &mut self.ids {
                ids.push(&Record { id, at: arrival.at, more: attempt.unwrap_or(0).into() })?;
            }
        }
        if self.lines.is_some() {
            let line = self.line(arrival, attempt)?;
            if let Some(lines) = &mut self.lines {
                lines.write_all(&line)?;
            }
        }
        Ok(())
    }

    fn line(&self, arrival: &Arrival<'_>, attempt: Option<u16>) -> anyhow::Result<Vec<u8>> {
        let time = DateTime::from_timestamp_micros(arrival.at.cast_signed()).unwrap_or_default();
        let mut line = serde_json::to_vec(&Line {
            time: time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
            path: arrival.path,
            status: arrival.status.as_u16(),
            execution_id: arrival.id,
            attempt,
            tenant_id: text(arrival.headers, "x-tenant-id"),
            body_bytes: arrival.body.len(),
            signature_valid: self.signature_valid(arrival),
        })?;
        line.push(b'\n');
        Ok(line)
    }

    /// None when this endpoint was started without a secret.
    fn signature_valid(&self, arrival: &Arrival<'_>) -> Option<bool> {
        if self.secrets.is_empty() {
            return None;
        }
        let field = |name| text(arrival.headers, name).unwrap_or_default();
        let timestamp = field("webhook-timestamp").parse().unwrap_or(0);
        let now = (arrival.at / 1_000_000).cast_signed();
        Some(verify_webhook_signature(
            &self.secrets,
            field("webhook-id"),
            timestamp,
            arrival.body,
            field("webhook-signature"),
            now,
            TOLERANCE,
        ))
    }

    fn remember(&mut self, id: Uuid, attempt: Option<u16>) {
        let seen = self.seen.entry(id).or_default();
        if seen.count == 0 {
            self.order.push_back(id);
        }
        seen.count += 1;
        if let Some(attempt) = attempt.filter(|_| seen.attempts.len() < LISTED_ATTEMPTS) {
            seen.attempts.push(attempt);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
    }

    pub fn seen(&self, id: Uuid) -> Vec<u8> {
        let unseen = Seen::default();
        serde_json::to_vec(self.seen.get(&id).unwrap_or(&unseen)).unwrap_or_default()
    }

    pub fn totals(&self) -> Vec<u8> {
        let totals = serde_json::json!({ "requests": self.requests, "executions": self.order.len() });
        totals.to_string().into_bytes()
    }

    pub fn flush(&mut self) -> anyhow::Result<()> {
        if let Some(lines) = &mut self.lines {
            lines.flush()?;
        }
        if let Some(ids) = &mut self.ids {
            ids.flush()?;
        }
        Ok(())
    }
}
