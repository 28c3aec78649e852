//! Random lists of operations against the store's real SQL, and beside it a model of one execution: after each of them
//! answer, row and timer are what the model says.

mod subject;

use bridge_protocol::{Evidence, Reason, State};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::sync::Mutex;

use self::subject::{Seen, Subject};
use super::*;
use crate::{Finished, NativeClaim, Refusal, Reported};

/// As `claim` and `decide` have it.
const MAX_ATTEMPTS: u16 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pulsar,
    Callback,
    Native,
}

/// Whom an operation says it comes from.
#[derive(Clone, Copy, Debug)]
enum Whose {
    /// The claim that holds it, or held it last.
    Own,
    Foreign,
}

#[derive(Clone, Copy, Debug)]
enum Token {
    Current,
    /// So many attempts before.
    Earlier(u16),
    Wrong,
    /// The one of the attempt before, under the number of the current one.
    Swapped,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    AcceptAgain,
    /// For the attempt that is next, or one off; or the last claim once more.
    Claim(i8),
    ClaimAgain,
    Wait(Whose),
    Retry(Whose),
    /// Claimed, and not sent.
    Unsent(Whose),
    Park,
    Release,
    Finish(Whose, State),
    Report(Token, bool, u8),
    Cancel,
    /// The timer rings; with true the lease, or the time for the callback, has run out.
    Ring(bool),
    /// From here on it is past its expiry.
    Expire,
}

#[derive(Clone, Copy, Debug)]
struct Given {
    kind: Kind,
    on_failure: bool,
    telling: bool,
}

fn given() -> impl Strategy<Value = Given> {
    let kind = prop_oneof![1 => Just(Kind::Pulsar), 3 => Just(Kind::Callback), 1 => Just(Kind::Native)];
    (kind, any::<bool>(), prop::bool::weighted(0.2)).prop_map(|(kind, on_failure, telling)| Given {
        kind,
        on_failure,
        telling,
    })
}

fn op() -> impl Strategy<Value = Op> {
    let whose = || prop_oneof![4 => Just(Whose::Own), 1 => Just(Whose::Foreign)];
    let ends = prop::sample::select(vec![State::Succeeded, State::Failed, State::DeadLettered]);
    let token = prop_oneof![
        4 => Just(Token::Current),
        3 => (1..3u16).prop_map(Token::Earlier),
        1 => Just(Token::Wrong),
        1 => Just(Token::Swapped),
    ];
    prop_oneof![
        1 => Just(Op::AcceptAgain),
        6 => Just(Op::Claim(0)),
        1 => prop::sample::select(vec![-1i8, 1]).prop_map(Op::Claim),
        1 => Just(Op::ClaimAgain),
        4 => whose().prop_map(Op::Wait),
        4 => whose().prop_map(Op::Retry),
        2 => whose().prop_map(Op::Unsent),
        1 => Just(Op::Park),
        1 => Just(Op::Release),
        2 => (whose(), ends).prop_map(|(whose, state)| Op::Finish(whose, state)),
        3 => (token, prop::bool::weighted(0.4), 0..2u8).prop_map(|(t, success, body)| Op::Report(t, success, body)),
        1 => Just(Op::Cancel),
        4 => any::<bool>().prop_map(Op::Ring),
        1 => Just(Op::Expire),
    ]
}

/// What one execution must look like.
#[derive(Debug)]
struct Model {
    given: Given,
    state: State,
    attempt: u16,
    claim: Option<Uuid>,
    /// The attempt that it was for.
    claimed: u16,
    expired: bool,
    evidence: Option<Evidence>,
    reason: Option<Reason>,
    /// The attempts before the last, and how they ended.
    over: Vec<(u16, &'static str)>,
    /// Of the report that ended it: its attempt, its digest.
    report: Option<(u16, [u8; 32])>,
    results: i64,
}

fn digest(attempt: u16) -> [u8; 32] {
    [(attempt as u8).wrapping_add(1); 32]
}

impl Model {
    fn new(given: Given, native: Option<Uuid>) -> Self {
        let born = if native.is_some() { (State::Running, 1) } else { (State::Accepted, 0) };
        Self {
            given,
            state: born.0,
            attempt: born.1,
            claim: native,
            claimed: born.1,
            expired: false,
            evidence: None,
            reason: None,
            over: Vec::new(),
            report: None,
            results: 0,
        }
    }

