//! Lists of executions, newest first, in pages.

use bridge_protocol::{Evidence, ExecutionId, Lane, Reason, State, TenantId, Time, WorkflowId};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgArguments, Postgres};
use uuid::Uuid;

use crate::day::first_id_at;
use crate::dead_letters::DeadLetterFilter;
use crate::page::{Found, WINDOW, page};
use crate::{Store, StoreError, rows};

type QueryAs<'q, R> = sqlx::query::QueryAs<'q, Postgres, R, PgArguments>;

/// A count looks at as many executions and no further.
const COUNTED: i64 = 1_000_000;

/// Which executions are meant; what is empty admits all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<State>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    /// Accepted at or after this time, by the time in the id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Accepted before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// A JSON object that the metadata contains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    pub id: ExecutionId,
    pub workflow: WorkflowId,
    pub lane: Lane,
    pub state: State,
    pub evidence: Option<Evidence>,
    pub attempt: u16,
    pub accepted_at: Time,
    pub finished_at: Option<Time>,
    pub reason: Option<String>,
    /// Known in a list of dead letters only.
    pub replayed_as: Option<Uuid>,
}

#[derive(Clone, Debug)]
pub struct Listing {
    pub rows: Vec<Listed>,
    /// The search ended before the page was full: older executions were not looked at. It goes on from `next`.
    pub partial: bool,
    /// What the next page is before. None: there is nothing older.
    pub next: Option<ExecutionId>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    workflow_id: String,
    lane: i16,
    state: i16,
    evidence: Option<i16>,
    attempt: i16,
    accepted_at: Time,
    finished_at: Option<Time>,
    reason: Option<String>,
    number: i64,
    matches: bool,
}

#[derive(sqlx::FromRow)]
struct Counted {
    matching: i64,
    seen: i64,
    last: Option<Uuid>,
}

impl Found for Row {
    fn id(&self) -> Uuid {
        self.id
    }

    fn number(&self) -> i64 {
        self.number
    }

    fn matches(&self) -> bool {
        self.matches
    }
}

impl Row {
    fn listed(self) -> Result<Listed, sqlx::Error> {
        Ok(Listed {
            id: rows::execution_id(self.id)?,
            workflow: rows::workflow(&self.workflow_id)?,
            lane: rows::lane(self.lane)?,
            state: rows::state(self.state)?,
            evidence: self.evidence.and_then(Evidence::from_code),
            attempt: self.attempt as u16,
            accepted_at: self.accepted_at,
            finished_at: self.finished_at,
            reason: self.reason,
            replayed_as: None,
        })
    }
}

/// The window's rows and whether they match. With `workflow` the window holds that workflow's, which has an index of its own.
pub(crate) fn list_sql(workflow: bool) -> String {
    format!(
        "SELECT id, workflow_id, lane, state, evidence, attempt, accepted_at, finished_at, reason, number, matches
           FROM (SELECT e.*, row_number() OVER (ORDER BY e.id DESC) AS number, {matches} AS matches
             FROM (SELECT * FROM executions WHERE tenant_id = $1 AND id < $2 AND id >= $3{of} ORDER BY id DESC LIMIT {WINDOW}) e) w
         WHERE w.matches OR w.number = {WINDOW} ORDER BY w.id DESC LIMIT $9",
        matches = MATCHES,
        of = of(workflow)
    )
}

pub(crate) fn count_sql(workflow: bool) -> String {
    format!(
        "WITH w AS MATERIALIZED (SELECT e.id, {matches} AS matches
           FROM (SELECT * FROM executions WHERE tenant_id = $1 AND id < $2 AND id >= $3{of} ORDER BY id DESC LIMIT {WINDOW}) e)
         SELECT count(*) FILTER (WHERE matches) AS matching, count(*) AS seen, (SELECT id FROM w ORDER BY id LIMIT 1) AS last FROM w",
        matches = MATCHES,
        of = of(workflow)
    )
}

fn of(workflow: bool) -> &'static str {
    if workflow { " AND workflow_id = $4" } else { "" }
}

const MATCHES: &str = "(($4::text IS NULL OR e.workflow_id = $4) AND (cardinality($5::int2[]) = 0 OR e.state = ANY ($5)) AND ($6::int2 IS NULL OR e.lane = $6)
  AND ($7::text IS NULL OR e.reason IS NOT DISTINCT FROM $7) AND ($8::text IS NULL OR coalesce(e.metadata @> $8::jsonb, false)))";

