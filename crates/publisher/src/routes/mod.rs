//! One file an endpoint.

mod admin;
pub mod audit;
pub mod batch;
pub mod clients;
pub mod credentials;
pub mod execution;
pub mod executions;
mod fields;
pub mod health;
pub mod keys;
mod keys_issuer;
mod keys_master;
mod keys_webhook;
pub mod metrics;
pub mod payload;
pub mod publish;
pub mod replay;
pub mod tenant;
pub mod tenant_delete;
pub mod tenant_export;
pub mod tenants;
pub mod token;
pub mod well_known;
