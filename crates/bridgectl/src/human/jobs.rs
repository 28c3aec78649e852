//! Replays and cancellations of many.

use crate::answers::jobs::{Job, Jobs};

pub fn list(jobs: &Jobs, again: &str) -> String {
    if jobs.jobs.is_empty() {
        return "none".to_owned();
    }
    let rows: Vec<_> = jobs
        .jobs
        .iter()
        .map(|job| {
            vec![
                job.job_id.clone(),
                job.created_at.map(super::time).unwrap_or_default(),
                job.kind.clone(),
                job.state.clone(),
                format!("{}/{}", job.seen(), job.total),
                counts(job),
            ]
        })
        .collect();
    let mut text = super::table(&["JOB", "CREATED", "KIND", "STATE", "SEEN", "OF THEM"], &rows);
    if let Some(next) = &jobs.next_cursor {
        text.push_str(&format!("\nMore: {again} --cursor {next}"));
    }
    text
}

pub fn one(job: &Job) -> String {
    let mut lines = Vec::new();
    let mut fact = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("{name:9}{value}")));
    };
    fact("job", Some(job.job_id.clone()));
    fact("state", Some(format!("{}, {} of {} seen", job.state, job.seen(), job.total)));
    fact("so far", Some(counts(job)));
    fact("held up", job.held_up.clone());
    fact("error", job.error.clone());
    fact("kind", Some(job.kind.clone()));
    fact("filter", job.filter.as_ref().map(ToString::to_string));
    fact("pace", job.per_second.map(|pace| format!("at most {pace} a second")));
    let by = job.created_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    fact("created", job.created_at.map(|at| format!("{}{by}", super::time(at))));
    fact("changed", job.changed_at.map(super::time));
    lines.join("\n")
}

fn counts(job: &Job) -> String {
    let mut text = format!("{} {}", job.done, if job.kind == "cancel" { "cancelled" } else { "replayed" });
    for (count, what) in [(job.skipped, "skipped"), (job.failed, "failed")] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"jobs":[
        {"job_id":"019aa5c1-0000-7000-8000-00000000000b","tenant_id":"acme","kind":"cancel","state":"running","total":120,"done":40,
         "skipped":2,"failed":0,"per_second":50.0,"created_at":"2026-11-21T07:22:55Z","filter":{"workflow_id":"w"}},
        {"job_id":"019aa5c1-0000-7000-8000-00000000000a","tenant_id":"acme","kind":"replay","state":"failed","total":7,"done":3,
         "skipped":0,"failed":1,"error":"payload_gone","created_by":"npb_1","created_at":"2026-11-21T07:20:00Z",
         "changed_at":"2026-11-21T07:20:09Z","per_second":0.5,"filter":{"states":["failed"]}}],"next_cursor":"abc"}"#;

    #[test]
    fn jobs_are_listed_with_how_far_they_are() {
        let jobs: Jobs = serde_json::from_str(ANSWER).unwrap();
        insta::assert_snapshot!(list(&jobs, "bridgectl job list"));
        assert_eq!(list(&serde_json::from_str(r#"{"jobs":[]}"#).unwrap(), ""), "none");
    }

    #[test]
    fn one_job_says_all() {
        let jobs: Jobs = serde_json::from_str(ANSWER).unwrap();
        insta::assert_snapshot!(one(&jobs.jobs[1]));
    }
}