    fn seen(&self) -> Seen {
        let live = i64::from(!self.state.is_terminal());
        let bad = matches!(self.state, State::Failed | State::DeadLettered | State::Expired);
        let by_callback = self.given.kind == Kind::Callback;
        let dead = i64::from(self.state == State::DeadLettered);
        Seen {
            state: self.state,
            attempt: self.attempt,
            claim: self.claim,
            evidence: self.evidence.map(Evidence::code),
            reason: self.reason.map(|reason| reason.as_str().to_owned()),
            leased: matches!(self.state, State::Running | State::Waiting),
            token: by_callback && self.attempt > 0,
            over: self.over.iter().map(|(attempt, outcome)| format!("{attempt} {outcome}")).collect(),
            old_tokens: if by_callback { self.over.len() as i64 } else { 0 },
            timers: live,
            mirrored: live,
            results: self.results,
            follow_ups: i64::from(bad && self.given.on_failure && !self.given.telling),
            dead_letters: dead,
            notices: dead,
        }
    }

    fn become_(&mut self, next: State) {
        assert!(self.state.can_become(next), "{} is no move to {next}", self.state);
        self.state = next;
    }

    fn loses(&mut self, outcome: &'static str) {
        self.over.push((self.attempt, outcome));
        self.become_(State::Retrying);
    }

    fn dies(&mut self, reason: Reason) {
        self.become_(State::DeadLettered);
        self.reason = Some(reason);
    }

    fn claims(&mut self, attempt: u16, claim: Uuid) -> Result<u16, Refusal> {
        let wanted = self.attempt + 1 == attempt;
        let waits = matches!(self.state, State::Accepted | State::Retrying);
        if self.state.is_terminal() {
            return Err(Refusal::Terminal);
        }
        if self.state == State::Running && self.claim == Some(claim) {
            return Ok(self.attempt);
        }
        match () {
            () if self.state == State::Running && attempt == self.attempt => Err(Refusal::Leased),
            () if !wanted => Err(Refusal::StaleAttempt),
            () if !waits => Err(Refusal::Leased),
            () if self.expired => Err(Refusal::Expired),
            () if attempt > MAX_ATTEMPTS => Err(Refusal::Exhausted),
            () => {
                self.become_(State::Running);
                (self.attempt, self.claim, self.claimed) = (attempt, Some(claim), attempt);
                Ok(attempt)
            }
        }
    }

    /// Whether `claim` holds it; a move that its holder made before is done, too.
    fn fenced(&self, claim: Uuid, next: State) -> Result<bool, Finished> {
        if self.claim == Some(claim) && self.state == State::Running {
            Ok(true)
        } else if self.claim == Some(claim) && self.claimed == self.attempt && self.state == next {
            Ok(false)
        } else {
            Err(Finished::LostFence(Some(self.state)))
        }
    }

    /// The attempt is given back, once.
    fn gives_back(&mut self, claim: Uuid) -> Result<(), Finished> {
        let before = if self.claimed > 1 { State::Retrying } else { State::Accepted };
        if self.claim == Some(claim) && self.state == State::Running {
            self.become_(before);
            self.attempt -= 1;
            return Ok(());
        }
        match self.claim == Some(claim) && self.claimed == self.attempt + 1 && self.state == before {
            true => Ok(()),
            false => Err(Finished::LostFence(Some(self.state))),
        }
    }

