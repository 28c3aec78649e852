use std::time::Duration;

use bridge_protocol::{
    Backlog, Mode, OnUnknown, Reason, State, Time, TimerDecision, TimerInput, TimerPolicy, on_timer,
};
use proptest::prelude::*;

use crate::at;

/// Seconds; every test's "now" unless it says otherwise.
const NOW: i64 = 1_763_712_000;

fn live(state: State) -> TimerInput {
    TimerInput {
        state,
        mode: Mode::Pulsar,
        attempt: 0,
        max_attempts: 5,
        deliver_at: None,
        expires_at: None,
        lease_until: None,
        last_published_at: None,
        publishes: 0,
        in_flight_here: false,
        backlog: Backlog::Unknown,
        shut_for: None,
        on_unknown: OnUnknown::Retry,
        now: at(NOW),
        jitter: 0.0,
    }
}

fn decide(input: &TimerInput) -> TimerDecision {
    on_timer(input, &TimerPolicy::default())
}

fn publish(attempt: u16, due_in: i64) -> TimerDecision {
    TimerDecision::Publish { attempt, next_due: at(NOW + due_in) }
}

fn rearm(due_in: i64) -> TimerDecision {
    TimerDecision::Rearm(at(NOW + due_in))
}

#[test]
fn a_lost_message_is_published_again_each_time_later() {
    let mut input = live(State::Accepted);
    let mut waits = Vec::new();
    for publishes in 0..8 {
        input.publishes = publishes;
        match decide(&input) {
            TimerDecision::Publish { attempt: 1, next_due } => {
                waits.push((next_due - input.now).num_seconds())
            }
            other => panic!("{other:?}"),
        }
        input.last_published_at = Some(input.now);
    }
    assert_eq!(waits, [30, 60, 120, 240, 480, 900, 900, 900]);
    input.publishes = u16::MAX;
    assert_eq!(decide(&input), publish(1, 900));
}

#[test]
fn jitter_adds_a_little() {
    let input = TimerInput { jitter: 0.5, ..live(State::Accepted) };
    let next_due = at(NOW) + Duration::from_millis(31_500);
    assert_eq!(decide(&input), TimerDecision::Publish { attempt: 1, next_due });
}

#[test]
fn a_message_that_still_waits_in_the_topic_is_left_alone() {
    // Handed off at accept, 30 s ago.
    let mut input = TimerInput { last_published_at: Some(at(NOW - 30)), ..live(State::Accepted) };
    for (backlog, decision) in [
        (Backlog::Since(at(NOW - 31)), rearm(30)),
        // Stamped on its way to the broker, a little after it was handed over.
        (Backlog::Since(at(NOW - 25)), rearm(30)),
        (Backlog::Since(at(NOW - 24)), publish(1, 30)),
        (Backlog::Empty, publish(1, 30)),
        (Backlog::Unknown, publish(1, 30)),
    ] {
        input.backlog = backlog;
        assert_eq!(decide(&input), decision, "{backlog:?}");
    }
    // Parked, or never handed over: what waits in the topic is not its message.
    let elsewhere = TimerInput { backlog: Backlog::Since(at(NOW - 31)), ..live(State::Accepted) };
    assert_eq!(decide(&elsewhere), publish(1, 30));
    // The longer it has waited, the longer it is left.
    input.backlog = Backlog::Since(at(0));
    for (published, due_in) in
        [(NOW - 5, 30), (NOW - 45, 45), (NOW - 600, 600), (NOW - 3600, 900), (NOW + 5, 30)]
    {
        input.last_published_at = Some(at(published));
        input.publishes = 1;
        assert_eq!(decide(&input), rearm(due_in), "published {} s ago", NOW - published);
    }
}

#[test]
fn a_delayed_execution_waits_and_is_then_published_at_once() {
    let mut input = live(State::Accepted);
    input.deliver_at = Some(at(NOW + 100));
    input.backlog = Backlog::Since(at(0));
    assert_eq!(decide(&input), rearm(100));
    // It was never handed off, so what waits in the topic is not its message.
    input.deliver_at = Some(at(NOW));
    assert_eq!(decide(&input), publish(1, 30));
    input.last_published_at = Some(at(NOW));
    input.publishes = 1;
    assert_eq!(decide(&input), rearm(30));
}

