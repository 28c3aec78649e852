//! The worked examples of docs/examples, as a reader would run them.

use std::path::PathBuf;
use std::process::Command;

use bridge_protocol::Lane;
use bridge_tests::World;
use bridge_tests::parts::{output, repository};
use serde_json::Value;

/// The Python with what docs/examples/requirements.txt names.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("BRIDGE_TEST_EXAMPLES_PYTHON").map(PathBuf::from);
    if python.is_none() {
        assert!(std::env::var_os("BRIDGE_TEST_LOGS").is_none(), "scripts/test must set it");
        eprintln!(
            "skipped: ./scripts/test sets BRIDGE_TEST_EXAMPLES_PYTHON (./scripts/parts fetch examples)"
        );
    }
    python
}

#[tokio::test]
async fn the_python_verifier_reads_what_the_bridge_publishes_and_names_a_forgery() -> anyhow::Result<()> {
    let Some(python) = python() else { return Ok(()) };
    let world = World::start().await?;
    let topic = world.broker.names.topic(&world.tenant(), Lane::Long);
    let ids = [world.api.fire("w").await?, world.api.fire("w").await?];
    for id in &ids {
        world.api.until(id, "succeeded").await;
    }
    world.broker.send(&topic, "forged").await?;
    let mut verify = Command::new(python);
    verify
        .arg(repository().join("docs/examples/verify.py"))
        .arg("--keyring")
        .arg(world.file("keyring.toml"))
        .args(["--topic", &topic, "--service-url", &world.pulsar.service_url, "--count", "3", "--wait", "60"])
        .arg("--token-file")
        .arg(&world.pulsar.consumer_token);
    let run = output(verify).await?;
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    let lines: Vec<Value> = said.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let mut seen: Vec<&str> = lines.iter().filter_map(|line| line["claims"]["sub"].as_str()).collect();
    let mut wanted: Vec<&str> = ids.iter().map(String::as_str).collect();
    seen.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(seen, wanted, "{said}");
    assert_eq!((&lines[2]["verdict"], &lines[2]["reason"]), (&"forged".into(), &"junk".into()), "{said}");
    world.finish().await
}

/// Against the golden vectors, by the same code.
#[tokio::test]
async fn the_python_verifier_passes_every_vector() -> anyhow::Result<()> {
    const CHECK: &str = r#"
import json, sys
sys.path.insert(0, sys.argv[1])
import verify
vectors = sys.argv[2]
keys = verify.keyring(f"{vectors}/keyring.toml")
accepted, rejected = (json.load(open(f"{vectors}/{name}.json")) for name in ("accepted", "rejected"))
for vector in accepted:
    claims = verify.verify(vector["message"].encode(), vector["received_from"], vector["now"], keys)
    assert claims == vector["claims"], vector["name"]
for vector in rejected:
    try:
        verify.verify(vector["message"].encode(), vector["received_from"], vector["now"], keys)
        raise SystemExit(f"accepted: {vector['name']}")
    except verify.Rejected as no:
        assert list(no.args) == [vector["kind"], vector["reason"]], (vector["name"], no.args)
print(len(accepted), len(rejected))
"#;
    let Some(python) = python() else { return Ok(()) };
    let mut check = Command::new(python);
    check.args(["-c", CHECK]);
    check.args([repository().join("docs/examples"), repository().join("crates/protocol/tests/vectors")]);
    let run = output(check).await?;
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let counts = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(
        counts.split_whitespace().all(|count| count.parse().is_ok_and(|count: u32| count > 5)),
        "{counts}"
    );
    Ok(())
}
