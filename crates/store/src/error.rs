//! What can go wrong in Postgres, sorted by what the caller must do.

use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("Postgres is out of reach; check DATABASE_URL and that the server accepts connections")]
    Unavailable(#[source] sqlx::Error),
    #[error("the database URL is not usable; it must look like postgres://user:password@host:port/database")]
    Url(#[source] sqlx::Error),
    #[error("the migration failed; the schema is unchanged by the failed step")]
    Migration(#[source] sqlx::migrate::MigrateError),
    #[error("{0}")]
    Setup(String),
    #[error("statement {name} failed")]
    Statement {
        name: &'static str,
        #[source]
        source: sqlx::Error,
    },
    #[error("statement {name} was given up after {after:?}")]
    TimedOut { name: &'static str, after: Duration },
}

impl StoreError {
    /// Whether Postgres, or a connection to it, was not to be had in time: the same may work a moment later.
    pub fn is_out_of_reach(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::TimedOut { .. } => true,
            Self::Statement { source, .. } => fault(source) == Fault::Connection,
            Self::Url(_) | Self::Migration(_) | Self::Setup(_) => false,
        }
    }
}

/// The fate of one row of a batched statement.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// Nothing is known of the row: it may or may not have been written. Running it again is harmless.
    #[error("Postgres gave no answer for statement {statement} within {patience:?}: {last}")]
    Unavailable { statement: &'static str, patience: Duration, last: String },
    /// Postgres refuses this row, whatever it is batched with.
    #[error("Postgres refuses the row in statement {statement}: {detail}")]
    BadRow { statement: &'static str, detail: String },
    #[error(
        "no partition holds the day of execution {id}; check the clock of this machine and that the publisher's maintenance runs"
    )]
    NoPartition { id: String },
    #[error("statement {statement} failed: {detail}")]
    Failed { statement: &'static str, detail: String },
}

/// What a failed statement means for its batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is gone or unusable: a new one, the same statement again.
    Connection,
    /// The same connection, the same statement again.
    Again,
    /// One row of the batch is at fault.
    Row,
    /// A partition that does not exist.
    Gone,
    Other,
}

pub(crate) fn fault(error: &sqlx::Error) -> Fault {
    let sqlx::Error::Database(db) = error else {
        return match error {
            sqlx::Error::Encode(_) => Fault::Row,
            sqlx::Error::RowNotFound
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::TypeNotFound { .. } => Fault::Other,
            _ => Fault::Connection,
        };
    };
    let code = db.code().unwrap_or_default();
    match code.as_ref() {
        "40001" | "40P01" | "55P03" => Fault::Again,
        // A cancelled statement (57014) ran into its time limit; the others say the server goes away.
        "57014" | "57P01" | "57P02" | "57P03" | "57P05" | "25006" => Fault::Connection,
        "42P01" => Fault::Gone,
        // The cached plan of a partition that was detached and made again.
        "0A000" | "26000" => Fault::Connection,
        _ => match code.get(..2) {
            Some("22" | "23") => Fault::Row,
            Some("08" | "53" | "58") => Fault::Connection,
            _ => Fault::Other,
        },
    }
}
