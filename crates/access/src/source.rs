//! Where the present state of credentials, tenants and keys is read from.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use bridge_service::directory::{Directory, Snapshot};

/// The daemon's directory, or a snapshot that its owner replaces: a test, a bench.
#[derive(Clone)]
pub enum Source {
    Directory(Directory),
    Snapshot(Arc<ArcSwap<Snapshot>>),
}

impl Source {
    pub(crate) fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        match self {
            Self::Directory(directory) => directory.snapshot(),
            Self::Snapshot(snapshot) => snapshot.load(),
        }
    }

    /// False until Postgres has answered once: until then nobody may be told that he is unknown. False again when it
    /// has not answered for a while: a revocation may have been missed, and nothing could be accepted either.
    pub(crate) fn is_ready(&self) -> bool {
        match self {
            Self::Directory(directory) => directory.is_loaded() && directory.is_fresh(),
            Self::Snapshot(snapshot) => snapshot.load().revision >= 0,
        }
    }
}

impl From<Directory> for Source {
    fn from(directory: Directory) -> Self {
        Self::Directory(directory)
    }
}

impl From<Arc<ArcSwap<Snapshot>>> for Source {
    fn from(snapshot: Arc<ArcSwap<Snapshot>>) -> Self {
        Self::Snapshot(snapshot)
    }
}
