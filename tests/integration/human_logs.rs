//! `telemetry.log_format = "human"`: the same events as lines for a terminal.

use bridge_tests::{World, eventually};

#[tokio::test]
async fn lines_for_a_terminal_name_the_step_and_the_execution() -> anyhow::Result<()> {
    let world = World::build()
        .set("telemetry.log_format", "\"human\"")
        .set("database.accept_patience_ms", "20000")
        .start()
        .await?;
    let id = world.api.fire("w").await?;
    world.api.until(&id, "succeeded").await;
    for (daemon, step, what) in
        [(&world.publisher, "accepted", "accepted"), (&world.consumer, "ended", "execution succeeded")]
    {
        let line = eventually(&format!("{} to tell of the execution", daemon.name()), async || {
            let log = daemon.log();
            let found = log.lines().find(|line| line.contains(&id) && line.contains("bridge_steps"));
            found.map(str::to_owned).ok_or(log)
        })
        .await;
        assert!(line.contains("INFO") && line.contains(what), "{line}");
        assert!(line.contains(&format!("step=\"{step}\"")), "{line}");
        // No colours where nobody sees them, and no JSON.
        assert!(!line.contains('\u{1b}') && !line.starts_with('{'), "{line}");
    }
    world.finish().await
}
