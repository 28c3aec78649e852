//! The relay's half of the store: what is due is taken, decided, re-armed or ended in one short transaction.
//! It never waits for a row: finish locks execution and timer in the other order.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use bridge_protocol::{
    ExecutionId, Lane, Mode, PayloadHash, Reason, State, TenantId, Time, TimerDecision, WorkflowId,
};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use uuid::Uuid;

use crate::day::Day;
use crate::finish::dead_letters;
use crate::follow_ups::follow_ups;
use crate::{Ended, Store, StoreError, rows, tx};

/// An execution whose timer is due, as the relay sees it.
#[derive(Clone, Debug)]
pub struct Due {
    pub tenant: TenantId,
    pub id: ExecutionId,
    pub workflow: WorkflowId,
    pub lane: Lane,
    pub mode: Mode,
    pub state: State,
    pub attempt: u16,
    pub deliver_at: Option<Time>,
    pub expires_at: Option<Time>,
    pub lease_until: Option<Time>,
    /// None: certainly not in the topic.
    pub published_at: Option<Time>,
    pub publishes: u16,
    pub psh: PayloadHash,
    pub traceparent: Option<String>,
    /// Postgres's clock.
    pub now: Time,
}

/// What one look at the due timers did.
#[derive(Debug, Default)]
pub struct Rung {
    /// Timers that were due and not locked by another relay.
    pub seen: usize,
    /// To be published now, each for the attempt beside it.
    pub publish: Vec<(Due, u16)>,
    pub ended: Vec<(Due, Ended)>,
    pub rearmed: usize,
    pub deleted: usize,
    /// Left as they were: the decision was put off.
    pub left: usize,
}

pub(crate) const TAKE: &str = "SELECT due_at, tenant_id, execution_id, now() AS now FROM timers WHERE due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED";

pub(crate) fn join_sql(day: Day) -> String {
    format!(
        "SELECT r.due_at AS rung_at, e.tenant_id, e.id, e.workflow_id, e.lane, e.mode, e.state, e.attempt, e.deliver_at, e.expires_at, e.lease_until, e.due_at, e.published_at,
            e.publishes, e.psh, e.traceparent, extract(epoch FROM now() - e.accepted_at)::float8 AS age
          FROM unnest($1::timestamptz[], $2::text[], $3::uuid[]) AS r(due_at, tenant_id, id)
          JOIN executions_{day} e ON e.tenant_id = r.tenant_id AND e.id = r.id FOR UPDATE OF e SKIP LOCKED",
        day = day.suffix()
    )
}

fn exists_sql(day: Day) -> String {
    format!(
        "SELECT e.tenant_id, e.id FROM unnest($1::text[], $2::uuid[]) AS r(tenant_id, id) JOIN executions_{day} e ON e.tenant_id = r.tenant_id AND e.id = r.id",
        day = day.suffix()
    )
}

/// `moves`: publish, rearm, retry. A running execution whose lease lapsed, or a waiting one that nobody reported on, loses
/// that attempt here, in the open.
pub(crate) fn move_sql(day: Day) -> String {
    format!(
        "WITH r AS (SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::uuid[], $4::timestamptz[], $5::bool[], $6::bool[])
            AS r(due_at, tenant_id, id, new_due, publish, lapsed)),
          d AS (DELETE FROM timers t USING r WHERE t.due_at = r.due_at AND t.tenant_id = r.tenant_id AND t.execution_id = r.id AND r.due_at <> r.new_due),
          i AS (INSERT INTO timers (due_at, tenant_id, execution_id) SELECT new_due, tenant_id, id FROM r ON CONFLICT DO NOTHING),
          a AS (INSERT INTO attempts_{day} (tenant_id, id, attempt, claimed_at, finished_at, http_status, outcome, message_id, callback_digest)
            SELECT e.tenant_id, e.id, e.attempt, e.claimed_at, now(), e.http_status, CASE e.state WHEN 2 THEN 'callback_timed_out' ELSE 'lease_lapsed' END, e.message_id, e.callback_digest
            FROM r JOIN executions_{day} e ON e.tenant_id = r.tenant_id AND e.id = r.id WHERE r.lapsed ON CONFLICT DO NOTHING)
        UPDATE executions_{day} e SET due_at = r.new_due,
            published_at = CASE WHEN r.publish THEN now() WHEN r.lapsed THEN NULL ELSE e.published_at END,
            publishes = CASE WHEN r.lapsed THEN 0 ELSE e.publishes END + r.publish::int,
            state = CASE WHEN r.lapsed THEN 3 ELSE e.state END, lease_until = CASE WHEN r.lapsed THEN NULL ELSE e.lease_until END
          FROM r WHERE e.tenant_id = r.tenant_id AND e.id = r.id",
        day = day.suffix()
    )
}

