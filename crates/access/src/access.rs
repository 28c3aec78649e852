//! Who is this? The fast way through the cache, the slow way through signatures.

use std::sync::Arc;

use bridge_protocol::{ApiKey, Scope, Scopes, TenantId, Time};
use bridge_service::clock::SharedClock;
use bridge_service::directory::{CredentialKind, Snapshot};
use http::HeaderMap;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::builtin::{Builtin, Issued, TokenError, secret_ends};
use crate::cache::{Basis, Cache, Digest, Entry};
use crate::caller::{Caller, CallerKind, present};
use crate::config::{AccessConfig, AccessError};
use crate::credential::{Presented, extract};
use crate::denied::{Denied, Refused, Why};
use crate::outside::Outside;
use crate::source::Source;
use crate::token::Token;

/// The kinds of logins, as they are counted.
const API_KEY: &str = "api_key";
const OWN: &str = "own";
const OUTSIDE: &str = "outside";
const CLIENT_CREDENTIALS: &str = "client_credentials";

/// The one who lets callers in; clones share the cache.
#[derive(Clone)]
pub struct Access(Arc<Mode>);

enum Mode {
    Checked(Box<Checked>),
    Insecure(Arc<Caller>),
}

struct Checked {
    source: Source,
    clock: SharedClock,
    builtin: Builtin,
    outside: Vec<Outside>,
    cache: Cache,
    max_token_bytes: usize,
}

/// A judgement: who it is, and until when that holds.
type Judged = (Arc<Caller>, Option<Time>);

impl Access {
    /// Needs the process's TLS provider to be installed when there are outside issuers. Their keys are fetched by
    /// [`Access::run`].
    ///
    /// # Errors
    /// When an outside issuer's entry cannot be used.
    pub fn new(
        config: AccessConfig,
        source: impl Into<Source>,
        clock: SharedClock,
    ) -> Result<Self, AccessError> {
        let issuers = config.issuers.iter().enumerate();
        let outside =
            issuers.map(|(index, issuer)| Outside::new(index, issuer, &config)).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Mode::Checked(Box::new(Checked {
            source: source.into(),
            clock,
            builtin: Builtin::new(&config),
            outside,
            cache: Cache::new(config.token_cache.max(1)),
            max_token_bytes: config.max_token_bytes,
        })))))
    }

    /// Asks nobody: every request acts for the tenant and may administer as well. For a developer's own machine.
    pub fn insecure(tenant: TenantId) -> Self {
        let mut scopes = Scopes::ALL_OF_TENANT;
        scopes.insert(Scope::Admin);
        let caller = Caller {
            subject: "insecure-dev".into(),
            kind: CallerKind::Insecure,
            tenants: vec![tenant],
            scopes,
        };
        Self(Arc::new(Mode::Insecure(Arc::new(caller))))
    }

    /// # Errors
    /// When nobody is let in; the answer to the caller must not tell the reasons apart.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Denied> {
        match &*self.0 {
            Mode::Insecure(caller) => Ok(caller.clone()),
            Mode::Checked(checked) => Ok(checked.authenticate(headers).await?),
        }
    }

    /// `client_credentials`: a token for a service account, with the scopes asked for or all it has.
    ///
    /// # Errors
    /// When the client is not who he says, or asks for what he does not have.
    pub fn token(
        &self,
        client_id: &str,
        client_secret: &str,
        scope: Option<&str>,
    ) -> Result<Issued, TokenError> {
        let Mode::Checked(checked) = &*self.0 else { return Err(TokenError::NoKey) };
        if !checked.source.is_ready() {
            return Err(TokenError::NotReady);
        }
        let snapshot = checked.source.snapshot();
        let issued = checked.builtin.token(&snapshot, checked.clock.now(), client_id, client_secret, scope);
        count(CLIENT_CREDENTIALS, issued.is_ok());
        issued
    }

    /// The built-in issuer's public keys.
    pub fn jwks(&self) -> Value {
        match &*self.0 {
            Mode::Checked(checked) => checked.builtin.jwks(&checked.source.snapshot(), checked.clock.now()),
            Mode::Insecure(_) => json!({ "keys": [] }),
        }
    }

    /// The built-in issuer's metadata (RFC 8414); none in insecure mode, where there is no issuer.
    pub fn metadata(&self) -> Option<Value> {
        match &*self.0 {
            Mode::Checked(checked) => Some(checked.builtin.metadata()),
            Mode::Insecure(_) => None,
        }
    }

    /// Keeps the outside issuers' keys fresh until the stop. Each issuer for itself: one that is down delays no other.
    pub async fn run(self, stop: CancellationToken) {
        let Mode::Checked(checked) = &*self.0 else { return };
        let all = futures::future::join_all(checked.outside.iter().map(Outside::keep_fresh));
        if checked.outside.is_empty() {
            return;
        }
        stop.run_until_cancelled(all).await;
    }
}

impl Checked {
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Refused> {
        let presented = extract(headers, self.max_token_bytes)?;
        let text = &*presented.text;
        if !self.source.is_ready() {
            return Err(Why::NotReady.into());
        }
        let is_key = ApiKey::looks_like(text);
        if !is_key && !presented.may_be_token {
            return Err(Why::Malformed.into());
        }
        let digest: Digest = Sha256::digest(text.as_bytes()).into();
        match self.remembered(&digest) {
            Some(found) => found,
            None if is_key => self.api_key(digest),
            None => self.token(digest, &presented).await,
        }
    }

