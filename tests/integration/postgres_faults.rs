//! Postgres restarts under load: accepts wait or are told, and nothing that was answered 202 is lost.

use std::time::Duration;

use bridge_tests::{Part, World};
use http::StatusCode;
use serde_json::json;

#[tokio::test]
async fn a_restart_of_postgres_under_load_loses_nothing() -> anyhow::Result<()> {
    let postgres = Part::postgres().await?;
    let world = World::build()
        .database(&postgres.value("DATABASE_URL")?)
        .set("database.accept_patience_ms", "2000")
        .start()
        .await?;
    let calls: Vec<_> = (0..400)
        .map(|number| {
            let api = world.api.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(number * 10)).await;
                api.publish(json!({ "workflow_id": "w", "payload": { "n": number } })).await
            })
        })
        .collect();
    world.endpoint.wait_for("the load", |fired| fired.len() >= 40).await;
    postgres.stop().await?;
    postgres.start().await?;
    world.endpoint.wait_for("deliveries after the restart", |fired| fired.len() >= 150).await;
    // Once more, without a farewell.
    postgres.kill().await?;
    postgres.start().await?;
    let (mut accepted, mut told) = (0, 0);
    for call in calls {
        let answer = call.await??;
        match answer.status {
            StatusCode::ACCEPTED => accepted += 1,
            StatusCode::SERVICE_UNAVAILABLE => told += 1,
            other => panic!("{other}: {answer:?}"),
        }
    }
    eprintln!("accepted {accepted}, told to come again {told}");
    assert!(accepted >= 150);
    world.settle().await?;
    world.finish().await
}