pub(crate) fn end_sql(day: Day) -> String {
    format!(
        "WITH r AS (SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::uuid[], $4::int2[], $5::text[]) AS r(due_at, tenant_id, id, state, reason)),
          d AS (DELETE FROM timers t USING r WHERE t.due_at = r.due_at AND t.tenant_id = r.tenant_id AND t.execution_id = r.id),
          u AS (UPDATE executions_{day} e SET state = r.state, reason = r.reason, lease_until = NULL, finished_at = now()
            FROM r WHERE e.tenant_id = r.tenant_id AND e.id = r.id
            RETURNING e.tenant_id, e.id, e.lane, e.workflow_id, e.state, e.reason, e.attempt, e.message_id, e.http_status, e.on_failure, e.caused_by),
          {dead_letters},
          {follow_ups}
        SELECT count(*) FROM u",
        day = day.suffix(),
        dead_letters = dead_letters("u"),
        follow_ups = follow_ups("u")
    )
}

struct Timer {
    due_at: Time,
    tenant: String,
    id: Uuid,
}

#[derive(Default)]
struct Plan {
    moves: Vec<(Timer, Time, bool, bool)>,
    ends: Vec<(Timer, Ended)>,
}

impl Store {
    /// Takes at most `limit` due timers. `decide` may put a decision off (None): that timer stays as it is.
    pub async fn ring<F>(&self, limit: usize, decide: F) -> Result<Rung, StoreError>
    where
        F: FnMut(&Due) -> Option<TimerDecision> + Send + 'static,
    {
        // The transaction may run again, so the closure is shared with each run; no await happens under the lock.
        let decide = Arc::new(Mutex::new(decide));
        tx::transaction(&self.batch_pool, "relay.ring", self.transaction_limit(), move |connection, _| {
            let decide = decide.clone();
            Box::pin(async move { ring(connection, limit, &decide).await })
        })
        .await
        .inspect(|rung| rung.ended.iter().for_each(|(_, ended)| ended.count()))
    }
}

async fn ring<F>(connection: &mut PgConnection, limit: usize, decide: &Mutex<F>) -> Result<Rung, sqlx::Error>
where
    F: FnMut(&Due) -> Option<TimerDecision> + Send,
{
    let taken = sqlx::query(TAKE).bind(limit as i64).fetch_all(&mut *connection).await?;
    let mut rung = Rung { seen: taken.len(), ..Rung::default() };
    let mut by_day: BTreeMap<Day, Vec<Timer>> = BTreeMap::new();
    let mut now = None;
    for row in taken {
        let timer = Timer {
            due_at: row.try_get("due_at")?,
            tenant: row.try_get("tenant_id")?,
            id: row.try_get("execution_id")?,
        };
        now = Some(row.try_get::<Time, _>("now")?);
        by_day.entry(Day::of(rows::execution_id(timer.id)?)).or_default().push(timer);
    }
    let Some(now) = now else { return Ok(rung) };
    for (day, timers) in by_day {
        if !partition_exists(connection, day).await? {
            rung.deleted += timers.len();
            delete(connection, &timers).await?;
            continue;
        }
        let (plan, dead) = plan(connection, day, &timers, now, decide, &mut rung).await?;
        rung.deleted += dead.len();
        delete(connection, &dead).await?;
        carry_out(connection, day, &plan).await?;
    }
    Ok(rung)
}

