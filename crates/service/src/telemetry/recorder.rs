//! Where the daemon's figures are kept until `/metrics` is asked for.

use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use std::time::Duration;

/// Histograms are kept small by folding them this often.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The process's recorder, and what renders it.
pub(super) fn install() -> Result<PrometheusHandle, BuildError> {
    let metrics = builder()?.install_recorder()?;
    let upkeep = metrics.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP_EVERY);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(metrics)
}

/// A recorder for tests: not the process's own.
pub fn detached_recorder() -> Result<PrometheusRecorder, BuildError> {
    Ok(builder()?.build_recorder())
}

/// What a test's `/metrics` answers with.
pub fn detached_metrics() -> Result<PrometheusHandle, BuildError> {
    Ok(detached_recorder()?.handle())
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    const SECONDS: [f64; 16] =
        [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];
    const BYTES: [f64; 8] = [256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0, 16_777_216.0];
    const COUNTS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_duration".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES)?
        .set_buckets_for_metric(Matcher::Suffix("_rows".to_owned()), &COUNTS)
}