impl Store {
    /// Tenant, workflow, time and dead letters are found by index; whatever else is asked is looked for among 10,000 of
    /// those at a time.
    pub async fn list(
        &self,
        tenant: &TenantId,
        filter: &Filter,
        before: Option<ExecutionId>,
        limit: u16,
    ) -> Result<Listing, StoreError> {
        let before = before.map(ExecutionId::uuid);
        if let Some(dead) = filter.of_dead_letters() {
            let found = self.scan_dead_letters(tenant, &dead, filter.range(before), limit).await?;
            let (partial, next) = (found.partial, found.next);
            let rows = found.rows.into_iter().map(|dead| Listed {
                accepted_at: dead.id.created_at(),
                id: dead.id,
                workflow: dead.workflow,
                lane: dead.lane,
                state: State::DeadLettered,
                evidence: None,
                attempt: dead.attempt,
                finished_at: Some(dead.at),
                reason: Some(dead.reason),
                replayed_as: dead.replayed_as,
            });
            return Ok(Listing { rows: rows.collect(), partial, next });
        }
        let named = |source| StoreError::Statement { name: "executions.list", source };
        let found: Vec<Row> = filter
            .bind(
                sqlx::query_as(AssertSqlSafe(list_sql(filter.workflow.is_some()))),
                tenant,
                filter.range(before),
            )
            .bind(i64::from(limit) + 1)
            .fetch_all(&self.list_pool)
            .await
            .map_err(named)?;
        let page = page(found, limit).map_err(named)?;
        let rows = page.rows.into_iter().map(Row::listed).collect::<Result<_, _>>().map_err(named)?;
        Ok(Listing { rows, partial: page.partial, next: page.next })
    }

    /// How many there are, counted up to `at_most`. The flag says that there are more, or may be: a count looks at a
    /// million executions and no further.
    pub async fn count(
        &self,
        tenant: &TenantId,
        filter: &Filter,
        at_most: u64,
    ) -> Result<(u64, bool), StoreError> {
        if let Some(dead) = filter.of_dead_letters() {
            return self.count_dead_letters(tenant, &dead, filter.range(None), at_most).await;
        }
        let (mut count, mut seen, mut before) = (0, 0, None);
        loop {
            let sql = AssertSqlSafe(count_sql(filter.workflow.is_some()));
            let counted: Counted = filter
                .bind(sqlx::query_as(sql), tenant, filter.range(before))
                .fetch_one(&self.list_pool)
                .await
                .map_err(|source| StoreError::Statement { name: "executions.count", source })?;
            count += rows::unsigned(counted.matching);
            seen += counted.seen;
            if count > at_most {
                return Ok((at_most, true));
            }
            let Some(last) = counted.last.filter(|_| counted.seen == WINDOW) else {
                return Ok((count, false));
            };
            if seen >= COUNTED {
                return Ok((count, true));
            }
            before = Some(last);
        }
    }
}

impl Filter {
    /// Ids below the first and not below the second.
    pub(crate) fn range(&self, before: Option<Uuid>) -> (Uuid, Uuid) {
        let until = self.until.map_or(Uuid::max(), first_id_at);
        (before.map_or(until, |before| until.min(before)), self.since.map_or(Uuid::nil(), first_id_at))
    }

    /// The first eight parameters.
    fn bind<'q, R>(
        &self,
        query: QueryAs<'q, R>,
        tenant: &TenantId,
        (before, from): (Uuid, Uuid),
    ) -> QueryAs<'q, R> {
        query
            .bind(tenant.as_str().to_owned())
            .bind(before)
            .bind(from)
            .bind(self.workflow.as_ref().map(|workflow| workflow.as_str().to_owned()))
            .bind(self.states.iter().map(|state| state.code()).collect::<Vec<i16>>())
            .bind(self.lane.map(Lane::code))
            .bind(self.reason.map(Reason::as_str))
            .bind(self.metadata.clone())
    }

    /// The same, when the table of dead letters answers it.
    fn of_dead_letters(&self) -> Option<DeadLetterFilter> {
        let dead = !self.states.is_empty() && self.states.iter().all(|state| *state == State::DeadLettered);
        (dead && self.metadata.is_none()).then(|| DeadLetterFilter {
            lane: self.lane,
            workflow: self.workflow.clone(),
            reason: self.reason,
            include_discarded: true,
        })
    }
}