async fn plan<F>(
    connection: &mut PgConnection,
    day: Day,
    timers: &[Timer],
    now: Time,
    decide: &Mutex<F>,
    rung: &mut Rung,
) -> Result<(Plan, Vec<Timer>), sqlx::Error>
where
    F: FnMut(&Due) -> Option<TimerDecision> + Send,
{
    let tenants: Vec<&str> = timers.iter().map(|t| t.tenant.as_str()).collect();
    let ids: Vec<Uuid> = timers.iter().map(|t| t.id).collect();
    let found = sqlx::query(AssertSqlSafe(join_sql(day)))
        .bind(timers.iter().map(|t| t.due_at).collect::<Vec<_>>())
        .bind(&tenants)
        .bind(&ids)
        .fetch_all(&mut *connection)
        .await?;
    let mut plan = Plan::default();
    let mut dead = Vec::new();
    let mut locked: HashSet<(String, Uuid)> = HashSet::with_capacity(found.len());
    for row in &found {
        let due = due(row, now)?;
        locked.insert((due.tenant.as_str().to_owned(), due.id.uuid()));
        let timer = Timer {
            due_at: row.try_get("rung_at")?,
            tenant: due.tenant.as_str().to_owned(),
            id: due.id.uuid(),
        };
        let mirrored: Option<Time> = row.try_get("due_at")?;
        if due.state.is_terminal() || mirrored != Some(timer.due_at) {
            // An orphan: a finish or a reschedule overtook the re-arming of this timer.
            dead.push(timer);
            continue;
        }
        let decision = decide.lock().unwrap_or_else(std::sync::PoisonError::into_inner)(&due);
        match decision {
            None => rung.left += 1,
            Some(TimerDecision::Delete) => dead.push(timer),
            Some(TimerDecision::Rearm(at)) => {
                rung.rearmed += 1;
                plan.moves.push((timer, at, false, false));
            }
            Some(TimerDecision::Publish { attempt, next_due }) => {
                let lapsed = due.state == State::Running;
                plan.moves.push((timer, next_due, true, lapsed));
                rung.publish.push((due, attempt));
            }
            Some(TimerDecision::Retry { due: at }) => {
                rung.rearmed += 1;
                plan.moves.push((timer, at, false, true));
            }
            Some(TimerDecision::DeadLetter(reason)) => {
                end(row, timer, due, State::DeadLettered, reason, &mut plan, rung)?;
            }
            Some(TimerDecision::Expire) => {
                end(row, timer, due, State::Expired, Reason::Expired, &mut plan, rung)?;
            }
            Some(TimerDecision::Fail(reason)) => {
                end(row, timer, due, State::Failed, reason, &mut plan, rung)?;
            }
        }
    }
    if locked.len() < timers.len() {
        // Not returned: locked by a batch that is committing right now, or its execution is gone.
        let exists = sqlx::query(AssertSqlSafe(exists_sql(day)))
            .bind(&tenants)
            .bind(&ids)
            .fetch_all(connection)
            .await?;
        let exists: HashSet<(String, Uuid)> = exists
            .iter()
            .map(|row| Ok((row.try_get("tenant_id")?, row.try_get("id")?)))
            .collect::<Result<_, sqlx::Error>>()?;
        for timer in timers {
            let key = (timer.tenant.clone(), timer.id);
            if locked.contains(&key) {
                continue;
            }
            if exists.contains(&key) {
                rung.left += 1;
            } else {
                dead.push(Timer { due_at: timer.due_at, tenant: timer.tenant.clone(), id: timer.id });
            }
        }
    }
    Ok((plan, dead))
}

