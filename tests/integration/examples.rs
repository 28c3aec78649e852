//! The worked examples of docs/examples, as a reader would run them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bridge_bus::roles::{SigningKeyFile, mint};
use bridge_protocol::Lane;
use bridge_tests::parts::{output, repository};
use bridge_tests::{Reply, World};
use chrono::Utc;
use serde_json::{Value, json};

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

/// What `verify.py` says of the first `count` messages of a topic, with this token at the broker.
async fn said(
    world: &World,
    python: &Path,
    topic: &str,
    count: usize,
    token: &Path,
) -> anyhow::Result<Vec<Value>> {
    let mut verify = Command::new(python);
    verify
        .arg(repository().join("docs/examples/verify.py"))
        .arg("--keyring")
        .arg(world.file("keyring.toml"))
        .args(["--topic", topic, "--service-url", &world.pulsar.service_url, "--wait", "60"])
        .args(["--count", &count.to_string()])
        .arg("--token-file")
        .arg(token);
    let run = output(verify).await?;
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    Ok(said.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
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
    let lines = said(&world, &python, &topic, 3, &world.pulsar.consumer_token).await?;
    let mut seen: Vec<&str> = lines.iter().filter_map(|line| line["claims"]["sub"].as_str()).collect();
    let mut wanted: Vec<&str> = ids.iter().map(String::as_str).collect();
    seen.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(seen, wanted, "{lines:?}");
    assert_eq!((&lines[2]["verdict"], &lines[2]["reason"]), (&"forged".into(), &"junk".into()), "{lines:?}");

    // The forgery is announced, and so is a dead letter: signed, for the tenant's own role to read.
    world.endpoint.script("broken", [Reply::Status(400)]);
    let broken = world.api.fire("broken").await?;
    world.api.expect(&broken, "dead_lettered");
    let (token, role) = (world.file("tenant.token"), format!("tenant-{}", world.tenant()));
    let key = SigningKeyFile::read(&world.pulsar.secret_key)?;
    std::fs::write(&token, mint(&role, &key, Some(Duration::from_secs(120)), Utc::now())?)?;
    let dead_letters = world.broker.names.dead_letter(&world.tenant(), Lane::Long);
    let announced = said(&world, &python, &dead_letters, 2, &token).await?;
    let of = |kind: &str| {
        let found = announced.iter().map(|line| &line["claims"]).find(|claims| claims["kind"] == kind);
        found.unwrap_or_else(|| panic!("no {kind} in {announced:?}"))
    };
    let (forged, dead) = (of("forged"), of("dead_lettered"));
    assert_eq!((&forged["reason"], &forged["tid"]), (&json!("junk"), &json!(world.tenants[0].id)));
    assert_eq!((&dead["reason"], &dead["sub"]), (&json!("permanent_answer"), &json!(broken)), "{dead}");
    assert_eq!(
        (&dead["tid"], &dead["detail"]["lane"]),
        (&json!(world.tenants[0].id), &json!("long")),
        "{dead}"
    );
    world.finish().await
}

/// Against the golden vectors: the worked example, and the code that the specification prints.
#[tokio::test]
async fn the_python_verifiers_pass_every_vector() -> anyhow::Result<()> {
    // What the printed code leaves to its reader is taken from the example.
    const PRINTED: &str = r#"
import types
spec = types.ModuleType("spec")
text = open(sys.argv[3], encoding="utf-8").read()
exec(text.split("```python\n")[1].split("```")[0], spec.__dict__)
def read(vector, kind):
    tenant_of = lambda topic: verify.tenant_of(topic, kind.topics)
    return spec.verify(vector["message"].encode(), vector["received_from"], vector["now"], keys, tenant_of,
                       spec.is_notice if kind is verify.Notice else spec.is_message)
Rejected = spec.Rejected
check()
"#;
    const CHECK: &str = r#"
import json, sys
sys.path.insert(0, sys.argv[1])
import verify
from verify import Rejected
vectors = sys.argv[2]
keys = verify.keyring(f"{vectors}/keyring.toml")
accepted, rejected, notices, rejected_notices = (
    json.load(open(f"{vectors}/{name}.json")) for name in ("accepted", "rejected", "notices", "rejected_notices"))
def read(vector, kind):
    return verify.verify(vector["message"].encode(), vector["received_from"], vector["now"], keys, kind)
def refused(vector, kind):
    try:
        read(vector, kind)
    except Rejected as no:
        return list(no.args)
    raise SystemExit(f"accepted: {vector['name']}")
def check():
    for vector in notices:
        assert read(vector, verify.Notice) == vector["claims"], vector["name"]
        # A notice is never work, and work is never a notice.
        assert refused(vector, verify.Work) == ["forged", "junk"], vector["name"]
    for vector in accepted:
        assert read(vector, verify.Work) == vector["claims"], vector["name"]
        assert refused(vector, verify.Notice) == ["forged", "junk"], vector["name"]
    for vector in rejected:
        assert refused(vector, verify.Work) == [vector["kind"], vector["reason"]], vector["name"]
    for vector in rejected_notices:
        assert refused(vector, verify.Notice) == [vector["kind"], vector["reason"]], vector["name"]
check()
print(len(accepted), len(rejected), len(notices), len(rejected_notices))
"#;
    let Some(python) = python() else { return Ok(()) };
    let mut check = Command::new(python);
    check.args(["-c", &format!("{CHECK}{PRINTED}")]);
    check.args([repository().join("docs/examples"), repository().join("crates/protocol/tests/vectors")]);
    check.arg(repository().join("docs/spec/message.md"));
    let run = output(check).await?;
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let counts = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(
        counts.split_whitespace().all(|count| count.parse().is_ok_and(|count: u32| count > 3)),
        "{counts}"
    );
    Ok(())
}
