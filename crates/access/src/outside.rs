//! An outside issuer: its keys, kept fresh in the background, and the tokens they verify.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bridge_protocol::{Scope, Scopes, TenantId, Time};
use jsonwebtoken::Algorithm;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use crate::cache::{Basis, Digest};
use crate::config::{AccessConfig, AccessError, OutsideIssuer, algorithms};
use crate::denied::Why;
use crate::fetch::{FetchError, Fetcher};
use crate::jwks::KeySet;
use crate::token::{Token, names};

/// Requests that may wait for one fetch. Whoever comes on top of them is refused, and may come again.
const MOST_WAITING: usize = 256;

pub(crate) struct Outside {
    pub(crate) config: OutsideIssuer,
    index: usize,
    algorithms: Vec<Algorithm>,
    fetcher: Fetcher,
    keys: ArcSwap<KeySet>,
    refresh: Duration,
    min_refresh: Duration,
    limit: Duration,
    round: watch::Sender<Round>,
    /// Which fetch was found wanting, by when it began: a wish that a later one has fulfilled is over.
    wanted: watch::Sender<Option<Instant>>,
    waiting: Semaphore,
}

/// Where the fetching stands.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    /// When the last fetch began.
    began: Option<Instant>,
    running: bool,
}

impl Outside {
    pub(crate) fn new(
        index: usize,
        config: &OutsideIssuer,
        settings: &AccessConfig,
    ) -> Result<Self, AccessError> {
        Ok(Self {
            index,
            algorithms: algorithms(config)?,
            fetcher: Fetcher::new(config, settings.fetch_timeout)?,
            config: config.clone(),
            keys: ArcSwap::default(),
            refresh: settings.jwks_refresh,
            min_refresh: settings.jwks_min_refresh,
            limit: settings.fetch_timeout,
            round: watch::Sender::new(Round::default()),
            wanted: watch::Sender::default(),
            waiting: Semaphore::new(MOST_WAITING),
        })
    }

    pub(crate) fn generation(&self) -> u64 {
        self.keys.load().generation
    }

    pub(crate) fn holds(&self, key: &Digest) -> bool {
        self.keys.load().holds(key)
    }

    /// Everything that needs no key comes first, and everything that needs no network before that which does.
    pub(crate) async fn verify(&self, token: &Token<'_>, now: Time) -> Result<Basis, Why> {
        if !self.algorithms.contains(&token.algorithm) {
            return Err(Why::Algorithm);
        }
        // An access token of RFC 9068, or of an issuer that calls every token a JWT.
        if !token.has_type(&["at+jwt", "jwt"], false) {
            return Err(Why::Type);
        }
        let expires = token.check(&self.config.audience, now)?;
        let claims = self.claims(token)?;
        let kid = token.kid.as_deref();
        let mut keys = self.keys.load_full();
        if keys.find(kid, token.algorithm).is_none() {
            self.fetched_again().await?;
            keys = self.keys.load_full();
        }
        let key = keys.find(kid, token.algorithm).ok_or(Why::Kid)?;
        if !token.is_signed_by(&key.decoding) {
            return Err(Why::Signature);
        }
        let Claimed { subject, tenants, scopes } = claims;
        Ok(Basis::Outside { issuer: self.index, subject, tenants, scopes, key: key.print, expires })
    }

    fn claims(&self, token: &Token<'_>) -> Result<Claimed, Why> {
        let claims = &token.claims;
        let config = &self.config;
        let text = |name: &str| claims.others.get(name).and_then(Value::as_str);
        // Some issuers leave the subject out of a client's own token.
        let subject =
            claims.sub.as_deref().or(text("client_id")).or(text("azp")).filter(|sub| !sub.is_empty());
        let subject = format!("{}|{}", config.issuer, subject.ok_or(Why::Subject)?).into();
        // A subject may be the tenant; it is read apart from the others.
        let value = |name: &str| match name {
            "sub" => claims.sub.clone().map(Value::String),
            name => claims.others.get(name).cloned(),
        };
        let named: Scopes = value(&config.scope_claim)
            .map(|claim| names(&claim).into_iter().filter_map(|name| name.parse().ok()).collect())
            .unwrap_or_default();
        let mut scopes = if named.is_empty() { config.default_scopes.unwrap_or_default() } else { named };
        if scopes.contains(Scope::Admin) {
            if config.admin {
                return Ok(Claimed { subject, tenants: Vec::new(), scopes: Scope::Admin.into() });
            }
            scopes = scopes.intersection(Scopes::ALL_OF_TENANT);
        }
        let claimed = value(&config.tenant_claim).ok_or(Why::Tenant)?;
        // A value may have spaces in it: it is a name of theirs, not a list.
        let claimed: Vec<&str> = match &claimed {
            Value::String(one) => vec![one],
            other => names(other),
        };
        let tenant = |name: &&str| match &config.tenants {
            Some(map) => map.get(*name).cloned(),
            None => TenantId::parse(name).ok(),
        };
        let mut tenants: Vec<_> = claimed.iter().filter_map(tenant).collect();
        tenants.sort();
        tenants.dedup();
        if tenants.is_empty() { Err(Why::Tenant) } else { Ok(Claimed { subject, tenants, scopes }) }
    }