async fn carry_out(connection: &mut PgConnection, day: Day, plan: &Plan) -> Result<(), sqlx::Error> {
    if !plan.moves.is_empty() {
        sqlx::query(AssertSqlSafe(move_sql(day)))
            .bind(plan.moves.iter().map(|(t, ..)| t.due_at).collect::<Vec<_>>())
            .bind(plan.moves.iter().map(|(t, ..)| t.tenant.as_str()).collect::<Vec<_>>())
            .bind(plan.moves.iter().map(|(t, ..)| t.id).collect::<Vec<_>>())
            .bind(plan.moves.iter().map(|(_, at, ..)| *at).collect::<Vec<_>>())
            .bind(plan.moves.iter().map(|(_, _, publish, _)| *publish).collect::<Vec<_>>())
            .bind(plan.moves.iter().map(|(.., lapsed)| *lapsed).collect::<Vec<_>>())
            .execute(&mut *connection)
            .await?;
    }
    if !plan.ends.is_empty() {
        sqlx::query(AssertSqlSafe(end_sql(day)))
            .bind(plan.ends.iter().map(|(t, ..)| t.due_at).collect::<Vec<_>>())
            .bind(plan.ends.iter().map(|(t, ..)| t.tenant.as_str()).collect::<Vec<_>>())
            .bind(plan.ends.iter().map(|(t, ..)| t.id).collect::<Vec<_>>())
            .bind(plan.ends.iter().map(|(_, ended)| ended.state.code()).collect::<Vec<i16>>())
            .bind(plan.ends.iter().map(|(_, ended)| ended.reason.map(Reason::as_str)).collect::<Vec<_>>())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn delete(connection: &mut PgConnection, timers: &[Timer]) -> Result<(), sqlx::Error> {
    if timers.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM timers t USING unnest($1::timestamptz[], $2::text[], $3::uuid[]) AS r(due_at, tenant_id, id)
          WHERE t.due_at = r.due_at AND t.tenant_id = r.tenant_id AND t.execution_id = r.id",
    )
    .bind(timers.iter().map(|t| t.due_at).collect::<Vec<_>>())
    .bind(timers.iter().map(|t| t.tenant.as_str()).collect::<Vec<_>>())
    .bind(timers.iter().map(|t| t.id).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn partition_exists(connection: &mut PgConnection, day: Day) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(format!("executions_{}", day.suffix()))
        .fetch_one(connection)
        .await
}

fn end(
    row: &PgRow,
    timer: Timer,
    due: Due,
    state: State,
    reason: Reason,
    plan: &mut Plan,
    rung: &mut Rung,
) -> Result<(), sqlx::Error> {
    let took = rows::elapsed(row.try_get("age")?);
    let ended = Ended { lane: due.lane, state, reason: Some(reason), evidence: None, took };
    plan.ends.push((timer, ended));
    rung.ended.push((due, ended));
    Ok(())
}

fn due(row: &PgRow, now: Time) -> Result<Due, sqlx::Error> {
    Ok(Due {
        tenant: rows::tenant(row.try_get("tenant_id")?)?,
        id: rows::execution_id(row.try_get("id")?)?,
        workflow: rows::workflow(row.try_get("workflow_id")?)?,
        lane: rows::lane(row.try_get("lane")?)?,
        mode: rows::mode(row.try_get("mode")?)?,
        state: rows::state(row.try_get("state")?)?,
        attempt: row.try_get::<i16, _>("attempt")? as u16,
        deliver_at: row.try_get("deliver_at")?,
        expires_at: row.try_get("expires_at")?,
        lease_until: row.try_get("lease_until")?,
        published_at: row.try_get("published_at")?,
        publishes: row.try_get::<i16, _>("publishes")? as u16,
        psh: rows::payload_hash(row.try_get("psh")?)?,
        traceparent: row.try_get("traceparent")?,
        now,
    })
}
