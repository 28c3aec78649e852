//! Accepted executions by tenant, for the few tenants that matter most. However many tenants there are, `/metrics` shows
//! a fixed number of series: the busiest by name, all others as one.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bridge_protocol::TenantId;
use bridge_service::catalogue;
use tokio_util::sync::CancellationToken;

const NAME: &str = "bridge_tenant_executions_total";
const WINDOW: Duration = Duration::from_secs(60);
/// Tenants that are told apart within a window; more of them count as the others.
const WATCHED: usize = 10_000;
/// Who takes another's name must be this much busier: names that come and go are series that come and go.
const BUSIER: u64 = 2;

/// Clones share the counts. The recorder of the other metrics forgets no series, so these are kept and shown here.
#[derive(Clone)]
pub struct Busiest {
    names: usize,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Counts {
    /// Since each got its name.
    named: HashMap<TenantId, u64>,
    other: u64,
    /// Of this window.
    window: HashMap<TenantId, u64>,
}

impl Busiest {
    pub fn new(names: usize) -> Self {
        Self { names, counts: Arc::default() }
    }

    /// One more execution was accepted.
    pub fn accepted(&self, tenant: &TenantId) {
        let mut counts = self.lock();
        if let Some(count) = counts.named.get_mut(tenant) {
            *count += 1;
        } else if counts.named.len() < self.names {
            // The first ones need not wait for a window's end.
            counts.named.insert(tenant.clone(), 1);
        } else {
            counts.other += 1;
        }
        if let Some(count) = counts.window.get_mut(tenant) {
            *count += 1;
        } else if counts.window.len() < WATCHED {
            counts.window.insert(tenant.clone(), 1);
        }
    }

    /// Gives the names to who was busiest, window after window.
    pub async fn run(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(WINDOW)).await.is_some() {
            self.rename();
        }
    }

    fn rename(&self) {
        let mut counts = self.lock();
        let window = std::mem::take(&mut counts.window);
        let use_of = |tenant: &TenantId| window.get(tenant).copied().unwrap_or_default();
        let mut waiting: Vec<(&TenantId, u64)> = window
            .iter()
            .filter(|(tenant, _)| !counts.named.contains_key(*tenant))
            .map(|(tenant, count)| (tenant, *count))
            .collect();
        waiting.sort_unstable_by_key(|(tenant, count)| (std::cmp::Reverse(*count), (*tenant).clone()));
        let mut named: Vec<(TenantId, u64)> =
            counts.named.keys().map(|tenant| (tenant.clone(), use_of(tenant))).collect();
        named.sort_unstable_by_key(|(tenant, count)| (*count, tenant.clone()));
        for ((quiet, little), (busy, much)) in named.into_iter().zip(waiting) {
            if much <= little.saturating_mul(BUSIER) {
                break;
            }
            counts.named.remove(&quiet);
            counts.named.insert(busy.clone(), 0);
        }
    }

    /// In Prometheus's text format.
    pub fn render(&self) -> String {
        let counts = self.lock();
        let mut text = catalogue::head(NAME);
        // Writing into a String cannot fail; a tenant's id needs no escaping.
        for (tenant, count) in &counts.named {
            let _ = writeln!(text, "{NAME}{{tenant=\"{tenant}\"}} {count}");
        }
        let _ = writeln!(text, "{NAME}{{tenant=\"other\"}} {}", counts.other);
        text
    }

    // No code panics while it holds the lock.
    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn tenant(number: usize) -> TenantId {
        TenantId::parse(&format!("t{number}")).unwrap()
    }

    fn series(text: &str) -> Vec<(&str, u64)> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| {
                let (name, count) = line.rsplit_once(' ').unwrap();
                (name, count.parse().unwrap())
            })
            .collect()
    }

    #[test]
    fn five_thousand_tenants_are_as_many_lines_as_fifty() {
        let busiest = Busiest::new(20);
        let lengths: Vec<usize> = [50, 5_000]
            .map(|tenants| {
                (0..tenants).for_each(|number| busiest.accepted(&tenant(number)));
                busiest.rename();
                series(&busiest.render()).len()
            })
            .to_vec();
        assert_eq!(lengths, [21, 21]);
        assert_eq!(series(&busiest.render()).iter().map(|(_, count)| count).sum::<u64>(), 5_050);
        assert!(busiest.render().starts_with("# HELP bridge_tenant_executions_total "));
    }

    #[test]
    fn who_becomes_busy_gets_the_name_of_who_became_quiet() {
        let busiest = Busiest::new(2);
        let accept = |number, times| (0..times).for_each(|_| busiest.accepted(&tenant(number)));
        accept(0, 100);
        accept(1, 10);
        busiest.rename();
        // A little more is not enough.
        accept(0, 100);
        accept(1, 10);
        accept(2, 15);
        busiest.rename();
        assert!(!busiest.render().contains("t2"));
        accept(0, 100);
        accept(2, 50);
        busiest.rename();
        accept(2, 7);
        let text = busiest.render();
        let mut series = series(&text);
        series.sort_unstable();
        assert_eq!(
            series,
            [
                ("bridge_tenant_executions_total{tenant=\"other\"}", 65),
                ("bridge_tenant_executions_total{tenant=\"t0\"}", 300),
                ("bridge_tenant_executions_total{tenant=\"t2\"}", 7),
            ]
        );
    }

    #[test]
    fn what_is_watched_is_bounded() {
        let busiest = Busiest::new(1);
        (0..WATCHED + 500).for_each(|number| busiest.accepted(&tenant(number)));
        assert_eq!(busiest.lock().window.len(), WATCHED);
    }
}