#[test]
fn expiry_rings_in_time_and_ends_what_has_not_begun() {
    for state in [State::Accepted, State::Retrying] {
        let mut input = live(state);
        input.in_flight_here = true;
        input.expires_at = Some(at(NOW));
        assert_eq!(decide(&input), TimerDecision::Expire, "{state}");
        input.expires_at = Some(at(NOW + 7));
        assert_eq!(decide(&input), rearm(7), "{state}");
        input.in_flight_here = false;
        assert_eq!(decide(&input), publish(1, 7), "{state}");
    }
    let delayed = TimerInput {
        deliver_at: Some(at(NOW + 100)),
        expires_at: Some(at(NOW + 50)),
        ..live(State::Accepted)
    };
    assert_eq!(decide(&delayed), rearm(50));
}

#[test]
fn what_is_in_flight_is_waited_for() {
    for state in [State::Accepted, State::Retrying, State::Running, State::Waiting] {
        assert_eq!(decide(&TimerInput { in_flight_here: true, ..live(state) }), rearm(30), "{state}");
    }
}

#[test]
fn a_due_retry_is_published_at_once_and_then_like_any_message() {
    let mut input = TimerInput { attempt: 2, backlog: Backlog::Since(at(0)), ..live(State::Retrying) };
    assert_eq!(decide(&input), publish(3, 30), "never published for this attempt");
    input.last_published_at = Some(at(NOW - 40));
    input.publishes = 1;
    assert_eq!(decide(&input), rearm(40));
    input.backlog = Backlog::Empty;
    assert_eq!(decide(&input), publish(3, 60));
    input.attempt = 5;
    assert_eq!(decide(&input), TimerDecision::DeadLetter(Reason::AttemptsExhausted));
}

#[test]
fn a_lease_is_left_alone_until_its_grace_is_over() {
    let mut input = TimerInput { attempt: 1, lease_until: Some(at(NOW - 29)), ..live(State::Running) };
    assert_eq!(decide(&input), rearm(1));
    input.lease_until = Some(at(NOW - 30));
    assert_eq!(decide(&input), publish(2, 30));
    // An expiry does not shorten a lease: what was fired may still succeed.
    input.lease_until = Some(at(NOW + 60));
    input.expires_at = Some(at(NOW + 5));
    assert_eq!(decide(&input), rearm(90));
    input.expires_at = Some(at(NOW - 5));
    assert_eq!(decide(&input), rearm(90));
}

#[test]
fn a_lapsed_lease_is_taken_over_or_dead_lettered() {
    let lapsed = TimerInput { attempt: 1, lease_until: Some(at(NOW - 100)), ..live(State::Running) };
    let dead = |reason| TimerDecision::DeadLetter(reason);
    assert_eq!(
        decide(&TimerInput { on_unknown: OnUnknown::DeadLetter, ..lapsed.clone() }),
        dead(Reason::LeaseLapsed)
    );
    assert_eq!(decide(&TimerInput { attempt: 5, ..lapsed.clone() }), dead(Reason::AttemptsExhausted));
    // Nobody may claim it any more.
    assert_eq!(
        decide(&TimerInput { expires_at: Some(at(NOW)), ..lapsed.clone() }),
        dead(Reason::LeaseLapsed)
    );
    assert_eq!(decide(&TimerInput { lease_until: None, ..lapsed.clone() }), publish(2, 30));

    // The message of the lost attempt may still be in the topic; it is no use to the next one.
    let mut input = TimerInput { backlog: Backlog::Since(at(0)), publishes: 3, ..lapsed };
    input.last_published_at = Some(at(NOW - 200));
    assert_eq!(decide(&input), publish(2, 30));
    input.last_published_at = Some(at(NOW - 70));
    assert_eq!(decide(&input), rearm(70));
}

