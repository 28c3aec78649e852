use bridge_protocol::{Evidence, State};

#[test]
fn nothing_leaves_a_terminal_state() {
    for from in State::ALL.iter().filter(|state| state.is_terminal()) {
        for to in State::ALL {
            assert!(!from.can_become(*to), "{from} -> {to}");
        }
    }
}

#[test]
fn every_live_state_can_end_and_be_cancelled_and_only_an_unsent_attempt_becomes_accepted_again() {
    for from in State::ALL.iter().filter(|state| !state.is_terminal()) {
        assert!(from.can_become(State::Cancelled) && from.can_become(State::DeadLettered), "{from}");
        assert_eq!(from.can_become(State::Accepted), *from == State::Running, "{from}");
    }
}

/// The machine as a table: a change here is a change of the contract.
#[test]
fn the_moves() {
    let moves: Vec<String> = State::ALL
        .iter()
        .filter(|from| !from.is_terminal())
        .map(|from| {
            let to: Vec<_> =
                State::ALL.iter().filter(|to| from.can_become(**to)).map(|to| to.as_str()).collect();
            format!("{from} -> {}", to.join(" | "))
        })
        .collect();
    assert_eq!(
        moves,
        [
            "accepted -> running | dead_lettered | cancelled | expired",
            "running -> accepted | running | waiting | retrying | succeeded | failed | dead_lettered | cancelled",
            "waiting -> retrying | succeeded | failed | dead_lettered | cancelled",
            "retrying -> running | succeeded | dead_lettered | cancelled | expired",
        ]
    );
}

#[test]
fn codes_are_the_stored_ones() {
    let names: Vec<_> = (0..9).map(|code| State::from_code(code).unwrap().as_str()).collect();
    assert_eq!(
        names,
        [
            "accepted",
            "running",
            "waiting",
            "retrying",
            "succeeded",
            "failed",
            "dead_lettered",
            "cancelled",
            "expired"
        ]
    );
    assert_eq!(State::from_code(9), None);
    let evidence: Vec<_> = (0..3).map(|code| Evidence::from_code(code).unwrap().as_str()).collect();
    assert_eq!(evidence, ["started", "response", "callback"]);
}

#[test]
fn what_is_allowed_follows_the_machine() {
    for state in State::ALL {
        let allowed = state.allowed();
        assert_eq!(allowed.contains(&"cancel"), state.can_become(State::Cancelled), "{state}");
        assert_eq!(allowed.contains(&"replay"), state.is_terminal(), "{state}");
        assert_eq!(allowed.contains(&"discard"), *state == State::DeadLettered, "{state}");
    }
}
