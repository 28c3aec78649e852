//! One file an endpoint.

pub mod batch;
pub mod execution;
pub mod executions;
pub mod metrics;
pub mod publish;
pub mod replay;
