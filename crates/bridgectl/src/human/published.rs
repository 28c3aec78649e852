//! The answer to a publish or a replay.

use crate::answers::Published;

pub fn text(published: &Published) -> String {
    let Published { execution_id, status, tenant_id, workflow_id, lane, .. } = published;
    let mut lines = vec![if published.replayed {
        format!("{execution_id}  {status}, published before with the same idempotency key")
    } else {
        format!("{execution_id}  {status}")
    }];
    lines.push(format!("  workflow  {workflow_id} of {tenant_id}, lane {lane}"));
    if let Some(original) = &published.replay_of {
        lines.push(format!("  replay of {original}"));
    }
    if let Some(topic) = &published.topic {
        lines.push(format!("  topic     {topic}"));
    }
    if let Some(route) = &published.route {
        lines.push(format!("  route     {}", super::timeline::route(route)));
    }
    lines.extend(published.warnings.iter().map(|warning| format!("  warning: {warning}")));
    lines.push(format!("  next      bridgectl execution show {execution_id}"));
    lines.join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_execution() {
        let answer = r#"{"execution_id":"019aa5c1-0000-7000-8000-000000000001","status":"accepted","tenant_id":"acme",
            "workflow_id":"ok","lane":"short","topic":"persistent://acme/workflows/dealscale.workflow.short",
            "route":{"mode":"pulsar","decided_by":"request","reason":"the request names lane short"},
            "links":{"self":"/pulsar/executions/1"},"warnings":["payload is a string that holds JSON"]}"#;
        insta::assert_snapshot!(text(&serde_json::from_str(answer).unwrap()), @"
        019aa5c1-0000-7000-8000-000000000001  accepted
          workflow  ok of acme, lane short
          topic     persistent://acme/workflows/dealscale.workflow.short
          route     pulsar, decided by request: the request names lane short
          warning: payload is a string that holds JSON
          next      bridgectl execution show 019aa5c1-0000-7000-8000-000000000001
        ");
    }
}