    fn reports(&mut self, token: Option<u16>, success: bool, digest: [u8; 32]) -> Reported {
        if self.given.kind != Kind::Callback {
            return Reported::NotExpected;
        }
        let Some(attempt) = token else { return Reported::BadToken };
        if self.state.is_terminal() {
            return if self.report == Some((attempt, digest)) {
                Reported::Repeated(self.state)
            } else {
                Reported::Conflict(self.state)
            };
        }
        if success {
            self.become_(State::Succeeded);
            self.evidence = Some(Evidence::Callback);
        } else if self.state == State::Retrying {
            return Reported::NotCurrent { current: self.attempt + 1, state: self.state };
        } else if attempt != self.attempt {
            return Reported::NotCurrent { current: self.attempt, state: self.state };
        } else {
            self.become_(State::Failed);
            self.reason = Some(Reason::ReportedFailure);
        }
        self.report = Some((attempt, digest));
        Reported::Done(self.state)
    }

    fn rings(&mut self, lapsed: bool) {
        let exhausted = self.attempt >= MAX_ATTEMPTS;
        match self.state {
            State::Accepted | State::Retrying if self.expired => {
                self.become_(State::Expired);
                self.reason = Some(Reason::Expired);
            }
            // Nobody gives back, retries or waits for what is native; would one, the timer would end it.
            State::Accepted | State::Retrying | State::Waiting if self.given.kind == Kind::Native => {
                self.dies(Reason::UnknownOutcome)
            }
            State::Retrying if exhausted => self.dies(Reason::AttemptsExhausted),
            State::Running if lapsed && self.given.kind == Kind::Native => {
                self.become_(State::Failed);
                self.reason = Some(Reason::UnknownOutcome);
            }
            State::Running if lapsed && self.expired => self.dies(Reason::LeaseLapsed),
            State::Running if lapsed && exhausted => self.dies(Reason::AttemptsExhausted),
            State::Running if lapsed => self.loses("lease_lapsed"),
            State::Waiting if lapsed && (self.expired || exhausted) => self.dies(Reason::CallbackTimedOut),
            State::Waiting if lapsed => self.loses("callback_timed_out"),
            _ => {}
        }
    }
}

async fn follow(t: &TestStore, sql: &Mutex<PgConnection>, given: Given, ops: &[Op]) {
    let claim_id = id();
    let native =
        (given.kind == Kind::Native).then(|| NativeClaim { claim_id, lease: Duration::from_secs(60) });
    let new = NewExecution {
        mode: if native.is_some() { Mode::Native } else { Mode::Pulsar },
        completion: if given.kind == Kind::Callback { Completion::Callback } else { Completion::Response },
        on_failure: given.on_failure.then(|| WorkflowId::parse("alarm").unwrap()),
        caused_by: given.telling.then(id),
        native,
        ..execution()
    };
    t.store.accept(new.clone(), PATIENCE).await.unwrap();
    let mut model = Model::new(given, new.native.as_ref().map(|native| native.claim_id));
    let last = Claim { claim_id, callback_digest: Some(digest(1)), ..claim(new.id, 1) };
    let mut subject = Subject { t, sql, new, last };
    assert_eq!(subject.seen().await, model.seen(), "accepted");
    for (n, op) in ops.iter().enumerate() {
        subject.step(&mut model, *op).await;
        assert_eq!(subject.seen().await, model.seen(), "after operation {n}, {op:?}");
    }
    // Out of the later lists' way.
    subject.step(&mut model, Op::Cancel).await;
    assert_eq!(subject.seen().await, model.seen(), "cancelled");
}

#[test]
fn any_list_of_operations_goes_as_the_model_says() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let t = runtime.block_on(accepting());
    let sql = Mutex::new(runtime.block_on(PgConnection::connect(&t.url)).unwrap());
    let config = Config { cases: 200, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let lists = (given(), prop::collection::vec(op(), 1..14));
    TestRunner::new(config)
        .run(&lists, |(given, ops)| {
            runtime.block_on(follow(&t, &sql, given, &ops));
            Ok(())
        })
        .unwrap();
    runtime.block_on(t.assert_every_live_execution_has_its_timer());
    runtime.block_on(t.store.close());
}
