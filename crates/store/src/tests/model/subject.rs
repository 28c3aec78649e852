//! The execution under test: every operation twice where its answer may be lost, and what the database then holds.

use bridge_protocol::{Evidence, Reason, State};
use sqlx::Row;
use tokio::sync::Mutex;

use super::super::native::decide;
use super::super::*;
use super::{Model, Op, Token, Whose, digest};
use crate::{Accepted, CancelOutcome, Due, Finished, Refusal, Report, Reported, Reschedule, ResultBody, Why};

/// The row and what belongs to it.
#[derive(Debug, PartialEq)]
pub struct Seen {
    pub state: State,
    pub attempt: u16,
    pub claim: Option<Uuid>,
    pub evidence: Option<i16>,
    pub reason: Option<String>,
    pub leased: bool,
    pub token: bool,
    pub over: Vec<String>,
    pub old_tokens: i64,
    pub timers: i64,
    pub mirrored: i64,
    pub results: i64,
    pub follow_ups: i64,
    pub dead_letters: i64,
    pub notices: i64,
}

/// The execution under test, in the database.
pub struct Subject<'a> {
    pub t: &'a TestStore,
    pub sql: &'a Mutex<PgConnection>,
    pub new: NewExecution,
    pub last: Claim,
}

impl Subject<'_> {
    async fn run(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.replace("ID", &self.new.id.to_string()));
        sqlx::raw_sql(sql).execute(&mut *self.sql.lock().await).await.unwrap();
    }

    pub async fn seen(&self) -> Seen {
        let row = sqlx::query(
            "SELECT e.*, e.lease_until IS NOT NULL AS leased, e.callback_digest IS NOT NULL AS token,
               ARRAY(SELECT a.attempt || ' ' || a.outcome FROM attempts a WHERE a.tenant_id = e.tenant_id AND a.id = e.id ORDER BY a.attempt) AS over,
               (SELECT count(*) FROM attempts a WHERE a.tenant_id = e.tenant_id AND a.id = e.id AND a.callback_digest IS NOT NULL) AS old_tokens,
               (SELECT count(*) FROM timers t WHERE t.tenant_id = e.tenant_id AND t.execution_id = e.id) AS timers,
               (SELECT count(*) FROM timers t WHERE t.tenant_id = e.tenant_id AND t.execution_id = e.id AND t.due_at = e.due_at) AS mirrored,
               (SELECT count(*) FROM results r WHERE r.tenant_id = e.tenant_id AND r.id = e.id) AS results,
               (SELECT count(*) FROM follow_ups f WHERE f.tenant_id = e.tenant_id AND f.execution_id = e.id) AS follow_ups,
               (SELECT count(*) FROM dead_letters d WHERE d.tenant_id = e.tenant_id AND d.execution_id = e.id) AS dead_letters,
               (SELECT count(*) FROM notices n WHERE n.tenant_id = e.tenant_id AND n.execution_id = e.id) AS notices
             FROM executions e WHERE e.tenant_id = 'acme' AND e.id = $1",
        )
        .bind(self.new.id.uuid())
        .fetch_one(&mut *self.sql.lock().await)
        .await
        .unwrap();
        Seen {
            state: State::from_code(row.get("state")).unwrap(),
            attempt: row.get::<i16, _>("attempt") as u16,
            claim: row.get("claim_id"),
            evidence: row.get("evidence"),
            reason: row.get("reason"),
            leased: row.get("leased"),
            token: row.get("token"),
            over: row.get("over"),
            old_tokens: row.get("old_tokens"),
            timers: row.get("timers"),
            mirrored: row.get("mirrored"),
            results: row.get("results"),
            follow_ups: row.get("follow_ups"),
            dead_letters: row.get("dead_letters"),
            notices: row.get("notices"),
        }
    }

    pub async fn step(&mut self, model: &mut Model, op: Op) {
        match op {
            Op::AcceptAgain => {
                let again = self.t.store.accept(self.new.clone(), PATIENCE).await.unwrap();
                assert_eq!(again, Accepted::New);
            }
            Op::Claim(off) => {
                let attempt = model.attempt.saturating_add_signed(1 + i16::from(off));
                let claim = Claim { callback_digest: Some(digest(attempt)), ..claim(self.new.id, attempt) };
                let expected = model.claims(attempt, claim.claim_id);
                if expected.is_ok() {
                    self.last = claim.clone();
                }
                self.claim(claim, expected).await;
            }
            Op::ClaimAgain => {
                let claim = self.last.clone();
                let expected = model.claims(claim.attempt, claim.claim_id);
                self.claim(claim, expected).await;
            }
            Op::Wait(whose) => {
                let claim_id = self.claim_of(whose);
                let why = Why::Wait { claim_id, http_status: Some(200), n8n_execution_id: None };
                let expected = model.fenced(claim_id, State::Waiting).map(|moves| {
                    if moves {
                        model.become_(State::Waiting);
                    }
                });
                self.reschedule(why, expected).await;
            }
            Op::Retry(whose) => {
                let claim_id = self.claim_of(whose);
                let why = Why::Retry { claim_id, http_status: Some(503), error: None };
                let expected = model.fenced(claim_id, State::Retrying).map(|moves| {
                    if moves {
                        model.loses("retry");
                    }
                });
                self.reschedule(why, expected).await;
            }
            Op::Unsent(whose) => {
                let claim_id = self.claim_of(whose);
                let expected = model.gives_back(claim_id);
                self.reschedule(Why::Unsent { claim_id, error: None }, expected).await;
            }
            Op::Park => {
                let row = Reschedule {
                    tenant: tenant(),
                    id: self.new.id,
                    attempt: model.attempt + 1,
                    after: Duration::from_secs(5),
                    why: Why::Park { longest: Duration::from_secs(60) },
                };
                let parks = matches!(model.state, State::Accepted | State::Retrying);
                let expected = if parks { Finished::Done } else { Finished::LostFence(Some(model.state)) };
                assert_eq!(self.t.store.reschedule(row, PATIENCE).await.unwrap(), expected);
            }
            Op::Release => {
                let workflow = self.new.workflow.clone();
                self.t.store.release_held(&tenant(), Some(&workflow), Some(Lane::Long)).await.unwrap();
            }
            Op::Finish(whose, state) => self.finish(model, whose, state).await,
            Op::Report(token, success, body) => self.report(model, token, success, body).await,
            Op::Cancel => {
                let expected = if model.state.is_terminal() {
                    CancelOutcome::Ended(model.state)
                } else {
                    CancelOutcome::Cancelled { from: model.state }
                };
                let outcome = self.t.store.cancel_one("op", &tenant(), self.new.id, &[], None).await.unwrap();
                assert_eq!(outcome, Some(expected));
                if !model.state.is_terminal() {
                    model.become_(State::Cancelled);
                }
            }
            Op::Ring(lapsed) => {
                let lease = if lapsed { "now() - interval '1 hour'" } else { "lease_until" };
                self.run(&format!(
                    "WITH e AS (UPDATE executions SET due_at = now(), lease_until = CASE WHEN lease_until IS NOT NULL THEN {lease} END
                       WHERE tenant_id = 'acme' AND id = 'ID') UPDATE timers SET due_at = now() WHERE execution_id = 'ID'"
                ))
                .await;
                let id = self.new.id;
                // Earlier lists' executions are nobody's business here.
                let ours = move |due: &Due| (due.id == id).then(|| decide(due)).flatten();
                self.t.store.ring(500, ours).await.unwrap();
                model.rings(lapsed);
            }
            Op::Expire => {
                self.run("UPDATE executions SET expires_at = now() - interval '1 s' WHERE tenant_id = 'acme' AND id = 'ID'")
                    .await;
                model.expired = true;
            }
        }
    }

    fn claim_of(&self, whose: Whose) -> Uuid {
        match whose {
            Whose::Own => self.last.claim_id,
            Whose::Foreign => id(),
        }
    }

    async fn claim(&self, claim: Claim, expected: Result<u16, Refusal>) {
        for _ in 0..2 {
            // The second time as after a lost answer.
            let answer = match self.t.store.claim(claim.clone(), PATIENCE).await.unwrap() {
                ClaimAnswer::Claimed(claimed) => Ok(claimed.attempt),
                ClaimAnswer::Refused(refusal) => Err(refusal),
            };
            assert_eq!(answer, expected);
        }
    }

    async fn reschedule(&self, why: Why, expected: Result<(), Finished>) {
        let expected = expected.map_or_else(|lost| lost, |()| Finished::Done);
        let after = Duration::from_secs(40);
        let row = Reschedule { tenant: tenant(), id: self.new.id, attempt: self.last.attempt, after, why };
        for _ in 0..2 {
            assert_eq!(self.t.store.reschedule(row.clone(), PATIENCE).await.unwrap(), expected);
        }
    }

    async fn finish(&self, model: &mut Model, whose: Whose, state: State) {
        let result = Some(ResultBody {
            content_type: None,
            body: Bytes::from_static(b"{}"),
            truncated: false,
            data_key: None,
        });
        let (ending, evidence, reason, results) = match state {
            State::Succeeded => {
                let evidence = Evidence::Response;
                (Ending::Succeeded { evidence, result }, Some(evidence), None, 1)
            }
            State::Failed => {
                let reason = Reason::PermanentAnswer;
                (Ending::Failed { reason, result }, None, Some(reason), 1)
            }
            _ => {
                let reason = Reason::BlockedAddress;
                (Ending::DeadLettered(reason), None, Some(reason), 0)
            }
        };
        let claim = Claim { claim_id: self.claim_of(whose), ..self.last.clone() };
        let expected = match model.fenced(claim.claim_id, state) {
            Ok(moves) => {
                if moves {
                    model.become_(state);
                    (model.evidence, model.reason, model.results) = (evidence, reason, results);
                }
                Finished::Done
            }
            Err(lost) => lost,
        };
        for _ in 0..2 {
            let row = finish(&claim, ending.clone());
            assert_eq!(self.t.store.finish(row, PATIENCE).await.unwrap(), expected);
        }
    }

    async fn report(&self, model: &mut Model, token: Token, success: bool, body: u8) {
        let (attempt, token_digest) = match token {
            Token::Current => (model.attempt, digest(model.attempt)),
            Token::Earlier(by) => {
                let attempt = model.attempt.saturating_sub(by);
                (attempt, digest(attempt))
            }
            Token::Wrong => (model.attempt, [0; 32]),
            Token::Swapped => (model.attempt, digest(model.attempt.wrapping_sub(1))),
        };
        let genuine = attempt > 0 && token_digest == digest(attempt);
        let report_digest = [body * 2 + u8::from(success); 32];
        let report = Report {
            tenant: tenant(),
            id: self.new.id,
            attempt,
            token_digest,
            report_digest,
            success,
            result: None,
            error: None,
            n8n_execution_id: None,
        };
        let expected = model.reports(genuine.then_some(attempt), success, report_digest);
        assert_eq!(self.t.store.report(report.clone()).await.unwrap(), expected);
        let again = match expected {
            Reported::Done(state) => Reported::Repeated(state),
            other => other,
        };
        assert_eq!(self.t.store.report(report).await.unwrap(), again);
    }
}
