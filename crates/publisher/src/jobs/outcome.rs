//! What became of one execution of a job, or why it is not its turn yet.

use bridge_service::Problem;
use http::StatusCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Skipped,
    Failed,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Over(Outcome),
    Later(HeldUp),
}

/// What passes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldUp {
    /// For whoever looks at the job.
    pub why: String,
    /// Within seconds; otherwise somebody has to do something about it.
    pub soon: bool,
}

/// A tenant's rate, its quotas, its suspension and its missing key hold a job up; they do not fail it.
pub fn of(problem: &Problem) -> Verdict {
    let held_up = |soon| Verdict::Later(HeldUp { why: problem.detail().to_owned(), soon });
    match problem.status() {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => held_up(true),
        StatusCode::FORBIDDEN if matches!(problem.slug(), "tenant-suspended" | "quota-exceeded") => {
            held_up(false)
        }
        // It is gone, or lives again.
        StatusCode::NOT_FOUND | StatusCode::CONFLICT => Verdict::Over(Outcome::Skipped),
        _ => Verdict::Over(Outcome::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_holds_a_job_up_and_the_rest_is_counted() {
        let of = |status, slug: &'static str| of(&Problem::new(status, slug, "X", "why"));
        let later = |soon| Verdict::Later(HeldUp { why: "why".to_owned(), soon });
        for (status, slug, verdict) in [
            (StatusCode::TOO_MANY_REQUESTS, "rate-limited", later(true)),
            (StatusCode::SERVICE_UNAVAILABLE, "data-key-unavailable", later(true)),
            (StatusCode::FORBIDDEN, "tenant-suspended", later(false)),
            (StatusCode::FORBIDDEN, "quota-exceeded", later(false)),
            (StatusCode::FORBIDDEN, "x", Verdict::Over(Outcome::Failed)),
            (StatusCode::CONFLICT, "still-live", Verdict::Over(Outcome::Skipped)),
            (StatusCode::GONE, "payload-gone", Verdict::Over(Outcome::Failed)),
        ] {
            assert_eq!(of(status, slug), verdict, "{slug}");
        }
    }
}