    /// Has the keys fetched and waits for it, unless that was done a moment ago: a flood of made-up kids costs one
    /// fetch per window.
    async fn fetched_again(&self) -> Result<(), Why> {
        let refused = || if self.keys.load().is_fetched() { Why::Kid } else { Why::NoKeys };
        let mut rounds = self.round.subscribe();
        let seen = *rounds.borrow_and_update();
        if !seen.running && !self.may_fetch(seen) {
            return Err(refused());
        }
        let _place = self.waiting.try_acquire().map_err(|_| refused())?;
        if !seen.running {
            self.wanted.send_replace(seen.began);
        }
        let done = |round: &Round| !round.running && (seen.running || round.began != seen.began);
        match timeout(self.limit, rounds.wait_for(done)).await {
            Ok(Ok(_)) if self.keys.load().is_fetched() => Ok(()),
            _ => Err(refused()),
        }
    }

    fn may_fetch(&self, round: Round) -> bool {
        round.began.is_none_or(|began| began.elapsed() >= self.min_refresh)
    }

    /// Fetches now, whenever an unknown kid asks for it, and at the latest after the refresh time. Never ends.
    pub(crate) async fn keep_fresh(&self) {
        let (mut place, mut ok) = (None, true);
        let mut wishes = self.wanted.subscribe();
        loop {
            ok = self.fetch(&mut place, ok).await;
            let round = *self.round.borrow();
            let next = if ok { self.refresh.max(self.min_refresh) } else { self.min_refresh };
            let wished = wishes.wait_for(|wish| *wish == round.began && self.may_fetch(round));
            // Nobody wished for it: then it is time.
            drop(timeout(next, wished).await);
        }
    }

    /// One fetch; says whether it succeeded. A failure after a failure is no news.
    async fn fetch(&self, place: &mut Option<String>, was_ok: bool) -> bool {
        self.round.send_replace(Round { began: Some(Instant::now()), running: true });
        // Each request has its own limit; the places where the metadata may be are asked one after the other.
        let limit = self.limit * 4;
        let fetched = timeout(limit, self.keys_from(place)).await.unwrap_or(Err(FetchError::TimedOut));
        let outcome = if fetched.is_ok() { "ok" } else { "failed" };
        metrics::counter!("bridge_jwks_fetches_total", "issuer" => self.config.issuer.clone(), "outcome" => outcome)
            .increment(1);
        let ok = match fetched {
            Ok(keys) => {
                self.replace(keys);
                true
            }
            Err(error) => {
                // It may have moved.
                *place = None;
                if was_ok {
                    tracing::warn!(
                        issuer = self.config.issuer,
                        error = &error as &dyn std::error::Error,
                        keys = ?self.keys.load().kids(),
                        retry_s = self.min_refresh.as_secs(),
                        "the issuer's keys could not be fetched; those known before stay in use"
                    );
                }
                false
            }
        };
        self.round.send_modify(|round| round.running = false);
        ok
    }

    async fn keys_from(&self, place: &mut Option<String>) -> Result<KeySet, FetchError> {
        let url = match place {
            Some(url) => url.clone(),
            None => self.fetcher.discover().await?,
        };
        let body = self.fetcher.get(&url).await?;
        let keys = KeySet::read(&body, &self.algorithms)
            .map_err(|source| FetchError::Keys { url: url.clone(), source })?;
        *place = Some(url);
        Ok(keys)
    }

    fn replace(&self, mut keys: KeySet) {
        let old = self.keys.load();
        if old.is_fetched() && old.same_keys(&keys) {
            return;
        }
        keys.generation = old.generation + 1;
        tracing::info!(issuer = self.config.issuer, keys = ?keys.kids(), "the issuer's keys were fetched");
        self.keys.store(Arc::new(keys));
    }
}

/// What a token says of its bearer.
struct Claimed {
    subject: Arc<str>,
    tenants: Vec<TenantId>,
    scopes: Scopes,
}