#[test]
fn a_callback_that_never_comes_is_retried_until_nothing_is_left() {
    let mut input = TimerInput { attempt: 1, lease_until: Some(at(NOW + 9)), ..live(State::Waiting) };
    let dead = TimerDecision::DeadLetter(Reason::CallbackTimedOut);
    assert_eq!(decide(&input), rearm(9));
    input.lease_until = Some(at(NOW));
    assert_eq!(decide(&input), TimerDecision::Retry { due: at(NOW) });
    assert_eq!(decide(&TimerInput { attempt: 5, ..input.clone() }), dead);
    assert_eq!(decide(&TimerInput { on_unknown: OnUnknown::DeadLetter, ..input.clone() }), dead);
    assert_eq!(decide(&TimerInput { expires_at: Some(at(NOW - 1)), ..input.clone() }), dead);
    input.lease_until = None;
    assert_eq!(decide(&input), rearm(900));
}

#[test]
fn a_native_execution_is_never_published() {
    let mut input = TimerInput {
        mode: Mode::Native,
        attempt: 1,
        lease_until: Some(at(NOW - 20)),
        ..live(State::Running)
    };
    assert_eq!(decide(&input), rearm(10));
    // Whatever its route says of unknown outcomes: the caller is gone, and nobody else has its answer.
    for (lease_until, attempt) in [(Some(at(NOW - 30)), 1), (Some(at(NOW - 500)), 5), (None, 1)] {
        for on_unknown in OnUnknown::ALL {
            let lapsed = TimerInput { lease_until, attempt, on_unknown: *on_unknown, ..input.clone() };
            assert_eq!(decide(&lapsed), TimerDecision::Fail(Reason::UnknownOutcome));
        }
    }
    input.in_flight_here = true;
    assert_eq!(decide(&input), rearm(30));
}

#[test]
fn while_the_broker_is_away_all_but_publishing_goes_on() {
    let shut = |input: TimerInput| decide(&TimerInput { shut_for: Some(Duration::from_secs(5)), ..input });
    assert_eq!(shut(live(State::Accepted)), rearm(5));
    assert_eq!(shut(TimerInput { expires_at: Some(at(NOW + 2)), ..live(State::Accepted) }), rearm(2));
    assert_eq!(
        shut(TimerInput { expires_at: Some(at(NOW)), ..live(State::Accepted) }),
        TimerDecision::Expire
    );
    let over = TimerInput { attempt: 1, lease_until: Some(at(NOW - 100)), ..live(State::Running) };
    assert_eq!(shut(over.clone()), rearm(5), "its next attempt would need a message");
    let native = TimerInput { mode: Mode::Native, ..over.clone() };
    assert_eq!(shut(native), TimerDecision::Fail(Reason::UnknownOutcome));
    let silent = TimerInput { state: State::Waiting, ..over };
    assert_eq!(shut(silent.clone()), TimerDecision::Retry { due: at(NOW) });
    let spent = TimerInput { attempt: 5, ..silent };
    assert_eq!(shut(spent), TimerDecision::DeadLetter(Reason::CallbackTimedOut));
}

/// Near now, far away, and at both ends of time.
fn time() -> impl Strategy<Value = Time> {
    prop_oneof![
        8 => (-5000i64..5000).prop_map(|s| at(NOW + s)),
        1 => (0i64..4_000_000_000).prop_map(at),
        1 => Just(Time::MIN_UTC),
        1 => Just(Time::MAX_UTC),
    ]
}

fn backlog() -> impl Strategy<Value = Backlog> {
    prop_oneof![Just(Backlog::Unknown), Just(Backlog::Empty), time().prop_map(Backlog::Since)]
}

prop_compose! {
    fn input()(
        (state, mode) in (prop::sample::select(State::ALL), prop::sample::select(Mode::ALL)),
        (attempt, max_attempts, publishes) in (0u16.., 0u16.., 0u16..),
        small: bool,
        now in time(),
        (deliver_at, expires_at) in (prop::option::of(time()), prop::option::of(time())),
        (lease_until, last_published_at) in (prop::option::of(time()), prop::option::of(time())),
        (in_flight_here, backlog) in (any::<bool>(), backlog()),
        shut_for in prop::option::of((1u64..5000).prop_map(Duration::from_secs)),
        on_unknown in prop::sample::select(OnUnknown::ALL),
        jitter in prop_oneof![0.0f64..1.0, any::<f64>()],
    ) -> TimerInput {
        let shrink = |n: u16| if small { n % 8 } else { n };
        TimerInput {
            state, mode, attempt: shrink(attempt), max_attempts: shrink(max_attempts), publishes: shrink(publishes),
            deliver_at, expires_at, lease_until, last_published_at, in_flight_here, backlog,
            shut_for, on_unknown, now, jitter,
        }
    }
}