    /// A verified credential, judged against the present state where that has moved since.
    fn remembered(&self, digest: &Digest) -> Option<Result<Arc<Caller>, Refused>> {
        let entry = self.cache.get(digest)?;
        let (snapshot, now) = (self.source.snapshot(), self.clock.now());
        if entry.holds(&snapshot, self.generation(&entry.basis), now) {
            return Some(Ok(entry.caller.clone()));
        }
        Some(self.admit(*digest, entry.basis.clone(), &snapshot, now).inspect_err(|_| {
            self.cache.remove(digest);
        }))
    }

    fn api_key(&self, digest: Digest) -> Result<Arc<Caller>, Refused> {
        let basis = Arc::new(Basis::ApiKey { digest });
        let found = self.admit(digest, basis, &self.source.snapshot(), self.clock.now());
        count(API_KEY, found.is_ok());
        found
    }

    async fn token(&self, digest: Digest, presented: &Presented<'_>) -> Result<Arc<Caller>, Refused> {
        let token = Token::read(&presented.text)?;
        let issuer = token.issuer().ok_or(Why::Issuer)?;
        let now = self.clock.now();
        let (kind, verified) = if issuer == self.builtin.issuer() {
            (OWN, self.builtin.verify(&token, &self.source.snapshot(), now))
        } else {
            let outside = self.outside.iter().find(|outside| outside.config.issuer == issuer);
            (OUTSIDE, outside.ok_or(Why::Issuer)?.verify(&token, now).await)
        };
        let found = verified.map_err(|why| why.of(issuer)).and_then(|basis| {
            // Fetching keys may have taken a while.
            self.admit(digest, Arc::new(basis), &self.source.snapshot(), self.clock.now())
        });
        count(kind, found.is_ok());
        found
    }

    /// Judges what was verified, and remembers the judgement.
    fn admit(
        &self,
        digest: Digest,
        basis: Arc<Basis>,
        snapshot: &Arc<Snapshot>,
        now: Time,
    ) -> Result<Arc<Caller>, Refused> {
        // Read before the judgement: keys that change meanwhile make it old, not wrong.
        let generation = self.generation(&basis);
        let (caller, until) =
            self.judge(&basis, snapshot, now).map_err(|why| why.of(self.subject(&basis, snapshot)))?;
        let entry =
            Entry { basis, caller: caller.clone(), until, snapshot: Arc::downgrade(snapshot), generation };
        self.cache.insert(digest, Arc::new(entry));
        Ok(caller)
    }

    fn generation(&self, basis: &Basis) -> u64 {
        match basis {
            Basis::Outside { issuer, .. } => self.outside[*issuer].generation(),
            _ => 0,
        }
    }

    /// What a verified credential is worth now.
    fn judge(&self, basis: &Basis, snapshot: &Snapshot, now: Time) -> Result<Judged, Why> {
        let (subject, kind, tenants, scopes, until) = match basis {
            Basis::ApiKey { digest } => {
                let (credential, old_until) = snapshot.by_digest.get(digest).ok_or(Why::UnknownKey)?;
                // A service account's secret is for the token route.
                if credential.kind != CredentialKind::ApiKey {
                    return Err(Why::UnknownKey);
                }
                let ends = earliest([*old_until, credential.expires_at]);
                let (tenants, scopes) =
                    present(&credential.tenants, credential.scopes, snapshot).ok_or(Why::Tenant)?;
                (credential.id.as_str().into(), CallerKind::ApiKey, tenants, scopes, ends)
            }
            Basis::Own { client, scopes, kid, secret, expires } => {
                let credential = snapshot.by_id.get(client).ok_or(Why::Revoked)?;
                if credential.kind != CredentialKind::ServiceAccount {
                    return Err(Why::Revoked);
                }
                let secret_ends = secret_ends(credential, secret).ok_or(Why::Revoked)?;
                let key = snapshot.issuer_keys.iter().find(|key| key.kid == *kid).ok_or(Why::Revoked)?;
                let ends = earliest([Some(*expires), credential.expires_at, key.retires_at, secret_ends]);
                let (tenants, held) =
                    present(&credential.tenants, credential.scopes, snapshot).ok_or(Why::Tenant)?;
                (client.as_str().into(), CallerKind::Client, tenants, held.intersection(*scopes), ends)
            }
            Basis::Outside { issuer, subject, tenants, scopes, key, expires } => {
                if !self.outside[*issuer].holds(key) {
                    return Err(Why::Revoked);
                }
                let (tenants, scopes) = present(tenants, *scopes, snapshot).ok_or(Why::Tenant)?;
                (subject.clone(), CallerKind::Outside, tenants, scopes, Some(*expires))
            }
        };
        if until.is_some_and(|until| until <= now) {
            return Err(Why::Expired);
        }
        Ok((Arc::new(Caller { subject, kind, tenants, scopes }), until))
    }

    /// Whom a refusal concerns, in words that are ours.
    fn subject(&self, basis: &Basis, snapshot: &Snapshot) -> String {
        match basis {
            Basis::ApiKey { digest } => match snapshot.by_digest.get(digest) {
                Some((credential, _)) => credential.id.clone(),
                None => "api_key".to_owned(),
            },
            Basis::Own { client, .. } => client.clone(),
            Basis::Outside { issuer, .. } => self.outside[*issuer].config.issuer.clone(),
        }
    }
}

fn earliest<const N: usize>(ends: [Option<Time>; N]) -> Option<Time> {
    ends.into_iter().flatten().min()
}

fn count(kind: &'static str, ok: bool) {
    let outcome = if ok { "ok" } else { "refused" };
    metrics::counter!("bridge_logins_total", "kind" => kind, "outcome" => outcome).increment(1);
}
