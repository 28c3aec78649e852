//! A row that Postgres refuses fails alone; the batch around it is accepted.

use bridge_store::{Accepted, Store, StoreConfig, WriteError};
use bridge_tests::seed::{self, PATIENCE};
use bridge_tests::{Sql, parts, unique};
use chrono::Utc;

#[tokio::test]
async fn one_bad_row_in_a_full_batch_fails_alone() -> anyhow::Result<()> {
    let server = Sql::new(parts::shared("BRIDGE_TEST_DATABASE_URL"));
    let url = server.create_database(&unique("bridge-test")).await?;
    let store = Store::open(StoreConfig { batch_connections: 1, ..StoreConfig::new(&url) })?;
    store.migrate(Utc::now()).await?;
    let tenant = seed::new_tenant(&Sql::new(&url)).await?;
    // While the first one is on its way the others gather in one batch.
    let submissions = (0..256).map(|number| {
        let mut execution = seed::new_execution(&tenant);
        if number == 97 {
            // jsonb has no NUL, and only the server can tell.
            execution.metadata = Some(r#"{"note": "\u0000"}"#.to_owned());
        }
        store.accept(execution, PATIENCE)
    });
    let outcomes = futures::future::join_all(submissions).await;
    for (number, outcome) in outcomes.iter().enumerate() {
        match (number, outcome) {
            (97, Err(WriteError::BadRow { .. })) => {}
            (97, other) => panic!("the bad row ended as {other:?}"),
            (_, Ok(Accepted::New)) => {}
            (number, other) => panic!("row {number} ended as {other:?}"),
        }
    }
    let sql = Sql::new(url);
    assert_eq!(sql.count("executions").await?, 255);
    assert_eq!(sql.count("payloads").await?, 255);
    assert!(store.live_without_timer().await?.is_empty());
    Ok(())
}
