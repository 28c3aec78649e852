//! Waking the daemons: a connection that hears of every change of the directory and of the routing.

use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::timeout;

use crate::{Store, StoreError};

const CHANNELS: [&str; 2] = ["bridge_routing", "bridge_directory"];
/// A connection that is silent this long is asked whether it still lives.
const SILENCE: Duration = Duration::from_secs(30);

/// Hears of changes from the moment it was made. A hint and nothing more: who listens also looks at the revisions now
/// and then.
pub struct Changes {
    listener: PgListener,
    limit: Duration,
}

impl Store {
    pub async fn listen(&self) -> Result<Changes, StoreError> {
        let limit = self.config.statement_timeout;
        let named = |source| StoreError::Statement { name: "listen", source };
        // Of its own, for one connection that lives as long as the server lets it.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(limit)
            .connect_lazy_with(self.options.clone());
        let listening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen_all(CHANNELS).await?;
            Ok(listener)
        };
        match timeout(limit * 2, listening).await {
            Ok(listener) => Ok(Changes { listener: listener.map_err(named)?, limit }),
            Err(_) => Err(StoreError::TimedOut { name: "listen", after: limit * 2 }),
        }
    }
}

impl Changes {
    /// Returns when something changed; several changes may be told as one. May be dropped while it waits. After an error:
    /// listen anew, then look at everything again.
    pub async fn next(&mut self) -> Result<(), StoreError> {
        let named = |source| StoreError::Statement { name: "changes", source };
        loop {
            match timeout(SILENCE, self.listener.try_recv()).await {
                Ok(Ok(Some(_))) => {
                    while self.listener.next_buffered().is_some() {}
                    return Ok(());
                }
                // What was told while the connection was lost, nobody knows.
                Ok(Ok(None)) => {
                    return Err(named(sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into())));
                }
                Ok(Err(source)) => return Err(named(source)),
                Err(_) => self.ask().await?,
            }
        }
    }

    /// A network that swallows everything says nothing, not even that.
    async fn ask(&mut self) -> Result<(), StoreError> {
        match timeout(self.limit, sqlx::query("SELECT 1").execute(&mut self.listener)).await {
            Ok(answer) => {
                answer.map(drop).map_err(|source| StoreError::Statement { name: "changes.ask", source })
            }
            Err(_) => Err(StoreError::TimedOut { name: "changes.ask", after: self.limit }),
        }
    }
}