fn policy() -> impl Strategy<Value = TimerPolicy> {
    let duration = || prop_oneof![4 => (1u64..2000).prop_map(Duration::from_secs), 1 => Just(Duration::MAX)];
    prop_oneof![
        Just(TimerPolicy::default()),
        (duration(), duration(), duration(), duration()).prop_map(
            |(patience, max_patience, takeover_grace, stamp_slack)| {
                TimerPolicy { patience, max_patience, takeover_grace, stamp_slack }
            }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// No live execution is left without a timer, no timer rings in a circle, and every end is one
    /// that the state machine allows.
    #[test]
    fn every_timer_goes_on_or_ends(input in input(), policy in policy()) {
        let decision = on_timer(&input, &policy);
        let (due, end) = match decision {
            TimerDecision::Delete => {
                prop_assert!(input.state.is_terminal());
                return Ok(());
            }
            TimerDecision::Publish { attempt, next_due } => {
                prop_assert_eq!(attempt, input.attempt.saturating_add(1));
                (Some(next_due), None)
            }
            TimerDecision::Rearm(at) => (Some(at), None),
            TimerDecision::Retry { due } => {
                prop_assert!(due >= input.now);
                (None, Some(State::Retrying))
            }
            TimerDecision::DeadLetter(_) => (None, Some(State::DeadLettered)),
            TimerDecision::Expire => (None, Some(State::Expired)),
            TimerDecision::Fail(_) => (None, Some(State::Failed)),
        };
        prop_assert!(!input.state.is_terminal());
        if let Some(due) = due {
            prop_assert!(due > input.now || input.now == Time::MAX_UTC, "{:?} rings at once", decision);
        }
        if let Some(end) = end {
            prop_assert!(input.state.can_become(end), "{} -> {}", input.state, end);
        }
    }

    /// A live execution that may expire is looked at no later than that.
    #[test]
    fn expiry_is_never_slept_through(input in input(), policy in policy()) {
        let expires_at = input.expires_at.filter(|_| matches!(input.state, State::Accepted | State::Retrying));
        if let (Some(expires_at), TimerDecision::Rearm(due) | TimerDecision::Publish { next_due: due, .. }) =
            (expires_at, on_timer(&input, &policy))
        {
            prop_assert!(due <= expires_at);
        }
    }

    /// Native work has no message, and a second firing would be a surprise.
    #[test]
    fn native_work_takes_no_way_through_the_broker(input in input(), policy in policy()) {
        let input = TimerInput { mode: Mode::Native, ..input };
        let decision = on_timer(&input, &policy);
        prop_assert!(!matches!(decision, TimerDecision::Publish { .. } | TimerDecision::Retry { .. }), "{:?}", decision);
    }

    /// While the broker takes nothing, nothing is published, and whatever needs no broker is decided as ever.
    #[test]
    fn a_shut_topic_holds_up_publishing_and_nothing_else(input in input(), policy in policy()) {
        let open = on_timer(&TimerInput { shut_for: None, ..input.clone() }, &policy);
        let shut = on_timer(&TimerInput { shut_for: Some(Duration::from_secs(5)), ..input }, &policy);
        match open {
            TimerDecision::Publish { .. } => prop_assert!(matches!(shut, TimerDecision::Rearm(_)), "{:?}", shut),
            // Perhaps at another time: what waits in the topic counts for nothing now.
            TimerDecision::Rearm(_) => prop_assert!(matches!(shut, TimerDecision::Rearm(_)), "{:?}", shut),
            other => prop_assert_eq!(shut, other),
        }
    }

    /// Nothing more is published once every attempt is spent.
    #[test]
    fn spent_attempts_are_never_published(input in input(), policy in policy()) {
        if let TimerDecision::Publish { attempt, .. } = on_timer(&input, &policy)
            && input.state != State::Accepted
        {
            prop_assert!(attempt <= input.max_attempts.max(1));
        }
    }
}
