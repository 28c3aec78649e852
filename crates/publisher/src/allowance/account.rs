//! What one tenant has used, as this process knows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use super::bucket::Bucket;

/// The counters only grow (but for refunds), and a figure of the database is kept as its difference to the counter at
/// the time it was taken: reading both is one addition, and nothing is counted twice or forgotten in between.
#[derive(Debug, Default)]
pub struct Account {
    pub bucket: Bucket,
    bytes: AtomicI64,
    executions: AtomicI64,
    bytes_elsewhere: AtomicI64,
    open_elsewhere: AtomicI64,
    /// What of the counters the database knows; the upkeep's own.
    flushed_bytes: AtomicI64,
    flushed_executions: AtomicI64,
}

/// What an execution takes of its tenant's quotas; given back when it is not kept.
#[derive(Debug)]
pub struct Charge {
    account: Arc<Account>,
    bytes: i64,
    kept: bool,
}

/// What was not written down yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwritten {
    pub bytes: u64,
    pub executions: u64,
    bytes_at: i64,
    executions_at: i64,
}

impl Account {
    /// Counts an execution. The figures include it: the caller compares them with the quotas.
    pub fn charge(self: Arc<Self>, bytes: usize) -> (Charge, Used) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let used = Used {
            bytes_today: self.bytes.fetch_add(bytes, Relaxed) + bytes + self.bytes_elsewhere.load(Relaxed),
            open: self.executions.fetch_add(1, Relaxed) + 1 + self.open_elsewhere.load(Relaxed),
        };
        (Charge { account: self, bytes, kept: false }, used)
    }

    pub fn unwritten(&self) -> Unwritten {
        let (bytes_at, executions_at) = (self.bytes.load(Relaxed), self.executions.load(Relaxed));
        // A refund may have come after its charge was written; it is made up for by the next charges.
        let new = |at: i64, flushed: &AtomicI64| u64::try_from(at - flushed.load(Relaxed)).unwrap_or(0);
        Unwritten {
            bytes: new(bytes_at, &self.flushed_bytes),
            executions: new(executions_at, &self.flushed_executions),
            bytes_at,
            executions_at,
        }
    }

    /// The database took it, and says what the day comes to.
    pub fn written(&self, what: Unwritten, bytes_today: u64) {
        if what.bytes > 0 {
            self.flushed_bytes.store(what.bytes_at, Relaxed);
        }
        if what.executions > 0 {
            self.flushed_executions.store(what.executions_at, Relaxed);
        }
        let bytes_today = i64::try_from(bytes_today).unwrap_or(i64::MAX);
        self.bytes_elsewhere.store(bytes_today.saturating_sub(what.bytes_at), Relaxed);
    }

    /// To be taken before the open executions are counted.
    pub fn executions(&self) -> i64 {
        self.executions.load(Relaxed)
    }

    /// `before` is what [`Account::executions`] said then.
    pub fn counted(&self, open: u64, before: i64) {
        self.open_elsewhere.store(i64::try_from(open).unwrap_or(i64::MAX).saturating_sub(before), Relaxed);
    }
}

/// What a tenant uses with the charge in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    pub bytes_today: i64,
    pub open: i64,
}

impl Charge {
    /// The execution is durable: it counts.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if !self.kept {
            self.account.bytes.fetch_sub(self.bytes, Relaxed);
            self.account.executions.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_given_back() {
        let account = Arc::new(Account::default());
        let (one, used) = account.clone().charge(10);
        assert_eq!(used, Used { bytes_today: 10, open: 1 });
        one.keep();
        let (two, used) = account.clone().charge(5);
        assert_eq!(used, Used { bytes_today: 15, open: 2 });
        drop(two);
        let unwritten = account.unwritten();
        assert_eq!((unwritten.bytes, unwritten.executions), (10, 1));
    }

    #[test]
    fn figures_of_the_database_and_what_came_since_add_up() {
        let account = Arc::new(Account::default());
        let charge = |bytes| {
            let (charge, used) = account.clone().charge(bytes);
            charge.keep();
            used
        };
        charge(10);
        let (unwritten, before) = (account.unwritten(), account.executions());
        charge(1);
        // Others have used 90 and have 6 open.
        account.written(unwritten, 100);
        account.counted(7, before);
        assert_eq!(charge(1), Used { bytes_today: 102, open: 9 });
        assert_eq!(account.unwritten().bytes, 2);
        // Refunds after the write are no negative use.
        let (refunded, _) = account.clone().charge(50);
        account.written(account.unwritten(), 152);
        drop(refunded);
        assert_eq!(account.unwritten().bytes, 0);
        assert_eq!(charge(0).bytes_today, 102);
        // A new day.
        account.written(account.unwritten(), 0);
        assert_eq!(charge(3).bytes_today, 3);
    }
}
