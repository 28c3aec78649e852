#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn breakers() -> (Breakers, Endpoint) {
    let config =
        BreakerConfig { failures: 3, open: Duration::from_secs(10), max_open: Duration::from_secs(15) };
    (Breakers::new(config), Endpoint::of(&"http://h:1/w".parse().unwrap()))
}

fn fail(breakers: &Breakers, endpoint: &Endpoint) {
    breakers.admit(endpoint).unwrap().report(false);
}

#[tokio::test(start_paused = true)]
async fn only_a_run_of_failures_opens_it() {
    let (breakers, endpoint) = breakers();
    fail(&breakers, &endpoint);
    fail(&breakers, &endpoint);
    breakers.admit(&endpoint).unwrap().report(true);
    assert!(breakers.list().is_empty(), "a success forgets the endpoint");
    for _ in 0..3 {
        fail(&breakers, &endpoint);
    }
    assert_eq!(breakers.look(&endpoint), Err(Duration::from_secs(10)));
    assert_eq!(breakers.open_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_probe_passes_and_decides() {
    let (breakers, endpoint) = breakers();
    let mut straggler = breakers.admit(&endpoint).unwrap();
    for _ in 0..3 {
        fail(&breakers, &endpoint);
    }
    tokio::time::advance(Duration::from_secs(10)).await;
    let mut probe = breakers.admit(&endpoint).unwrap();
    assert!(breakers.admit(&endpoint).is_err(), "one probe at a time");
    straggler.report(true);
    assert!(breakers.admit(&endpoint).is_err(), "an old request's success decides nothing");
    probe.report(false);
    assert_eq!(breakers.look(&endpoint), Err(Duration::from_secs(15)), "doubled, and capped");
    tokio::time::advance(Duration::from_secs(15)).await;
    drop(breakers.admit(&endpoint).unwrap());
    let mut probe = breakers.admit(&endpoint).expect("an unsent probe is given back");
    probe.report(true);
    assert!(breakers.list().is_empty());
}

#[tokio::test(start_paused = true)]
async fn old_trouble_is_forgotten() {
    let (breakers, _) = breakers();
    for n in 0..FIRST_SWEEP {
        fail(&breakers, &Endpoint::of(&format!("http://h:1/{n}").parse().unwrap()));
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    fail(&breakers, &Endpoint::of(&"http://h:1/last".parse().unwrap()));
    assert_eq!(breakers.list().len(), 1);
}
