//! Who calls, and what he may do.
//!
//! A credential is an API key, a token of the built-in issuer or a token of an outside issuer. Whatever is costly
//! (a signature, a key set fetched over the network) happens once; then the token's digest finds the caller in a
//! bounded cache. What may change is judged at every use, against the directory's snapshot in memory: a revoked
//! client, a tenant that was removed, a key that was retired.
//!
//! Nothing falls open: what is not understood is refused, and the answer never says which part was wrong.

mod access;
mod builtin;
mod cache;
mod caller;
mod config;
mod credential;
mod denied;
mod fetch;
mod jwks;
mod outside;
mod source;
mod token;

pub use access::Access;
pub use builtin::{Issued, TokenError};
pub use caller::{Caller, CallerKind, WhichTenant};
pub use config::{AccessConfig, AccessError, OutsideIssuer};
pub use denied::Denied;
pub use source::Source;
