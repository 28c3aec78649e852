use std::time::Duration;

/// What the store needs to know; every limit has its key in the `[database]` or `[retention]` section.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub url: String,
    /// Connections for reads and short transactions; the batchers have their own.
    pub pool_size: u32,
    pub statement_timeout: Duration,
    pub batch_rows: usize,
    pub batch_bytes: usize,
    /// Connections of each batched statement: while one commits the next gathers.
    pub batch_connections: usize,
    pub queue_rows: usize,
    pub partitions_ahead_days: u64,
    pub executions_days: u64,
    pub payloads_days: u64,
    pub idempotency_days: u64,
    pub application_name: String,
}

impl StoreConfig {
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            pool_size: 6,
            statement_timeout: Duration::from_secs(5),
            batch_rows: 256,
            batch_bytes: 4 * 1024 * 1024,
            batch_connections: 2,
            queue_rows: 8192,
            partitions_ahead_days: 7,
            executions_days: 90,
            payloads_days: 7,
            idempotency_days: 7,
            application_name: "bridge".to_owned(),
        }
    }
}
